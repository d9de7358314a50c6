use googleapis_tonic_google_pubsub_v1::google::pubsub::v1::message_transform::Transform;
use googleapis_tonic_google_pubsub_v1::google::pubsub::v1::{
    DeadLetterPolicy, ExpirationPolicy, MessageTransform, PushConfig, RetryPolicy, Subscription,
    Topic,
};
use serde_json::{Map, Value, json};
use tonic::Status;

use super::super::machine::Settings;
use super::fields::{flag, from_seconds, invalid, map, number, seconds, text};

pub(in crate::pubsub) fn topic(name: String, body: &Value) -> Result<Settings<Topic>, Status> {
    let wire = Topic {
        name,
        labels: map(body, "labels")?,
        message_retention_duration: seconds(body, "messageRetentionDuration")?,
        kms_key_name: text(body, "kmsKeyName")?,
        ..Topic::default()
    };
    let transforms = transforms(body)?;
    Ok(Settings { wire, transforms })
}

pub(in crate::pubsub) fn from_topic(topic: &Settings<Topic>) -> Value {
    let Settings { wire, transforms } = topic;
    let mut fields = Map::new();
    fields.insert("name".into(), wire.name.clone().into());
    fields.insert("state".into(), "ACTIVE".into());
    if !wire.labels.is_empty() {
        fields.insert("labels".into(), json!(wire.labels));
    }
    if let Some(retention) = &wire.message_retention_duration {
        fields.insert("messageRetentionDuration".into(), from_seconds(retention));
    }
    if !wire.kms_key_name.is_empty() {
        fields.insert("kmsKeyName".into(), wire.kms_key_name.clone().into());
    }
    insert_transforms(&mut fields, transforms.as_ref(), &wire.message_transforms);
    fields.into()
}

pub(in crate::pubsub) fn subscription(
    name: String,
    body: &Value,
) -> Result<Settings<Subscription>, Status> {
    let object = |field: &str| Some(&body[field]).filter(|it| it.is_object());
    let expiration = object("expirationPolicy").map(|policy| {
        let ttl = seconds(policy, "ttl")?;
        Ok::<_, Status>(ExpirationPolicy { ttl })
    });
    let dead_letters = object("deadLetterPolicy").map(|policy| {
        Ok::<_, Status>(DeadLetterPolicy {
            dead_letter_topic: text(policy, "deadLetterTopic")?,
            max_delivery_attempts: number(policy, "maxDeliveryAttempts")?,
        })
    });
    let retry = object("retryPolicy").map(|policy| {
        Ok::<_, Status>(RetryPolicy {
            minimum_backoff: seconds(policy, "minimumBackoff")?,
            maximum_backoff: seconds(policy, "maximumBackoff")?,
        })
    });
    let wire = Subscription {
        name,
        topic: text(body, "topic")?,
        push_config: push_config(&body["pushConfig"])?,
        ack_deadline_seconds: number(body, "ackDeadlineSeconds")?,
        retain_acked_messages: flag(body, "retainAckedMessages")?,
        message_retention_duration: seconds(body, "messageRetentionDuration")?,
        labels: map(body, "labels")?,
        enable_message_ordering: flag(body, "enableMessageOrdering")?,
        expiration_policy: expiration.transpose()?,
        filter: text(body, "filter")?,
        dead_letter_policy: dead_letters.transpose()?,
        retry_policy: retry.transpose()?,
        enable_exactly_once_delivery: flag(body, "enableExactlyOnceDelivery")?,
        ..Subscription::default()
    };
    let transforms = transforms(body)?;
    Ok(Settings { wire, transforms })
}

pub(in crate::pubsub) fn from_subscription(subscription: &Settings<Subscription>) -> Value {
    let Settings { wire, transforms } = subscription;
    let mut fields = json!({
        "name": wire.name,
        "topic": wire.topic,
        "pushConfig": wire.push_config.as_ref().map_or_else(|| json!({}), from_push_config),
        "ackDeadlineSeconds": wire.ack_deadline_seconds,
        "state": "ACTIVE",
    });
    if let Value::Object(fields) = &mut fields {
        let mut flag = |name: &str, flag: bool| {
            if flag {
                fields.insert(name.into(), true.into());
            }
        };
        flag("retainAckedMessages", wire.retain_acked_messages);
        flag("enableMessageOrdering", wire.enable_message_ordering);
        flag(
            "enableExactlyOnceDelivery",
            wire.enable_exactly_once_delivery,
        );
        flag("detached", wire.detached);
        let mut insert = |name: &str, value: Option<Value>| {
            if let Some(value) = value {
                fields.insert(name.into(), value);
            }
        };
        let duration = |it: &Option<prost_types::Duration>| it.as_ref().map(from_seconds);
        insert(
            "messageRetentionDuration",
            duration(&wire.message_retention_duration),
        );
        let of_topic = duration(&wire.topic_message_retention_duration);
        insert("topicMessageRetentionDuration", of_topic);
        insert(
            "labels",
            (!wire.labels.is_empty()).then(|| json!(wire.labels)),
        );
        insert(
            "filter",
            (!wire.filter.is_empty()).then(|| json!(wire.filter)),
        );
        let expiration = wire.expiration_policy.as_ref();
        insert(
            "expirationPolicy",
            expiration.map(|it| match &it.ttl {
                Some(ttl) => json!({ "ttl": from_seconds(ttl) }),
                None => json!({}),
            }),
        );
        let dead_letters = wire.dead_letter_policy.as_ref();
        insert(
            "deadLetterPolicy",
            dead_letters.map(|it| {
                json!({
                    "deadLetterTopic": it.dead_letter_topic,
                    "maxDeliveryAttempts": it.max_delivery_attempts,
                })
            }),
        );
        let retry = wire.retry_policy.as_ref();
        insert(
            "retryPolicy",
            retry.map(|it| {
                json!({
                    "minimumBackoff": duration(&it.minimum_backoff),
                    "maximumBackoff": duration(&it.maximum_backoff),
                })
            }),
        );
        insert_transforms(fields, transforms.as_ref(), &wire.message_transforms);
    }
    fields
}

pub(in crate::pubsub) fn push_config(body: &Value) -> Result<Option<PushConfig>, Status> {
    if body.is_null() {
        return Ok(None);
    }
    let endpoint = text(body, "pushEndpoint")?;
    let attributes = map(body, "attributes")?;
    let empty = endpoint.is_empty() && attributes.is_empty();
    Ok((!empty).then(|| PushConfig {
        push_endpoint: endpoint,
        attributes,
        ..PushConfig::default()
    }))
}

fn from_push_config(push: &PushConfig) -> Value {
    json!({ "pushEndpoint": push.push_endpoint, "attributes": push.attributes })
}

/// Transforms stay JSON: there are kinds, such as compression, that the message types do not know.
fn transforms(body: &Value) -> Result<Option<Value>, Status> {
    match &body["messageTransforms"] {
        Value::Null => Ok(None),
        Value::Array(all) if all.is_empty() => Ok(None),
        all @ Value::Array(_) => Ok(Some(all.clone())),
        _ => Err(invalid("messageTransforms", "an array")),
    }
}

fn insert_transforms(
    fields: &mut Map<String, Value>,
    given: Option<&Value>,
    wire: &[MessageTransform],
) {
    let all = match given {
        Some(all) => all.clone(),
        None if wire.is_empty() => return,
        None => wire.iter().map(from_transform).collect(),
    };
    fields.insert("messageTransforms".into(), all);
}

fn from_transform(transform: &MessageTransform) -> Value {
    let mut fields = match &transform.transform {
        Some(Transform::JavascriptUdf(udf)) => json!({
            "javascriptUdf": { "functionName": udf.function_name, "code": udf.code },
        }),
        Some(Transform::AiInference(inference)) => json!({
            "aiInference": { "endpoint": inference.endpoint },
        }),
        None => json!({}),
    };
    if transform.disabled {
        fields["disabled"] = true.into();
    }
    fields
}
