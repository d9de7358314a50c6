use std::collections::VecDeque;
use std::sync::Weak;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use tokio::sync::Notify;

use super::amqp::{Message, Value};
use super::offset::Offsets;
use super::selector::{Field, Selector};

/// An event as it is stored.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct StoredEvent {
    /// Ascends by one within a partition, from 0.
    pub sequence_number: i64,
    /// The position as consumers see it, a number or opaque text.
    pub offset: String,
    /// When the event was stored, in whole milliseconds.
    pub enqueued_time: SystemTime,
    /// The annotation `x-opt-partition-key`.
    pub partition_key: Option<String>,
    /// The encoded AMQP message, as it was sent.
    pub message: Bytes,
    pub(super) header: Bytes,
    /// The sections after the header, with the annotations of the service.
    pub(super) rest: Bytes,
}

/// The log of one partition.
#[derive(Debug)]
pub(super) struct Partition {
    offsets: Offsets,
    events: VecDeque<StoredEvent>,
    /// The sequence number of the next event.
    next: i64,
    /// The bytes of all events so far.
    bytes: u64,
    last: Option<(String, SystemTime)>,
    readers: Vec<Weak<Notify>>,
}

/// The annotations of the service.
pub(super) const SEQUENCE_NUMBER: &str = "x-opt-sequence-number";
pub(super) const OFFSET: &str = "x-opt-offset";
pub(super) const ENQUEUED_TIME: &str = "x-opt-enqueued-time";
pub(super) const PARTITION_KEY: &str = "x-opt-partition-key";

impl Partition {
    pub(super) fn new(offsets: Offsets) -> Self {
        Self {
            offsets,
            events: VecDeque::new(),
            next: 0,
            bytes: 0,
            last: None,
            readers: Vec::new(),
        }
    }

    pub(super) fn events(&self) -> impl Iterator<Item = &StoredEvent> {
        self.events.iter()
    }

    /// Stores an event; `key` is the partition key of the batch.
    pub(super) fn append(&mut self, encoded: Bytes, message: &Message, key: Option<&str>) {
        let millis = self.last.as_ref().map_or(0, |(_, time)| millis(*time));
        let millis = millis.max(self::millis(SystemTime::now()));
        let enqueued_time = UNIX_EPOCH + Duration::from_millis(millis);
        let sequence_number = self.next;
        let offset = self.offsets.render(sequence_number, self.bytes);
        let own = message.annotation(PARTITION_KEY).and_then(Value::as_str);
        let partition_key = own.or(key).map(str::to_owned);
        let mut extra = vec![
            (SEQUENCE_NUMBER, Value::I64(sequence_number)),
            (OFFSET, Value::string(&offset)),
            (ENQUEUED_TIME, Value::Timestamp(millis as i64)),
        ];
        if let Some(key) = &partition_key {
            extra.push((PARTITION_KEY, Value::string(key)));
        }
        let (header, rest) = message.annotated(extra);
        self.next += 1;
        self.bytes += encoded.len() as u64;
        self.last = Some((offset.clone(), enqueued_time));
        self.events.push_back(StoredEvent {
            sequence_number,
            offset,
            enqueued_time,
            partition_key,
            message: encoded,
            header,
            rest,
        });
    }

    /// Wakes the connections that read the partition.
    pub(super) fn wake(&mut self) {
        self.readers.retain(|reader| match reader.upgrade() {
            Some(reader) => {
                reader.notify_one();
                true
            }
            None => false,
        });
    }

    pub(super) fn watch(&mut self, reader: Weak<Notify>) {
        self.readers.push(reader);
    }

    /// Forgets the events before `sequence_number`.
    pub(super) fn expire(&mut self, sequence_number: i64) {
        while self
            .events
            .front()
            .is_some_and(|it| it.sequence_number < sequence_number)
        {
            self.events.pop_front();
        }
    }

    pub(super) fn expire_older(&mut self, than: SystemTime) {
        while self
            .events
            .front()
            .is_some_and(|it| it.enqueued_time < than)
        {
            self.events.pop_front();
        }
    }

    pub(super) fn keep(&mut self, most: usize) {
        while self.events.len() > most {
            self.events.pop_front();
        }
    }

    /// Returns the first event at or after `sequence_number`.
    pub(super) fn read(&self, sequence_number: i64) -> Option<&StoredEvent> {
        let index = sequence_number.saturating_sub(self.begin()).max(0);
        self.events.get(usize::try_from(index).ok()?)
    }

    /// Returns the sequence number of the oldest event, or of the next one if there is none.
    pub(super) fn begin(&self) -> i64 {
        let first = self.events.front();
        first.map_or(self.next, |event| event.sequence_number)
    }

    /// Returns the sequence number of the last event; -1 if there never was one.
    pub(super) fn last_sequence_number(&self) -> i64 {
        self.next - 1
    }

    /// Returns offset and time of the last event; `-1` and the epoch if there never was one.
    pub(super) fn last(&self) -> (String, SystemTime) {
        let last = self.last.clone();
        last.unwrap_or_else(|| ("-1".to_owned(), UNIX_EPOCH))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// Returns the sequence number at which a reader starts.
    ///
    /// # Errors
    /// The message of the service, if the position does not exist.
    pub(super) fn find(&self, selector: &Selector) -> Result<i64, String> {
        let value = &selector.value;
        let after = i64::from(!selector.inclusive);
        match selector.field {
            Field::Latest => Ok(self.next),
            Field::Earliest => Ok(self.begin()),
            Field::SequenceNumber => {
                let number: i64 = value
                    .parse()
                    .map_err(|_| format!("The supplied sequence number '{value}' is invalid."))?;
                if number > self.last_sequence_number() {
                    return Err(format!(
                        "The supplied sequence number '{number}' is invalid. The last sequence number in the system is '{}'",
                        self.last_sequence_number()
                    ));
                }
                Ok(number + after)
            }
            Field::Offset => {
                let invalid = || {
                    format!(
                        "The supplied offset '{value}' is invalid. The last offset in the system is '{}'",
                        self.last().0
                    )
                };
                let at = self.offsets.find(value, self.next, &self.events);
                at.map(|(number, exact)| number + if exact { after } else { 0 })
                    .ok_or_else(invalid)
            }
            Field::EnqueuedTime => {
                let time: u64 = value
                    .parse()
                    .map_err(|_| format!("The supplied enqueued time '{value}' is invalid."))?;
                let before = |event: &StoredEvent| {
                    let at = millis(event.enqueued_time);
                    if selector.inclusive {
                        at < time
                    } else {
                        at <= time
                    }
                };
                let skipped = self.events.partition_point(before);
                Ok(self.begin() + skipped as i64)
            }
        }
    }
}

/// Returns milliseconds since the Unix epoch.
pub(super) fn millis(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
