//! The methods that respond at once, by the types of gRPC.

use googleapis_tonic_google_pubsub_v1::google::pubsub::v1 as wire;
use googleapis_tonic_google_pubsub_v1::google::pubsub::v1::seek_request::Target;
use tonic::Status;

use super::failure::invalid_ack_ids;
use super::machine::time;
use super::service::Service;

fn paths(mask: Option<prost_types::FieldMask>) -> Vec<String> {
    mask.map(|mask| mask.paths).unwrap_or_default()
}

fn missing(field: &str) -> Status {
    Status::invalid_argument(format!("The request has no {field}."))
}

pub(super) fn create_topic(service: &Service, topic: wire::Topic) -> Result<wire::Topic, Status> {
    service.with(|broker, _| Ok(broker.create_topic(topic.into())?.wire))
}

pub(super) fn update_topic(
    service: &Service,
    request: wire::UpdateTopicRequest,
) -> Result<wire::Topic, Status> {
    let topic = request.topic.ok_or_else(|| missing("topic"))?;
    let paths = paths(request.update_mask);
    service.with(|broker, _| Ok(broker.update_topic(topic.into(), &paths)?.wire))
}

pub(super) fn publish(
    service: &Service,
    request: wire::PublishRequest,
) -> Result<wire::PublishResponse, Status> {
    let (topic, messages) = (request.topic, request.messages);
    let message_ids = service.with(|broker, now| broker.publish(&topic, messages, now))?;
    Ok(wire::PublishResponse { message_ids })
}

pub(super) fn get_topic(
    service: &Service,
    request: wire::GetTopicRequest,
) -> Result<wire::Topic, Status> {
    service.with(|broker, _| Ok(broker.topic(&request.topic)?.wire))
}

pub(super) fn list_topics(
    service: &Service,
    request: wire::ListTopicsRequest,
) -> Result<wire::ListTopicsResponse, Status> {
    let topics = service.with(|broker, _| broker.list_topics(&request.project));
    Ok(wire::ListTopicsResponse {
        topics: topics.into_iter().map(|topic| topic.wire).collect(),
        next_page_token: String::new(),
    })
}

pub(super) fn list_topic_subscriptions(
    service: &Service,
    request: wire::ListTopicSubscriptionsRequest,
) -> Result<wire::ListTopicSubscriptionsResponse, Status> {
    let subscriptions = service.with(|broker, _| broker.topic_subscriptions(&request.topic))?;
    Ok(wire::ListTopicSubscriptionsResponse {
        subscriptions,
        next_page_token: String::new(),
    })
}

pub(super) fn list_topic_snapshots(
    service: &Service,
    request: wire::ListTopicSnapshotsRequest,
) -> Result<wire::ListTopicSnapshotsResponse, Status> {
    let snapshots = service.with(|broker, _| broker.topic_snapshots(&request.topic));
    Ok(wire::ListTopicSnapshotsResponse {
        snapshots,
        next_page_token: String::new(),
    })
}

pub(super) fn delete_topic(
    service: &Service,
    request: wire::DeleteTopicRequest,
) -> Result<(), Status> {
    service.with(|broker, _| broker.delete_topic(&request.topic))
}

pub(super) fn detach_subscription(
    service: &Service,
    request: wire::DetachSubscriptionRequest,
) -> Result<wire::DetachSubscriptionResponse, Status> {
    service.with(|broker, _| broker.detach(&request.subscription))?;
    Ok(wire::DetachSubscriptionResponse {})
}

pub(super) fn create_subscription(
    service: &Service,
    subscription: wire::Subscription,
) -> Result<wire::Subscription, Status> {
    service.with(|broker, _| Ok(broker.create_subscription(subscription.into())?.wire))
}

pub(super) fn get_subscription(
    service: &Service,
    request: wire::GetSubscriptionRequest,
) -> Result<wire::Subscription, Status> {
    service.with(|broker, _| Ok(broker.subscription(&request.subscription)?.wire))
}

pub(super) fn update_subscription(
    service: &Service,
    request: wire::UpdateSubscriptionRequest,
) -> Result<wire::Subscription, Status> {
    let subscription = request
        .subscription
        .ok_or_else(|| missing("subscription"))?;
    let paths = paths(request.update_mask);
    service.with(|broker, _| {
        Ok(broker
            .update_subscription(subscription.into(), &paths)?
            .wire)
    })
}

pub(super) fn list_subscriptions(
    service: &Service,
    request: wire::ListSubscriptionsRequest,
) -> Result<wire::ListSubscriptionsResponse, Status> {
    let all = service.with(|broker, _| broker.list_subscriptions(&request.project));
    Ok(wire::ListSubscriptionsResponse {
        subscriptions: all.into_iter().map(|it| it.wire).collect(),
        next_page_token: String::new(),
    })
}

pub(super) fn delete_subscription(
    service: &Service,
    request: wire::DeleteSubscriptionRequest,
) -> Result<(), Status> {
    service.with(|broker, _| broker.delete_subscription(&request.subscription))
}

pub(super) fn modify_ack_deadline(
    service: &Service,
    request: wire::ModifyAckDeadlineRequest,
) -> Result<(), Status> {
    let (name, seconds) = (request.subscription, request.ack_deadline_seconds);
    let changes = request.ack_ids.into_iter().map(|ack_id| (ack_id, seconds));
    let invalid = service.with(|broker, now| broker.modify(&name, changes, now))?;
    check(invalid)
}

pub(super) fn acknowledge(
    service: &Service,
    request: wire::AcknowledgeRequest,
) -> Result<(), Status> {
    let (name, ack_ids) = (request.subscription, request.ack_ids);
    check(service.with(|broker, _| broker.acknowledge(&name, &ack_ids))?)
}

fn check(invalid: Vec<String>) -> Result<(), Status> {
    match invalid.is_empty() {
        true => Ok(()),
        false => Err(invalid_ack_ids(invalid)),
    }
}

pub(super) fn modify_push_config(
    service: &Service,
    request: wire::ModifyPushConfigRequest,
) -> Result<(), Status> {
    let (name, push) = (request.subscription, request.push_config);
    service.with(|broker, _| broker.modify_push_config(&name, push))
}

pub(super) fn get_snapshot(
    service: &Service,
    request: wire::GetSnapshotRequest,
) -> Result<wire::Snapshot, Status> {
    service.with(|broker, now| broker.snapshot(&request.snapshot, now))
}

pub(super) fn list_snapshots(
    service: &Service,
    request: wire::ListSnapshotsRequest,
) -> Result<wire::ListSnapshotsResponse, Status> {
    let snapshots = service.with(|broker, _| broker.list_snapshots(&request.project));
    Ok(wire::ListSnapshotsResponse {
        snapshots,
        next_page_token: String::new(),
    })
}

pub(super) fn create_snapshot(
    service: &Service,
    request: wire::CreateSnapshotRequest,
) -> Result<wire::Snapshot, Status> {
    service.with(|broker, now| broker.create_snapshot(request, now))
}

pub(super) fn update_snapshot(
    service: &Service,
    request: wire::UpdateSnapshotRequest,
) -> Result<wire::Snapshot, Status> {
    let snapshot = request.snapshot.ok_or_else(|| missing("snapshot"))?;
    let paths = paths(request.update_mask);
    service.with(|broker, _| broker.update_snapshot(&snapshot, &paths))
}

pub(super) fn delete_snapshot(
    service: &Service,
    request: wire::DeleteSnapshotRequest,
) -> Result<(), Status> {
    service.with(|broker, _| broker.delete_snapshot(&request.snapshot))
}

pub(super) fn seek(
    service: &Service,
    request: wire::SeekRequest,
) -> Result<wire::SeekResponse, Status> {
    let name = request.subscription;
    service.with(|broker, now| match request.target {
        Some(Target::Time(target)) => broker.seek_to_time(&name, time(&target), now),
        Some(Target::Snapshot(snapshot)) => broker.seek_to_snapshot(&name, &snapshot, now),
        None => Err(missing("target")),
    })?;
    Ok(wire::SeekResponse {})
}
