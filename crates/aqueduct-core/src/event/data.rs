use std::cell::RefCell;

use bytes::{Bytes, BytesMut};
use serde::Serialize;

/// The size of the chunks that small data shares: one allocation serves dozens of events. An event
/// that is kept pins its chunk, so a chunk is small.
const CHUNK: usize = 8 * 1024;

/// Data larger than this gets an allocation of its own.
const SMALL: usize = 1024;

/// The origin of an event's data, as a hint to encoders. It follows from the data, so comparing
/// events ignores it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Written {
    /// Exactly one JSON value: it was serialized here.
    Json,
    Elsewhere,
}

impl PartialEq for Written {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

/// The buffer in which a thread serializes JSON. No data passes from one event to the next.
#[derive(Default)]
struct Scratch {
    text: Vec<u8>,
    chunk: BytesMut,
}

/// Serializes `data` to JSON.
pub(super) fn to_json<T: Serialize + ?Sized>(data: &T) -> serde_json::Result<Bytes> {
    thread_local! {
        static SCRATCH: RefCell<Scratch> = RefCell::default();
    }
    SCRATCH.with(|scratch| match scratch.try_borrow_mut() {
        Ok(mut scratch) => {
            let Scratch { text, chunk } = &mut *scratch;
            text.clear();
            serde_json::to_writer(&mut *text, data)?;
            if text.len() > SMALL {
                return Ok(shared(std::mem::take(text)));
            }
            if chunk.capacity() < text.len() {
                *chunk = BytesMut::with_capacity(CHUNK);
            }
            chunk.extend_from_slice(text);
            Ok(chunk.split().freeze())
        }
        // Re-entered: a `Serialize` implementation creates an event itself.
        Err(_) => serde_json::to_vec(data).map(shared),
    })
}

/// Creates `Bytes` whose first clone does not allocate. `Bytes` made from a vector allocate their
/// reference count with the first clone.
pub(crate) fn shared(bytes: impl Into<Bytes>) -> Bytes {
    let bytes = bytes.into();
    // A slice of shared memory has a reference count already.
    if bytes.is_unique() {
        drop(bytes.clone());
    }
    bytes
}

#[cfg(test)]
mod tests {
    use serde::Serializer;

    use super::*;

    #[test]
    fn data_of_any_size_is_its_own() {
        let texts: Vec<_> = (0..3000).map(|n| "x".repeat(n)).collect();
        let all: Vec<_> = texts.iter().map(|text| to_json(text).unwrap()).collect();
        for (text, data) in texts.iter().zip(&all) {
            assert_eq!(&serde_json::from_slice::<String>(data).unwrap(), text);
        }
        let chunk = to_json("a").unwrap().as_ptr() as usize;
        assert!((to_json("b").unwrap().as_ptr() as usize).abs_diff(chunk) < CHUNK);
    }

    #[test]
    fn a_failure_and_an_event_within_an_event_leave_nothing_behind() {
        struct Failing;
        impl Serialize for Failing {
            fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
                Err(serde::ser::Error::custom("no"))
            }
        }
        struct Nested;
        impl Serialize for Nested {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_seq(&to_json("inner").unwrap()[..1])
            }
        }
        assert!(to_json(&("half", Failing)).is_err());
        assert_eq!(&to_json("whole").unwrap()[..], b"\"whole\"");
        assert_eq!(&to_json(&Nested).unwrap()[..], b"[34]");
    }
}
