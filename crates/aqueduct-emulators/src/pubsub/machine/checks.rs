use std::time::Duration;

use googleapis_tonic_google_pubsub_v1::google::pubsub::v1::{PubsubMessage, Subscription};
use tonic::Status;

use super::filter::Filter;
use super::message::{duration, proto_duration, size_of};

// https://cloud.google.com/pubsub/quotas#resource_limits
const LARGEST_REQUEST: usize = 10_000_000;
const MOST_MESSAGES: usize = 1_000;
const MOST_ATTRIBUTES: usize = 100;
const LONGEST_ATTRIBUTE_KEY: usize = 256;
const LONGEST_ATTRIBUTE_VALUE: usize = 1_024;
const LONGEST_ORDERING_KEY: usize = 1_024;
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Checks `projects/PROJECT/KIND/ID`.
pub(super) fn name(name: &str, kind: &str) -> Result<(), Status> {
    let parts: Vec<&str> = name.split('/').collect();
    let valid = match parts.as_slice() {
        ["projects", project, found, id] if *found == kind => !project.is_empty() && is_id(id),
        _ => false,
    };
    if valid {
        return Ok(());
    }
    let form = format!("projects/PROJECT/{kind}/ID");
    Err(Status::invalid_argument(format!(
        "Invalid resource name given (name={name}): expected {form}, where ID has 3 to 255 letters, digits and -._~+%, \
         starts with a letter and not with `goog`."
    )))
}

fn is_id(id: &str) -> bool {
    let allowed = |letter: char| letter.is_ascii_alphanumeric() || "-._~+%".contains(letter);
    (3..=255).contains(&id.len())
        && id.starts_with(|letter: char| letter.is_ascii_alphabetic())
        && !id.starts_with("goog")
        && id.chars().all(allowed)
}

pub(super) fn publish(messages: &[PubsubMessage]) -> Result<(), Status> {
    let invalid = |text: String| Err(Status::invalid_argument(text));
    if messages.is_empty() {
        return invalid("The request has no messages.".to_owned());
    }
    if messages.len() > MOST_MESSAGES {
        let count = messages.len();
        return invalid(format!(
            "The value for message_count is too large. You passed {count} in the request, but the maximum value is \
             {MOST_MESSAGES}."
        ));
    }
    let size = messages.iter().map(size_of).sum::<usize>();
    if size > LARGEST_REQUEST {
        return invalid(format!(
            "The value for request_size is too large. You passed {size} in the request, but the maximum value is \
             {LARGEST_REQUEST}."
        ));
    }
    messages.iter().try_for_each(message)
}

fn message(message: &PubsubMessage) -> Result<(), Status> {
    let invalid = |text: String| Err(Status::invalid_argument(text));
    if message.data.is_empty() && message.attributes.is_empty() {
        let text = "Some messages had no attributes and no data: a message needs one of them.";
        return invalid(text.to_owned());
    }
    if message.attributes.len() > MOST_ATTRIBUTES {
        let count = message.attributes.len();
        return invalid(format!(
            "A message has {count} attributes (limit: {MOST_ATTRIBUTES})."
        ));
    }
    if message.ordering_key.len() > LONGEST_ORDERING_KEY {
        let length = message.ordering_key.len();
        return invalid(format!(
            "An ordering key has {length} bytes (limit: {LONGEST_ORDERING_KEY})."
        ));
    }
    for (key, value) in &message.attributes {
        if key.is_empty() || key.len() > LONGEST_ATTRIBUTE_KEY || is_reserved(key) {
            return invalid(format!(
                "The attribute key `{key}` is invalid: expected 1 to {LONGEST_ATTRIBUTE_KEY} bytes that do not start with \
                 `goog`."
            ));
        }
        if value.len() > LONGEST_ATTRIBUTE_VALUE {
            let length = value.len();
            return invalid(format!(
                "The attribute `{key}` has {length} bytes (limit: {LONGEST_ATTRIBUTE_VALUE})."
            ));
        }
    }
    Ok(())
}

/// Google's clients write keys of their own with the prefix `googclient_`.
fn is_reserved(key: &str) -> bool {
    key.starts_with("goog") && !key.starts_with("googclient_")
}

/// Checks the settings of a subscription and fills in the service's defaults.
pub(super) fn subscription(settings: &mut Subscription) -> Result<Option<Filter>, Status> {
    let invalid = |text: String| Err(Status::invalid_argument(text));
    if settings.ack_deadline_seconds == 0 {
        settings.ack_deadline_seconds = 10;
    }
    if !(10..=600).contains(&settings.ack_deadline_seconds) {
        let seconds = settings.ack_deadline_seconds;
        return invalid(format!(
            "Invalid ack deadline {seconds} s: expected 10 to 600 s."
        ));
    }
    let default = || proto_duration(7 * DAY);
    let retention = *settings
        .message_retention_duration
        .get_or_insert_with(default);
    let within = |least: Duration, most: Duration| move |it: Duration| (least..=most).contains(&it);
    let valid = within(Duration::from_secs(600), 31 * DAY);
    if !duration(&retention).is_some_and(valid) {
        return invalid(
            "Invalid message retention duration: expected 10 minutes to 31 days.".to_owned(),
        );
    }
    if let Some(policy) = &mut settings.dead_letter_policy {
        if policy.max_delivery_attempts == 0 {
            policy.max_delivery_attempts = 5;
        }
        if !(5..=100).contains(&policy.max_delivery_attempts) {
            let attempts = policy.max_delivery_attempts;
            return invalid(format!(
                "Invalid max delivery attempts {attempts}: expected 5 to 100."
            ));
        }
        if !policy.dead_letter_topic.is_empty() {
            name(&policy.dead_letter_topic, "topics")?;
        }
    }
    if let Some(policy) = &mut settings.retry_policy {
        let seconds = |seconds| proto_duration(Duration::from_secs(seconds));
        let least = *policy.minimum_backoff.get_or_insert_with(|| seconds(10));
        let most = *policy.maximum_backoff.get_or_insert_with(|| seconds(600));
        let valid = within(Duration::ZERO, Duration::from_secs(600));
        let (least, most) = (duration(&least).filter(|it| valid(*it)), duration(&most));
        if least.is_none() || !most.is_some_and(valid) || least > most {
            return invalid(
                "Invalid retry policy: expected 0 s <= minimum backoff <= maximum backoff <= 600 s."
                    .to_owned(),
            );
        }
    }
    if settings.filter.is_empty() {
        return Ok(None);
    }
    let filter = Filter::parse(&settings.filter);
    filter.map(Some).map_err(|problem| {
        let filter = &settings.filter;
        Status::invalid_argument(format!("Invalid filter `{filter}`: {problem}."))
    })
}

/// Checks the retention of a topic.
pub(super) fn topic_retention(retention: Option<&prost_types::Duration>) -> Result<(), Status> {
    let Some(retention) = retention else {
        return Ok(());
    };
    let valid = Duration::from_secs(600)..=31 * DAY;
    match duration(retention).is_some_and(|it| valid.contains(&it)) {
        true => Ok(()),
        false => Err(Status::invalid_argument(
            "Invalid message retention duration of a topic: expected 10 minutes to 31 days.",
        )),
    }
}
