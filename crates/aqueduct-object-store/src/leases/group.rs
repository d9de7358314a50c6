use aqueduct_core::{
    Checkpoint, Error, ErrorKind, GroupKey, GroupRecord, PartitionId, ResolvedStart, Result,
    StreamId,
};
use serde::{Deserialize, Serialize};

const VERSION: u32 = 1;

/// The object of a group's record.
#[derive(Deserialize, Serialize)]
struct Wire {
    v: u32,
    group: String,
    stream: String,
    replay: u64,
    started_at: String,
    /// Checkpoints with the consecutive partitions that start there.
    start: Vec<(String, Vec<String>)>,
    created: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    stream_id: Option<String>,
}

/// Encodes a group's record.
pub(super) fn write(key: &GroupKey, record: &GroupRecord) -> Result<Vec<u8>> {
    let mut start: Vec<(String, Vec<String>)> = Vec::new();
    for (partition, checkpoint) in &record.start.partitions {
        let checkpoint = checkpoint.to_string();
        let name = partition.as_str().to_owned();
        match start.last_mut() {
            Some((last, names)) if *last == checkpoint => names.push(name),
            _ => start.push((checkpoint, vec![name])),
        }
    }
    let wire = Wire {
        v: VERSION,
        group: key.group.as_str().to_owned(),
        stream: key.stream.as_str().to_owned(),
        replay: record.replay,
        started_at: record.start.at.to_string(),
        start,
        created: record.created.to_string(),
        stream_id: record.stream_id.as_ref().map(|it| it.as_str().to_owned()),
    };
    serde_json::to_vec(&wire).map_err(|error| {
        let message = format!("the record of {key} does not encode");
        Error::new(ErrorKind::Internal, message).with_source(error)
    })
}

/// Decodes a group's record.
///
/// # Errors
/// `Corrupt` if it is damaged; `Conflict` if another group has the same folder.
pub(super) fn read(key: &GroupKey, json: &[u8]) -> Result<GroupRecord> {
    let wire: Wire = serde_json::from_slice(json).map_err(|error| {
        Error::new(ErrorKind::Corrupt, "it is not a group's record").with_source(error)
    })?;
    if wire.v != VERSION {
        let why = format!(
            "it has version {} of the format, and this program reads version {VERSION}",
            wire.v
        );
        return Err(Error::new(ErrorKind::Corrupt, why));
    }
    if wire.group != key.group.as_str() || wire.stream != key.stream.as_str() {
        let why = format!(
            "it belongs to group {} on stream {}, and {key} has the same folder: Event Hubs' names \
             ignore case, and `hub` and `consumer_group` make groups share one; choose another \
             prefix or consumer group",
            wire.group, wire.stream
        );
        let error = Error::new(ErrorKind::Conflict, why);
        return Err(error.with_retry(aqueduct_core::Retry::Never));
    }
    let mut partitions = Vec::new();
    for (checkpoint, names) in wire.start {
        let checkpoint: Checkpoint = checkpoint.parse()?;
        let with = |name| (PartitionId::new(name), checkpoint);
        partitions.extend(names.into_iter().map(with));
    }
    let time = |text: &str| {
        text.parse()
            .map_err(|error: Error| Error::new(ErrorKind::Corrupt, error.to_string()))
    };
    let start = ResolvedStart {
        at: time(&wire.started_at)?,
        partitions,
    };
    let record = GroupRecord::new(start, wire.replay, time(&wire.created)?);
    Ok(record.with_stream_id(wire.stream_id.map(StreamId::new)))
}
