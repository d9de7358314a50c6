use std::borrow::Cow;
use std::io;

use aqueduct_core::cloudevents::{Received, json, protobuf, receive};
use aqueduct_core::{Error, ErrorKind, Event, EventId, PartitionId, Result, SmallStr};
use bytes::Bytes;

use crate::config::Encoding;
use crate::hash::{hash_of, parse_hash};

/// The prefix of the partition key of an event without a key. Readers do not report it as a key.
pub(crate) const KEYLESS: &str = "keyless~";

/// The prefix of the partition key of an event whose key the service does not accept. The
/// CloudEvents encodings carry the key itself.
pub(crate) const HASHED: &str = "hashed~";

/// Appends the data of the record for `event` to `out`.
///
/// # Errors
/// `Invalid` for an event without a required CloudEvents attribute.
pub(crate) fn encode(event: &Event, encoding: Encoding, out: &mut Vec<u8>) -> Result<()> {
    match encoding {
        Encoding::Raw => out.extend_from_slice(event.data().map_or(&[][..], |data| data)),
        Encoding::CloudEventsJson => {
            event.validate()?;
            json::encode(event, out);
        }
        Encoding::CloudEventsProtobuf => {
            event.validate()?;
            protobuf::encode(event, out);
        }
    }
    Ok(())
}

/// The origin of a record.
#[derive(Clone, Copy)]
pub(crate) struct Place<'a> {
    /// The stream, used as the source of records that are not CloudEvents.
    pub(crate) stream: &'a SmallStr,
    pub(crate) shard: &'a PartitionId,
    /// The sequence number as the service writes it.
    pub(crate) sequence: &'a str,
    /// The index within an aggregated record.
    pub(crate) sub: u64,
}

impl Place<'_> {
    /// Returns the id of a record that has none: shard and position.
    fn event_id(&self) -> EventId {
        // Formatted on the stack: this runs once per record.
        let mut room = [0; 256];
        let mut rest = &mut room[..];
        let written = self.write_id(&mut rest);
        let left = rest.len();
        match (written, str::from_utf8(&room[..room.len() - left])) {
            (Ok(()), Ok(id)) => EventId::from(id),
            _ => {
                let mut id = Vec::new();
                // Writing to memory does not fail.
                let _ = self.write_id(&mut id);
                EventId::new(String::from_utf8_lossy(&id).into_owned())
            }
        }
    }

    /// Writes the shard and the position.
    fn write_id(&self, out: &mut impl io::Write) -> io::Result<()> {
        out.write_all(self.shard.as_str().as_bytes())?;
        out.write_all(b"/")?;
        let digits = self.sequence.trim_start_matches('0');
        out.write_all(if digits.is_empty() { "0" } else { digits }.as_bytes())?;
        match self.sub {
            0 => Ok(()),
            sub => write!(out, ".{sub}"),
        }
    }
}

/// Decodes a record: a CloudEvent in either format, else a foreign event, or a damaged one if it
/// claims to be a CloudEvent, with the unchanged bytes and the partition key as its key. The service
/// requires a partition key, so an empty one means that the response had none: no key then.
pub(crate) fn decode(data: Bytes, partition_key: &str, encoding: Encoding, at: Place<'_>) -> Event {
    let received = match encoding {
        Encoding::Raw => Received::Foreign,
        // Records have no media type: the bytes decide.
        _ => receive(&data, None),
    };
    let damage = match received {
        Received::Event(event) => return event,
        Received::Invalid(reason) => Some(reason),
        Received::Foreign => None,
    };
    let mut event = Event::foreign(at.stream, at.event_id(), data);
    let is_invented = |it: &&str| partition_key.starts_with(*it);
    if !partition_key.is_empty() && ![KEYLESS, HASHED].iter().any(is_invented) {
        event = event.with_key(partition_key);
    }
    match damage {
        Some(reason) => event.damaged_by(reason),
        None => event,
    }
}

/// Returns the partition key of an unaggregated record: the event's key if the service accepts it.
pub(crate) fn partition_key(event: &Event) -> Cow<'_, str> {
    match event.key() {
        Some(key) if is_partition_key(key) => Cow::Borrowed(key),
        Some(key) => Cow::Owned(format!("{HASHED}{:032x}", hash_of(key))),
        None => {
            let spread = match event.id().as_uuid() {
                // This half is random in every version.
                Some(uuid) => uuid.as_u128() as u64,
                None => event.id().with_str(hash_of) as u64,
            };
            Cow::Owned(format!("{KEYLESS}{spread:016x}"))
        }
    }
}

/// Returns whether the service accepts `key` unchanged: 1 to 256 characters.
fn is_partition_key(key: &str) -> bool {
    !key.is_empty() && (key.len() <= 256 || key.chars().count() <= 256)
}

/// The attribute with the explicit hash key: a decimal number of 128 bits.
pub(crate) const HASH_KEY: &str = "kinesishashkey";

/// Returns the explicit hash key of the event.
///
/// # Errors
/// `Invalid` if it does not parse.
#[inline]
pub(crate) fn explicit_hash(event: &Event) -> Result<Option<u128>> {
    // Most events have no attributes.
    if event.attributes().is_empty() {
        return Ok(None);
    }
    match event.attributes().get(HASH_KEY) {
        None => Ok(None),
        Some(value) => match parse_hash(&value.to_string()) {
            Some(hash) => Ok(Some(hash)),
            None => Err(Error::new(
                ErrorKind::Invalid,
                format!(
                    "event {}: invalid attribute {HASH_KEY} (expected a decimal number of 128 bits)",
                    event.id()
                ),
            )),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(event: &Event, encoding: Encoding) -> Event {
        let mut data = Vec::new();
        encode(event, encoding, &mut data).unwrap();
        let stream = SmallStr::literal("orders");
        let at = Place {
            stream: &stream,
            shard: &"shardId-000000000007".into(),
            sequence: "5",
            sub: 2,
        };
        decode(data.into(), &partition_key(event), encoding, at)
    }

    fn event() -> Event {
        Event::bytes("order.placed", "text/plain", "hello").with_source("/shop")
    }

    #[test]
    fn an_event_comes_back_whole_and_raw_data_as_a_foreign_one() {
        let long = "k".repeat(300);
        for key in [None, Some("VINET"), Some(""), Some(long.as_str())] {
            let event = match key {
                None => event(),
                Some(key) => event().with_key(key),
            };
            assert!((1..=256).contains(&partition_key(&event).len()));
            for encoding in [Encoding::CloudEventsJson, Encoding::CloudEventsProtobuf] {
                assert_eq!(read(&event, encoding), event);
            }
            let raw = read(&event, Encoding::Raw);
            assert!(raw.is_foreign());
            assert_eq!(raw.data(), event.data());
            assert_eq!(raw.id().to_string(), "shardId-000000000007/5.2");
            assert_eq!(raw.key(), key.filter(|key| is_partition_key(key)));
        }
    }

    #[test]
    fn events_without_a_key_spread() {
        let keys: Vec<_> = (0..64).map(|_| hash_of(&partition_key(&event()))).collect();
        let low = keys.iter().filter(|hash| **hash < u128::MAX / 2).count();
        assert!((8..56).contains(&low), "{low} of 64 in the lower half");
    }

    #[test]
    fn a_record_without_a_partition_key_has_no_key() {
        let (stream, shard) = ("orders".into(), "shardId-000000000000".into());
        let at = || Place {
            stream: &stream,
            shard: &shard,
            sequence: "7",
            sub: 0,
        };
        let keyed = decode(Bytes::from_static(b"x"), "VINET", Encoding::Raw, at());
        assert_eq!(keyed.key(), Some("VINET"));
        let bare = decode(Bytes::from_static(b"x"), "", Encoding::Raw, at());
        assert_eq!(bare.key(), None);
    }

    #[test]
    fn an_event_that_lacks_its_source_is_refused_and_a_bad_hash_key_too() {
        let unsigned = Event::new("order.placed");
        let error = encode(&unsigned, Encoding::CloudEventsJson, &mut Vec::new()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        let placed = |hash: &str| event().with_attribute(HASH_KEY, hash).unwrap();
        assert_eq!(explicit_hash(&placed("17")).unwrap(), Some(17));
        assert_eq!(explicit_hash(&event()).unwrap(), None);
        let error = explicit_hash(&placed("-1")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
    }
}
