#![doc = include_str!("../README.md")]

mod client;
mod config;
pub mod testing;
mod worker;

/// The contract, for those who write backends, layers or tools.
pub use aqueduct_core as core;
pub use aqueduct_core::{
    Admin, Assignment, AttributeValue, Attributes, Backend, BlockedBy, Capabilities, Capability,
    Checkpoint, Claim, Claims, ConsumerStatus, DeadLetter, DeadLetterId, DeadLetterQuery,
    DeadLetterQueue, DeadLetterReason, DeadLetterStore, Delivery, Effect, Error, ErrorKind, Event,
    EventClaim, EventId, Failure, GroupName, IdempotencyScope, PartitionId, PartitionLag,
    PartitionStatus, Position, ReadFrom, RebalanceListener, Receipt, Result, Retry, Revocation,
    Route, Router, Runtime, SettleError, Settlement, SmallStr, Start, StoredDeadLetter,
    StreamDescription, StreamName, StreamSpec, Timestamp,
};
#[cfg(feature = "dynamodb")]
pub use aqueduct_dynamodb::{self as dynamodb, DynamoDbBackend};
#[cfg(feature = "kinesis")]
pub use aqueduct_kinesis::{self as kinesis, KinesisBackend};
pub use aqueduct_layers as layers;
pub use aqueduct_memory::MemoryBackend;
pub use aqueduct_producer::{EventSink, PartialFailure, Pending, Producer};
#[cfg(feature = "sqlite")]
pub use aqueduct_sqlite::{self as sqlite, SqliteBackend};
#[cfg(feature = "sqs")]
pub use aqueduct_sqs::{self as sqs, SqsBackend};
/// Implements the asynchronous traits, such as [`RebalanceListener`].
pub use async_trait::async_trait;

pub use self::client::{
    Client, ClientBuilder, Consumer, ReadEvent, Reader, Routed, RoutingProducer,
};
pub use self::config::Environment;
pub use self::worker::{
    Batch, BatchHandler, BatchOptions, Completion, Context, Extract, ExtractShared, Handler,
    HandlerError, IntoOutcome, IntoOutcomes, Json, Key, Meta, Outcome, Permanent, Problem, Setup,
    State, Within, Worker, WorkerHandle, WorkerHealth, within,
};
