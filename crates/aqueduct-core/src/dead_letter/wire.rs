//! A dead letter as an event, version 1 of the format.

use std::borrow::Cow;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::cloudevents::json;
use crate::event::describe_json_error;
use crate::{
    DeadLetter, DeadLetterId, DeadLetterReason, Error, ErrorKind, Event, Failure, PartitionId,
    Position, Result, SmallStr, Timestamp,
};

const VERSION: u32 = 1;

impl DeadLetter {
    /// The type of the event that carries a dead letter.
    pub const EVENT_TYPE: SmallStr = SmallStr::literal("io.aqueduct.letter");

    /// The source of the event that carries a dead letter. It is constant, so that the id alone
    /// identifies a dead letter.
    pub const EVENT_SOURCE: SmallStr = SmallStr::literal("/aqueduct/letters");

    /// Returns the id of the dead letter: a UUID derived from the group, the stream, and the event's
    /// source and id, so that a store that deduplicates ids keeps one copy.
    pub fn id(&self) -> DeadLetterId {
        DeadLetterId(self.uuid().to_string().into())
    }

    /// Encodes the dead letter as an event that any producer can send.
    ///
    /// Its type is [`EVENT_TYPE`](Self::EVENT_TYPE), its source
    /// [`EVENT_SOURCE`](Self::EVENT_SOURCE), its id [`id`](Self::id), its subject the group, its
    /// time `buried_at`, its key that of the original event; the trace and the correlation of the
    /// original event are copied. Its data is one JSON object; unknown members are left out:
    ///
    /// ```json
    /// {
    ///   "version": 1,
    ///   "stream": "orders", "group": "billing", "partition": "0", "position": "4711.2",
    ///   "stored_at": "2026-01-31T12:00:00Z",
    ///   "reason": "exhausted", "message": "card declined", "holds_key": false, "attempts": 5,
    ///   "failures": [{"attempt": 5, "at": "2026-01-31T12:00:30Z", "error": "card declined"}],
    ///   "buried_at": "2026-01-31T12:00:31Z",
    ///   "event": {"specversion": "1.0", "id": "A1", "source": "/shop", "type": "order.placed"}
    /// }
    /// ```
    ///
    /// `event` is the original event in the JSON format of CloudEvents. Its data is preserved byte
    /// for byte, its attributes as described in [`json`].
    ///
    /// # Errors
    /// `Internal` if the dead letter does not serialize, which is not expected to happen.
    pub fn to_event(&self) -> Result<Event> {
        let mut buried = Vec::new();
        json::encode(&self.event, &mut buried);
        let serialized = String::from_utf8(buried)
            .map_err(|_| "it is not UTF-8".to_owned())
            .and_then(|text| RawValue::from_string(text).map_err(|e| describe_json_error(&e)))
            .and_then(|event| {
                serde_json::to_vec(&self.wire(&event)).map_err(|e| describe_json_error(&e))
            });
        let data = serialized.map_err(|why| {
            let what = format!("the dead letter of event {}: {why}", self.event.id());
            Error::new(ErrorKind::Internal, what)
        })?;
        let mut event = Event::with_id_and_type(self.uuid().into(), Self::EVENT_TYPE)
            .with_source(Self::EVENT_SOURCE)
            .with_subject(self.group.text())
            .with_time(self.buried_at)
            .with_content_type(Event::JSON)
            .with_data(data);
        event.key = self.event.key.clone();
        for name in ["traceparent", "tracestate", "correlationid"] {
            if let Some(value) = self.event.attributes.get(name) {
                let name = SmallStr::literal(name);
                event.attributes.set_checked(name, value.clone());
            }
        }
        Ok(event)
    }

    /// Decodes the dead letter that `event` carries.
    ///
    /// # Errors
    /// `Invalid` if it carries none; `Corrupt` if the dead letter is damaged or of an unknown
    /// version.
    pub fn from_event(event: &Event) -> Result<Self> {
        if event.kind != Self::EVENT_TYPE {
            let what = format!(
                "event {} carries no dead letter: its type is `{}`",
                event.id, event.kind
            );
            return Err(Error::new(ErrorKind::Invalid, what));
        }
        event
            .data
            .as_ref()
            .ok_or_else(|| Error::new(ErrorKind::Corrupt, "it has no data"))
            .and_then(read)
            .map_err(|e| e.context(format_args!("the dead letter in event {}", event.id)))
    }

    fn uuid(&self) -> Uuid {
        const NAMESPACE: Uuid = Uuid::from_u128(0x9a0b_1c1f_70c5_5f0e_9d5b_66f1_4f5e_21c4);
        let mut name = Vec::with_capacity(128);
        self.event.id.with_str(|id| {
            for part in [
                self.group.as_str(),
                self.stream.as_str(),
                &*self.event.source,
                id,
            ] {
                name.extend_from_slice(&(part.len() as u64).to_be_bytes());
                name.extend_from_slice(part.as_bytes());
            }
        });
        Uuid::new_v5(&NAMESPACE, &name)
    }

    fn wire<'a>(&'a self, event: &'a RawValue) -> Wire<'a> {
        Wire {
            version: VERSION,
            stream: self.stream.as_str().into(),
            group: self.group.as_str().into(),
            partition: self.partition.as_ref().map(|it| it.as_str().into()),
            position: self.position.map(|it| it.to_string()),
            stored_at: self.stored_at.map(|it| it.to_string()),
            reason: self.reason.as_str().into(),
            message: (&*self.message).into(),
            holds_key: self.holds_key,
            attempts: self.attempts,
            failures: self.failures.iter().map(WireFailure::of).collect(),
            buried_at: self.buried_at.to_string(),
            event,
        }
    }
}

#[derive(Deserialize, Serialize)]
struct Wire<'a> {
    version: u32,
    #[serde(borrow)]
    stream: Cow<'a, str>,
    #[serde(borrow)]
    group: Cow<'a, str>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    partition: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    position: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    stored_at: Option<String>,
    #[serde(borrow)]
    reason: Cow<'a, str>,
    #[serde(borrow)]
    message: Cow<'a, str>,
    #[serde(default)]
    holds_key: bool,
    attempts: u32,
    #[serde(borrow, default)]
    failures: Vec<WireFailure<'a>>,
    buried_at: String,
    #[serde(borrow)]
    event: &'a RawValue,
}

#[derive(Deserialize, Serialize)]
struct WireFailure<'a> {
    attempt: u32,
    at: String,
    #[serde(borrow)]
    error: Cow<'a, str>,
}

impl<'a> WireFailure<'a> {
    fn of(failure: &'a Failure) -> Self {
        Self {
            attempt: failure.attempt,
            at: failure.at.to_string(),
            error: (&*failure.error).into(),
        }
    }

    fn read(&self) -> Result<Failure> {
        Ok(Failure {
            attempt: self.attempt,
            at: time("at", &self.at)?,
            error: (&*self.error).into(),
        })
    }
}

fn read(data: &Bytes) -> Result<DeadLetter> {
    #[derive(Deserialize)]
    struct Versioned {
        version: u32,
    }

    let version = parse::<Versioned>(data)?.version;
    if version != VERSION {
        return Err(corrupt(format!(
            "it is of version {version}, and only {VERSION} is read"
        )));
    }
    let wire: Wire<'_> = parse(data)?;
    let event = data.slice_ref(wire.event.get().as_bytes());
    // The event may lack attributes that CloudEvents requires: that may be why it failed.
    let event = json::decode_unchecked(&event).map_err(|e| corrupt(e.to_string()))?;
    let mut dead_letter = DeadLetter::new(
        event,
        (&*wire.stream).into(),
        (&*wire.group).into(),
        DeadLetterReason::from_name(&wire.reason)?,
        &*wire.message,
        time("buried_at", &wire.buried_at)?,
    );
    dead_letter.partition = wire.partition.map(|it| PartitionId::from(&*it));
    dead_letter.position = match &wire.position {
        Some(text) => Some(
            text.parse::<Position>()
                .map_err(|e| corrupt(e.to_string()))?,
        ),
        None => None,
    };
    dead_letter.stored_at = match &wire.stored_at {
        Some(text) => Some(time("stored_at", text)?),
        None => None,
    };
    dead_letter.holds_key = wire.holds_key;
    dead_letter.attempts = wire.attempts;
    dead_letter.failures = wire
        .failures
        .iter()
        .map(WireFailure::read)
        .collect::<Result<_>>()?;
    Ok(dead_letter)
}

fn parse<'a, T: Deserialize<'a>>(data: &'a [u8]) -> Result<T> {
    serde_json::from_slice(data).map_err(|e| corrupt(describe_json_error(&e)))
}

fn time(name: &str, text: &str) -> Result<Timestamp> {
    text.parse()
        .map_err(|e: Error| corrupt(format!("`{name}`: {e}")))
}

fn corrupt(what: String) -> Error {
    Error::new(ErrorKind::Corrupt, what)
}
