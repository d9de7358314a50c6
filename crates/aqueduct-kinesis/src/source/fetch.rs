use std::time::Duration;

use aqueduct_core::{PartitionId, Result, Timestamp};
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
    /// The children of a closed shard; `None` except in its last chunk.
    pub(super) children: Option<Vec<PartitionId>>,
}

/// Carries chunks from the fetching task to the reader. The channel has no capacity: no further chunk
/// is fetched while one waits, so that at most one response is buffered.
pub(super) type Chunks = mpsc::Sender<Result<Chunk>>;
