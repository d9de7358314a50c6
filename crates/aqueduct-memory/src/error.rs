use aqueduct_core::{Error, ErrorKind, PartitionId, Position, StreamName};

pub(crate) fn no_stream(stream: &StreamName) -> Error {
    Error::new(
        ErrorKind::NotFound,
        format!("memory:{stream}: the stream does not exist"),
    )
}

pub(crate) fn no_partition(stream: &StreamName, partition: &PartitionId) -> Error {
    Error::new(
        ErrorKind::NotFound,
        format!("memory:{stream}: partition {partition} does not exist"),
    )
}

pub(crate) fn closed(stream: &StreamName) -> Error {
    Error::new(
        ErrorKind::Closed,
        format!("memory:{stream}: the producer was closed"),
    )
}

pub(crate) fn expired(
    stream: &StreamName,
    partition: &PartitionId,
    wanted: u64,
    first: u64,
) -> Error {
    Error::new(
        ErrorKind::PositionExpired,
        format!(
            "memory:{stream}, partition {partition}: position {} is no longer kept, the first is {}",
            Position::new(wanted),
            Position::new(first),
        ),
    )
}

pub(crate) fn never_written(
    stream: &StreamName,
    partition: &PartitionId,
    wanted: u64,
    next: u64,
) -> Error {
    Error::new(
        ErrorKind::PositionExpired,
        format!(
            "memory:{stream}, partition {partition}: position {} was never written, the next is {}: \
             the stream was recreated",
            Position::new(wanted),
            Position::new(next),
        ),
    )
}

pub(crate) fn displaced(stream: &StreamName, partition: &PartitionId, generation: u64) -> Error {
    Error::new(
        ErrorKind::Revoked,
        format!(
            "memory:{stream}, partition {partition}: a reader of a generation above {generation} \
             has taken over"
        ),
    )
}

pub(crate) fn cut(stream: &StreamName, partition: &PartitionId) -> Error {
    Error::new(
        ErrorKind::Unavailable,
        format!("memory:{stream}, partition {partition}: injected: the connection was cut"),
    )
}
