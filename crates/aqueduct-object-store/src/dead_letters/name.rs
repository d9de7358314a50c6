use aqueduct_core::{DeadLetter, DeadLetterId, Error, ErrorKind, Result, Timestamp};

use crate::names::{segment, text};

/// The folder of every dead letter.
pub(super) const FOLDER: &str = "dead-letters";

/// The name of a dead letter: `STREAM/GROUP/UUID/TIME`. The UUID is that of the failed event in its
/// group, so that an event has one dead letter; the time, in microseconds, orders them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Name {
    pub(super) time: u64,
    pub(super) stream: String,
    pub(super) group: String,
    pub(super) uuid: String,
}

impl Name {
    pub(super) fn new(dead_letter: &DeadLetter, time: u64) -> Self {
        Self {
            time,
            stream: segment(dead_letter.stream.as_str()),
            group: segment(dead_letter.group.as_str()),
            uuid: dead_letter.id().0.to_string(),
        }
    }

    /// Parses the part of an object's name below [`FOLDER`].
    pub(super) fn parse(name: &str) -> Option<Self> {
        let mut parts = name.split('/');
        let mut part = || parts.next().filter(|part| !part.is_empty());
        let (stream, group, uuid, time) = (part()?, part()?, part()?, part()?);
        let name = Self {
            time: time.parse().ok()?,
            stream: stream.to_owned(),
            group: group.to_owned(),
            uuid: uuid.to_owned(),
        };
        let is_plain = text(uuid).is_some() && is_segment(stream) && is_segment(group);
        (parts.next().is_none() && is_plain && time.len() == 16).then_some(name)
    }

    /// # Errors
    /// `Invalid` if it was never the id of a dead letter here.
    pub(super) fn of(id: &DeadLetterId) -> Result<Self> {
        Self::parse(&id.0).ok_or_else(|| {
            Error::new(
                ErrorKind::Invalid,
                format!("invalid dead letter id {id} (expected STREAM/GROUP/UUID/TIME)"),
            )
        })
    }

    pub(super) fn id(&self) -> DeadLetterId {
        let Self {
            time,
            stream,
            group,
            uuid,
        } = self;
        DeadLetterId(format!("{stream}/{group}/{uuid}/{time:016}").into())
    }

    pub(super) fn object(&self) -> String {
        format!("{FOLDER}/{}", self.id())
    }

    /// Returns the folder of the same event's dead letters.
    pub(super) fn event_folder(&self) -> String {
        format!("{FOLDER}/{}/{}/{}", self.stream, self.group, self.uuid)
    }
}

fn is_segment(part: &str) -> bool {
    part.starts_with("==") || text(part).is_some()
}

/// Returns microseconds since the epoch.
pub(super) fn micros(time: Timestamp) -> u64 {
    let micros = time.as_seconds() * 1_000_000 + i64::from(time.subsec_nanos() / 1_000);
    u64::try_from(micros).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_names_its_object() {
        let id = DeadLetterId("a=2fb/g/0189-x/0001770000000000".into());
        let name = Name::of(&id).unwrap();
        assert_eq!(name.id(), id);
        assert_eq!(name.object(), format!("dead-letters/{id}"));
        for wrong in [
            "",
            "7",
            "a/b/c",
            "a/b/c/x",
            "a//c/0001770000000000",
            "../b/c/0001770000000000",
        ] {
            let error = Name::of(&DeadLetterId(wrong.into())).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid, "{wrong}");
        }
    }
}
