use aqueduct_core::{DeadLetter, DeadLetterReason, Event, SmallStr, Timestamp};
use aqueduct_queue::dead_letters::{Place, Scanned};
use aws_sdk_sqs::types::{Message, MessageSystemAttributeName};

use crate::encoding::{Incoming, decode};

/// The message attribute that orders the dead letters of a process.
pub(super) const ORDER: &str = "aqueduct-order";

/// The group of dead letters that no group stored.
const FOREIGN_GROUP: &str = "sqs";

/// Reads a message of the queue as a dead letter; `None` if the service returned it without id or receipt.
pub(super) fn read(message: Message, source: &SmallStr) -> Option<Scanned<SmallStr>> {
    let id = message.message_id?;
    let handle = message.receipt_handle?;
    let attributes = message.message_attributes.unwrap_or_default();
    let system = message.attributes.unwrap_or_default();
    let said = |name: MessageSystemAttributeName| system.get(&name).map(String::as_str);
    let sent: i64 = said(MessageSystemAttributeName::SentTimestamp)
        .and_then(|text| text.parse().ok())
        .unwrap_or_default();
    let order = attributes.get(ORDER).and_then(|it| it.string_value());
    let order = order.and_then(|text| text.parse().ok());
    let order = order.unwrap_or_else(|| u64::try_from(sent).unwrap_or_default() * 1000);
    let event = decode(Incoming {
        id: &id,
        body: message.body.unwrap_or_default(),
        attributes: &attributes,
        group: said(MessageSystemAttributeName::MessageGroupId),
        source,
    });
    let carried = DeadLetter::from_event(&event).ok();
    let foreign = carried.is_none();
    let dead_letter = carried.unwrap_or_else(|| {
        let from = said(MessageSystemAttributeName::DeadLetterQueueSourceArn);
        foreign_dead_letter(event, from, sent)
    });
    let place = Place::new(order, id.into());
    Some(Scanned::new(place, dead_letter, foreign, handle.into()))
}

fn foreign_dead_letter(event: Event, from: Option<&str>, sent: i64) -> DeadLetter {
    let queue = from.and_then(|arn| arn.rsplit(':').next());
    let message = match queue {
        Some(_) => "moved here by the redrive policy of its queue",
        None => "sent here by another producer, not as a dead letter",
    };
    DeadLetter::new(
        event,
        queue.unwrap_or_default().into(),
        FOREIGN_GROUP.into(),
        DeadLetterReason::Foreign,
        message,
        Timestamp::from_millis(sent),
    )
}
