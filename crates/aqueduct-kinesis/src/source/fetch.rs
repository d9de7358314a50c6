use std::time::Duration;

use aqueduct_core::{Instant, PartitionId, Result, Timestamp};
use futures::channel::mpsc;

use super::records::Records;

/// The records of one response.
#[derive(Default)]
pub(super) struct Chunk {
    pub(super) records: Records,
    /// How far the end of the chunk is behind the tip of the shard.
    pub(super) behind: Option<Duration>,
    /// The server's time to which `behind` belongs, or a little earlier.
    pub(super) as_of: Option<Timestamp>,
    /// When the request was sent. A chunk may wait long for its reader; `None` counts as on receipt.
    pub(super) sent: Option<Instant>,
    /// The record at which a renewed iterator or subscription began, on the first records that it
    /// returned: they begin with that record unless it has expired.
    pub(super) resumed_at: Option<String>,
    /// The children of a closed shard; `None` except in its last chunk.
    pub(super) children: Option<Vec<PartitionId>>,
}

/// Carries chunks from the fetching task to the reader. The channel has no capacity: no further chunk
/// is fetched while one waits, so that at most one response is buffered.
pub(super) type Chunks = mpsc::Sender<Result<Chunk>>;
