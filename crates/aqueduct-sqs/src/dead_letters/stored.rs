use aqueduct_core::{
    DeadLetter, DeadLetterId, DeadLetterQuery, DeadLetterReason, Error, ErrorKind, Event, Result,
    SmallStr, StoredDeadLetter, Timestamp,
};
use aws_sdk_sqs::types::{Message, MessageSystemAttributeName};

use crate::encoding::{Incoming, decode};

/// The attribute of an event whose data was truncated: the original size in bytes.
const DATA_BYTES: &str = "aqueductdatabytes";

/// The message attribute that orders the dead letters of a process.
pub(super) const ORDER: &str = "aqueduct-order";

/// The group of dead letters that the service's own redrive policy moved here.
const NATIVE_GROUP: &str = "sqs";

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
    dead_letter: DeadLetter,
    /// Not written by this crate: moved here by a redrive policy, or sent by another producer.
    native: bool,
    /// Identifies copies of a dead letter that was stored twice; `None` for a native one, and for
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
        let native = carried.is_none();
        let dead_letter = carried.unwrap_or_else(|| {
            let from = said(MessageSystemAttributeName::DeadLetterQueueSourceArn);
            native_dead_letter(event, from, sent)
        });
        let redriven = DeadLetter::target_group(&dead_letter.event).is_some();
        Some(Self {
            same: (!native && !redriven).then(|| dead_letter.id()),
            place: Place {
                order,
                message: id.into(),
            },
            handle: handle.into(),
            dead_letter,
            native,
        })
    }

    pub(super) fn id(&self) -> DeadLetterId {
        DeadLetterId(format!("{}.{}", self.place.order, self.place.message).into())
    }

    pub(super) fn to_letter(&self) -> StoredDeadLetter {
        StoredDeadLetter {
            id: self.id(),
            dead_letter: self.dead_letter.clone(),
        }
    }

    pub(super) fn matches(&self, query: &DeadLetterQuery) -> bool {
        let dead_letter = &self.dead_letter;
        query
            .group
            .as_ref()
            .is_none_or(|it| *it == dead_letter.group)
            && query
                .stream
                .as_ref()
                .is_none_or(|it| *it == dead_letter.stream)
            && query
                .key
                .as_ref()
                .is_none_or(|it| dead_letter.event.key() == Some(it.as_str()))
    }

    /// Returns the event to redrive.
    ///
    /// # Errors
    /// `Corrupt` if part of its data is missing.
    pub(super) fn redriven(&self) -> Result<Event> {
        if let Some(bytes) = self.dead_letter.event.attributes().get(DATA_BYTES) {
            return Err(Error::new(
                ErrorKind::Corrupt,
                format!(
                    "the dead letter of event {} has only part of its {bytes} bytes of data: send the \
                     event again from where it came from, then purge the dead letter",
                    self.dead_letter.event.id()
                ),
            ));
        }
        Ok(match self.native {
            true => self.dead_letter.event.clone(),
            false => self.dead_letter.redriven(),
        })
    }
}

fn native_dead_letter(event: Event, from: Option<&str>, sent: i64) -> DeadLetter {
    let queue = from.and_then(|arn| arn.rsplit(':').next());
    let message = match queue {
        Some(_) => "moved here by the redrive policy of its queue",
        None => "sent here by another producer, not as a dead letter",
    };
    DeadLetter::new(
        event,
        queue.unwrap_or_default().into(),
        NATIVE_GROUP.into(),
        DeadLetterReason::Exhausted,
        message,
        Timestamp::from_millis(sent),
    )
}
