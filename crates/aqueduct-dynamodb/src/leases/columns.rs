//! The attributes of a lease row. Those without our prefix are KCL's, with KCL's meaning.

/// The key.
pub(crate) const LEASE_KEY: &str = "leaseKey";
/// The worker; during a graceful hand-off of KCL 3, the next one.
pub(crate) const OWNER: &str = "leaseOwner";
/// The owner until a graceful hand-off of KCL 3 is done.
pub(crate) const CHECKPOINT_OWNER: &str = "checkpointOwner";
pub(crate) const COUNTER: &str = "leaseCounter";
pub(crate) const SWITCHES: &str = "ownerSwitchesSinceCheckpoint";
/// The last record settled, or a sentinel.
pub(crate) const CHECKPOINT: &str = "checkpoint";
pub(crate) const SUB_SEQUENCE: &str = "checkpointSubSequenceNumber";
/// A checkpoint that a worker prepared but did not complete.
pub(crate) const PENDING: [&str; 3] = [
    "pendingCheckpoint",
    "pendingCheckpointSubSequenceNumber",
    "pendingCheckpointState",
];
pub(crate) const PARENTS: &str = "parentShardId";
pub(crate) const CHILDREN: &str = "childShardIds";
pub(crate) const FIRST_HASH: &str = "startingHashKey";
pub(crate) const LAST_HASH: &str = "endingHashKey";
/// The kind of the row; a lease may lack it.
pub(crate) const ENTITY_TYPE: &str = "entityType";
pub(crate) const ENTITY_LEASE: &str = "LEASE";
/// In multi-stream applications: the stream's identifier, not its name.
pub(crate) const STREAM_NAME: &str = "streamName";
pub(crate) const SHARD_ID: &str = "shardId";

pub(crate) const GROUP: &str = "aqueduct_group";
pub(crate) const STREAM: &str = "aqueduct_stream";
/// The replay generation that the row was made in.
pub(crate) const REPLAY: &str = "aqueduct_replay";
pub(crate) const GENERATION: &str = "aqueduct_generation";
/// The counter of our last write: if `leaseCounter` differs, a foreign worker wrote since.
pub(crate) const OUR_COUNTER: &str = "aqueduct_counter";
pub(crate) const NONCE: &str = "aqueduct_nonce";
pub(crate) const WANTED_BY: &str = "aqueduct_wanted_by";
/// The exact checkpoint; valid while KCL's columns still correspond to it.
pub(crate) const WATERMARK: &str = "aqueduct_watermark";
/// The resume token of the checkpoint, if the service does not resume by position.
pub(crate) const RESUME_TOKEN: &str = "aqueduct_resume_token";
/// When the group last caught up, in RFC 3339.
pub(crate) const CAUGHT_UP_AT: &str = "aqueduct_caught_up_at";
pub(crate) const HANDED_OUT: &str = "aqueduct_handed_out";
/// Position, count, and whether an attempt has begun.
pub(crate) const ATTEMPTS: &str = "aqueduct_attempts";
pub(crate) const UNCLEAN: &str = "aqueduct_unclean";
