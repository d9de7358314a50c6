use std::collections::HashMap;

use aqueduct_core::{DeadLetter, DeadLetterReason, Event, SmallStr, Timestamp};
use aqueduct_queue::dead_letters::{Place, Scanned};
use google_cloud_pubsub::model::Message;

use crate::subscription;

/// The attribute that orders the dead letters of a process.
pub(super) const ORDER: &str = "aqueduct-order";

/// The attributes that the service adds to a message that it moves by a dead letter policy.
const SOURCE_SUBSCRIPTION: &str = "CloudPubSubDeadLetterSourceSubscription";
const DELIVERY_COUNT: &str = "CloudPubSubDeadLetterSourceDeliveryCount";
const PUBLISH_TIME: &str = "CloudPubSubDeadLetterSourceTopicPublishTime";

/// Reads a message of the topic as a dead letter.
pub(super) fn read<H>(message: Message, event_source: &SmallStr, handle: H) -> Scanned<H> {
    let native = NativeSource::of(&message.attributes);
    let order = message
        .attributes
        .get(ORDER)
        .and_then(|text| text.parse().ok());
    let message = subscription::read(message, event_source);
    let stored_at = message.stored_at.unwrap_or(Timestamp::EPOCH);
    let order =
        order.unwrap_or_else(|| u64::try_from(stored_at.as_millis()).unwrap_or_default() * 1000);
    let carried = DeadLetter::from_event(&message.event).ok();
    let foreign = carried.is_none();
    let dead_letter = carried.unwrap_or_else(|| native.dead_letter(message.event, stored_at));
    Scanned::new(Place::new(order, message.id), dead_letter, foreign, handle)
}

/// The attributes of a message that the service moved.
#[derive(Debug, Default)]
struct NativeSource {
    subscription: Option<SmallStr>,
    deliveries: u32,
    published: Option<Timestamp>,
}

impl NativeSource {
    fn of(attributes: &HashMap<String, String>) -> Self {
        let text = |name: &str| attributes.get(name).map(String::as_str);
        Self {
            subscription: text(SOURCE_SUBSCRIPTION).map(SmallStr::from),
            deliveries: text(DELIVERY_COUNT)
                .and_then(|it| it.parse().ok())
                .unwrap_or_default(),
            published: text(PUBLISH_TIME).and_then(|it| it.parse().ok()),
        }
    }

    /// Names the subscription as the stream and as the group: the service names no topic.
    fn dead_letter(self, event: Event, moved_at: Timestamp) -> DeadLetter {
        let message = match self.subscription {
            Some(_) => "moved here by the dead letter policy of its subscription",
            None => "published here by another producer, not as a dead letter",
        };
        let subscription = self.subscription.unwrap_or_default();
        let mut dead_letter = DeadLetter::new(
            event,
            subscription.as_str().into(),
            subscription.as_str().into(),
            DeadLetterReason::Foreign,
            message,
            moved_at,
        );
        dead_letter.attempts = self.deliveries;
        dead_letter.stored_at = self.published;
        dead_letter
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::structured;

    fn read(mut message: Message, attributes: &[(&str, &str)]) -> Scanned<()> {
        message.message_id = "17".to_owned();
        for (name, value) in attributes {
            message
                .attributes
                .insert((*name).to_owned(), (*value).to_owned());
        }
        super::read(message, &"pubsub://shop/late".into(), ())
    }

    #[test]
    fn a_dead_letter_comes_back_whole() {
        let event = Event::bytes("t", "application/octet-stream", vec![7; 10]).with_source("/s");
        let (stream, group) = ("orders".into(), "billing".into());
        let reason = DeadLetterReason::Exhausted;
        let dead_letter = DeadLetter::new(event, stream, group, reason, "boom", Timestamp::EPOCH);
        let stored = read(
            structured(&dead_letter.to_event().unwrap()),
            &[(ORDER, "42")],
        );
        assert_eq!(stored.dead_letter, dead_letter);
        assert_eq!(stored.place.id().to_string(), "42.17");
        assert_eq!(stored.same, Some(dead_letter.id()));
    }

    #[test]
    fn what_a_policy_moved_says_where_from() {
        let event = Event::bytes("t", "text/plain", "x").with_source("/s");
        let stored = read(
            structured(&event),
            &[
                (SOURCE_SUBSCRIPTION, "orders.billing"),
                (DELIVERY_COUNT, "5"),
                (PUBLISH_TIME, "2026-02-28T23:59:59.5+00:00"),
            ],
        );
        let letter = stored.to_dead_letter().dead_letter;
        assert_eq!(
            (letter.group.as_str(), letter.attempts),
            ("orders.billing", 5)
        );
        assert_eq!(
            letter.stored_at,
            Some("2026-02-28T23:59:59.5Z".parse().unwrap())
        );
        assert_eq!(letter.event, event);
        let redriven = stored.dead_letter.redriven().unwrap();
        assert_eq!(redriven, event, "for every group");
    }
}
