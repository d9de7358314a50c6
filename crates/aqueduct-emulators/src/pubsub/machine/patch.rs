use googleapis_tonic_google_pubsub_v1::google::pubsub::v1::{Subscription, Topic};
use tonic::Status;

use super::admin::Settings;

/// Copies the fields named by an update mask.
pub(super) fn topic(
    old: &mut Settings<Topic>,
    new: Settings<Topic>,
    paths: &[String],
) -> Result<(), Status> {
    let Settings { wire, transforms } = new;
    not_empty(paths)?;
    for path in paths {
        match snake(path).as_str() {
            "labels" => old.wire.labels.clone_from(&wire.labels),
            "message_retention_duration" => {
                old.wire.message_retention_duration = wire.message_retention_duration;
            }
            "message_transforms" => {
                old.wire
                    .message_transforms
                    .clone_from(&wire.message_transforms);
                old.transforms.clone_from(&transforms);
            }
            other => {
                let known = "labels, message_retention_duration, message_transforms";
                return Err(unknown(other, known));
            }
        }
    }
    Ok(())
}

/// Copies the fields named by an update mask; filter and message ordering cannot change.
pub(super) fn subscription(
    old: &mut Settings<Subscription>,
    new: Settings<Subscription>,
    paths: &[String],
) -> Result<(), Status> {
    let Settings { wire, transforms } = new;
    not_empty(paths)?;
    for path in paths {
        let path = snake(path);
        let field = path.split('.').next().unwrap_or_default();
        let to = &mut old.wire;
        match field {
            "ack_deadline_seconds" => to.ack_deadline_seconds = wire.ack_deadline_seconds,
            "dead_letter_policy" => to.dead_letter_policy.clone_from(&wire.dead_letter_policy),
            "enable_exactly_once_delivery" => {
                to.enable_exactly_once_delivery = wire.enable_exactly_once_delivery;
            }
            "expiration_policy" => to.expiration_policy = wire.expiration_policy,
            "labels" => to.labels.clone_from(&wire.labels),
            "message_retention_duration" => {
                to.message_retention_duration = wire.message_retention_duration;
            }
            "message_transforms" => {
                to.message_transforms.clone_from(&wire.message_transforms);
                old.transforms.clone_from(&transforms);
            }
            "push_config" => to.push_config.clone_from(&wire.push_config),
            "retain_acked_messages" => to.retain_acked_messages = wire.retain_acked_messages,
            "retry_policy" => to.retry_policy = wire.retry_policy,
            other => {
                let known = "ack_deadline_seconds, dead_letter_policy, enable_exactly_once_delivery, \
                             expiration_policy, labels, message_retention_duration, message_transforms, push_config, \
                             retain_acked_messages, retry_policy";
                return Err(unknown(other, known));
            }
        }
    }
    Ok(())
}

fn not_empty(paths: &[String]) -> Result<(), Status> {
    match paths.is_empty() {
        true => Err(Status::invalid_argument("The update mask is empty.")),
        false => Ok(()),
    }
}

fn unknown(path: &str, known: &str) -> Status {
    Status::invalid_argument(format!(
        "Invalid update mask `{path}`: expected some of {known}."
    ))
}

/// REST clients write field masks in camel case.
fn snake(path: &str) -> String {
    let mut snake = String::with_capacity(path.len());
    for letter in path.chars() {
        if letter.is_ascii_uppercase() {
            snake.push('_');
        }
        snake.push(letter.to_ascii_lowercase());
    }
    snake
}
