#![doc = include_str!("../README.md")]

mod admin;
mod capability;
pub mod cloudevents;
mod consumer;
mod dead_letter;
mod delivery;
mod error;
mod event;
pub mod hash;
mod idempotency;
mod identity;
mod layer;
mod layered;
mod lease;
pub mod lease_rows;
mod log;
mod options;
pub mod outcomes;
mod pins;
mod position;
mod producer;
pub mod protobuf_wire;
mod queue;
pub mod random;
mod resource;
mod revocation;
mod router;
mod runtime;
mod small_str;
pub mod sync;
mod time;

pub use url::Url;

pub use self::admin::{Admin, PartitionLag, StreamDescription, StreamSpec};
pub use self::capability::{Capabilities, Capability, Claim, Claims, Limits};
pub use self::consumer::{
    BatchConsumer, BlockedBy, ConsumerStatus, PartitionStatus, ReadFailure, RebalanceListener,
};
pub use self::dead_letter::{
    DeadLetter, DeadLetterId, DeadLetterQuery, DeadLetterQueue, DeadLetterReason, DeadLetterStore,
    DeadLetterStoreExt, Failure, StoredDeadLetter,
};
pub use self::delivery::{
    Abandoned, Assignment, Delivery, Parts, Revoked, SettleError, Settlement, Settler, Settling,
};
pub use self::error::{Effect, Error, ErrorKind, Result, Retry, error_chain};
pub use self::event::{AttributeValue, Attributes, Event, EventId};
pub use self::idempotency::rules as claim_rules;
pub use self::idempotency::{Claimed, EventClaim, IdempotencyScope, IdempotencyStore};
pub use self::identity::{Identity, SharedSettings};
pub use self::layer::{
    Admission, Destination, HandlerCall, HandlerFuture, HandlerInterceptor, Interceptor, Layer,
    Next, Stage, check_layers,
};
pub use self::layered::{LayeredConsumer, layered_producer};
pub use self::lease::{GroupRecord, Lease, LeaseStore, StoredAttempts, Swap};
pub use self::log::{
    Checkpoint, GroupKey, HashRange, OpenPartition, Partition, PartitionEnd, PartitionReader,
    PartitionState, PartitionedLog, ReadBatch, ReadFrom, Record, ResolvedStart, Start, Tail,
};
pub use self::options::{
    OptionDoc, OptionRecorder, OptionTable, Options, parse_bytes, parse_duration, percent_decode,
};
pub use self::position::Position;
pub use self::producer::{BatchProducer, Lane, Receipt, SendReport};
pub use self::queue::{
    AttemptCount, OpenedSubscription, Queue, QueueMessage, QueueSettings, ReceiveRequest,
    Subscription,
};
pub use self::resource::{Backend, Resource, Source};
pub use self::revocation::{Revocation, Revocations};
pub use self::router::{Balance, Load, Route, Router};
pub use self::runtime::{Backoff, Platform, Runtime, Task, panic_message};
pub use self::small_str::{
    GroupName, OwnerId, PartitionId, ResumeToken, SmallStr, StreamId, StreamName,
};
pub use self::time::{Instant, Timestamp};
