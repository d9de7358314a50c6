use aqueduct_core::{
    DeadLetter, DeadLetterId, DeadLetterReason, Event, SmallStr, StoredDeadLetter, Timestamp,
};
use aws_sdk_sqs::types::{Message, MessageSystemAttributeName};

use crate::encoding::{Incoming, decode};

/// The message attribute that orders the dead letters of a process.
pub(super) const ORDER: &str = "aqueduct-order";

/// The group of dead letters that no group stored.
const FOREIGN_GROUP: &str = "sqs";

/// The position of a dead letter, encoded in its id as `ORDER.MESSAGE`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    order: u64,
    pub(super) message: SmallStr,
}

impl Place {
    pub(super) fn of(id: &DeadLetterId) -> Option<Self> {
        let (order, message) = id.0.split_once('.')?;
        Some(Self {
            order: order.parse().ok()?,
            message: message.into(),
        })
    }
}

/// Returns the message id of a dead letter, or `None` if its id is malformed.
pub(super) fn message_of(id: &DeadLetterId) -> Option<SmallStr> {
    Place::of(id).map(|place| place.message)
}

/// A message of the queue, read as a dead letter.
#[derive(Clone, Debug)]
pub(super) struct Stored {
    pub(super) place: Place,
    pub(super) handle: SmallStr,
    pub(super) dead_letter: DeadLetter,
    /// Identifies copies of a dead letter that was stored twice; `None` for a foreign one, and for
    /// one whose event was redriven before: its next failure is a new dead letter.
    pub(super) same: Option<DeadLetterId>,
}

impl Stored {
    pub(super) fn read(message: Message, source: &SmallStr) -> Option<Self> {
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
        let redriven = DeadLetter::target_group(&dead_letter.event).is_some();
        Some(Self {
            same: (!foreign && !redriven).then(|| dead_letter.id()),
            place: Place {
                order,
                message: id.into(),
            },
            handle: handle.into(),
            dead_letter,
        })
    }

    pub(super) fn id(&self) -> DeadLetterId {
        DeadLetterId(format!("{}.{}", self.place.order, self.place.message).into())
    }

    pub(super) fn into_stored(self) -> StoredDeadLetter {
        StoredDeadLetter {
            id: self.id(),
            dead_letter: self.dead_letter,
        }
    }
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
