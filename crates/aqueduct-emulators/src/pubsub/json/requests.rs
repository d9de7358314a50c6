use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use googleapis_tonic_google_pubsub_v1::google::pubsub::v1::seek_request::Target;
use googleapis_tonic_google_pubsub_v1::google::pubsub::v1::{
    CreateSnapshotRequest, PubsubMessage, PullRequest, PullResponse, Snapshot,
};
use prost_types::Timestamp;
use serde_json::{Value, json};
use tonic::Status;

use super::fields::{flag, invalid, map, number, text};

pub(in crate::pubsub) fn messages(body: &Value) -> Result<Vec<PubsubMessage>, Status> {
    let messages = body["messages"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    messages.iter().map(message).collect()
}

fn message(body: &Value) -> Result<PubsubMessage, Status> {
    let data = text(body, "data")?;
    let data = STANDARD.decode(&data).or_else(|_| URL_SAFE.decode(&data));
    Ok(PubsubMessage {
        data: data.map_err(|_| invalid("data", "Base64"))?.into(),
        attributes: map(body, "attributes")?,
        ordering_key: text(body, "orderingKey")?,
        ..PubsubMessage::default()
    })
}

pub(in crate::pubsub) fn pull(subscription: String, body: &Value) -> Result<PullRequest, Status> {
    #[allow(deprecated)]
    Ok(PullRequest {
        subscription,
        return_immediately: flag(body, "returnImmediately")?,
        max_messages: number(body, "maxMessages")?,
    })
}

pub(in crate::pubsub) fn pulled(response: &PullResponse) -> Value {
    let messages = response.received_messages.iter().map(|received| {
        let message = received.message.clone().unwrap_or_default();
        let mut fields = json!({
            "messageId": message.message_id,
            "publishTime": message.publish_time.unwrap_or_default().to_string(),
        });
        if !message.data.is_empty() {
            fields["data"] = STANDARD.encode(&message.data).into();
        }
        if !message.attributes.is_empty() {
            fields["attributes"] = json!(message.attributes);
        }
        if !message.ordering_key.is_empty() {
            fields["orderingKey"] = message.ordering_key.into();
        }
        let mut received_fields = json!({ "ackId": received.ack_id, "message": fields });
        if received.delivery_attempt > 0 {
            received_fields["deliveryAttempt"] = received.delivery_attempt.into();
        }
        received_fields
    });
    let messages: Vec<Value> = messages.collect();
    match messages.is_empty() {
        true => json!({}),
        false => json!({ "receivedMessages": messages }),
    }
}

pub(in crate::pubsub) fn seek_target(body: &Value) -> Result<Option<Target>, Status> {
    if body["snapshot"].is_string() {
        return Ok(Some(Target::Snapshot(text(body, "snapshot")?)));
    }
    Ok(timestamp(body, "time")?.map(Target::Time))
}

pub(in crate::pubsub) fn create_snapshot(
    name: String,
    body: &Value,
) -> Result<CreateSnapshotRequest, Status> {
    Ok(CreateSnapshotRequest {
        name,
        subscription: text(body, "subscription")?,
        labels: map(body, "labels")?,
        ..CreateSnapshotRequest::default()
    })
}

pub(in crate::pubsub) fn snapshot(name: String, body: &Value) -> Result<Snapshot, Status> {
    Ok(Snapshot {
        name,
        topic: text(body, "topic")?,
        expire_time: timestamp(body, "expireTime")?,
        labels: map(body, "labels")?,
    })
}

pub(in crate::pubsub) fn from_snapshot(snapshot: &Snapshot) -> Value {
    let mut fields = json!({ "name": snapshot.name, "topic": snapshot.topic });
    if let Some(time) = &snapshot.expire_time {
        fields["expireTime"] = time.to_string().into();
    }
    if !snapshot.labels.is_empty() {
        fields["labels"] = json!(snapshot.labels);
    }
    fields
}

fn timestamp(body: &Value, field: &str) -> Result<Option<Timestamp>, Status> {
    let text = text(body, field)?;
    if text.is_empty() {
        return Ok(None);
    }
    let expected = "a time such as `2026-01-31T12:00:00Z`";
    text.parse().map(Some).map_err(|_| invalid(field, expected))
}
