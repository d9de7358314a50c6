use aqueduct_core::{
    Error, ErrorKind, Event, Letter, LetterId, LetterQuery, LetterReason, Result, StoredLetter,
    Text, Timestamp,
};
use aws_sdk_sqs::types::{Message, MessageSystemAttributeName};

use super::cut::DATA_BYTES;
use crate::encoding::{Incoming, decode};

/// The attribute that says when a letter was buried, among those of its process.
pub(super) const ORDER: &str = "aqueduct-order";

/// The group of a letter that the service itself has made.
const NOBODY: &str = "sqs";

/// Where a letter stands, as its name has it: `ORDER.MESSAGE`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    order: u64,
    pub(super) message: Text,
}

impl Place {
    pub(super) fn of(id: &LetterId) -> Option<Self> {
        let (order, message) = id.0.split_once('.')?;
        Some(Self {
            order: order.parse().ok()?,
            message: message.into(),
        })
    }
}

/// The message that a letter of that name is in.
pub(super) fn message_of(id: &LetterId) -> Option<Text> {
    Place::of(id).map(|place| place.message)
}

/// A message of the queue, as the letter that it is.
#[derive(Clone, Debug)]
pub(super) struct Stored {
    pub(super) place: Place,
    pub(super) handle: Text,
    letter: Letter,
    /// Moved here by a redrive policy of the service, or sent by somebody else.
    native: bool,
    /// The name of the letter itself, where another of that name is the same, buried twice: not
    /// where its event was redriven and failed again.
    pub(super) same: Option<LetterId>,
}

impl Stored {
    pub(super) fn read(message: Message, source: &Text) -> Option<Self> {
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
        let carried = Letter::from_event(&event).ok();
        let native = carried.is_none();
        let letter = carried.unwrap_or_else(|| {
            let from = said(MessageSystemAttributeName::DeadLetterQueueSourceArn);
            native_letter(event, from, sent)
        });
        let redriven = Letter::target_group(&letter.event).is_some();
        Some(Self {
            same: (!native && !redriven).then(|| letter.id()),
            place: Place {
                order,
                message: id.into(),
            },
            handle: handle.into(),
            letter,
            native,
        })
    }

    pub(super) fn id(&self) -> LetterId {
        LetterId(format!("{}.{}", self.place.order, self.place.message).into())
    }

    pub(super) fn to_letter(&self) -> StoredLetter {
        StoredLetter {
            id: self.id(),
            letter: self.letter.clone(),
        }
    }

    pub(super) fn matches(&self, query: &LetterQuery) -> bool {
        let letter = &self.letter;
        query.group.as_ref().is_none_or(|it| *it == letter.group)
            && query.stream.as_ref().is_none_or(|it| *it == letter.stream)
            && query
                .key
                .as_ref()
                .is_none_or(|it| letter.event.key() == Some(it.as_str()))
    }

    /// The event to send again.
    ///
    /// # Errors
    /// `Corrupt`, where part of its data is missing.
    pub(super) fn redriven(&self) -> Result<Event> {
        if let Some(bytes) = self.letter.event.attributes().get(DATA_BYTES) {
            return Err(Error::new(
                ErrorKind::Corrupt,
                format!(
                    "the letter of event {} has only part of its {bytes} bytes of data: send the \
                     event again from where it came from, then purge the letter",
                    self.letter.event.id()
                ),
            ));
        }
        Ok(match self.native {
            true => self.letter.event.clone(),
            false => self.letter.redriven(),
        })
    }
}

fn native_letter(event: Event, from: Option<&str>, sent: i64) -> Letter {
    let queue = from.and_then(|arn| arn.rsplit(':').next());
    let message = match queue {
        Some(_) => "moved here by the redrive policy of its queue",
        None => "sent here by somebody else: it is no letter",
    };
    Letter::new(
        event,
        queue.unwrap_or_default().into(),
        NOBODY.into(),
        LetterReason::Exhausted,
        message,
        Timestamp::from_millis(sent),
    )
}
