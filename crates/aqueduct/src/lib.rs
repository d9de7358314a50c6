#![doc = include_str!("../README.md")]

mod client;
mod pipeline;
mod request;

pub mod admin;
pub mod backend;
pub mod config;
pub mod consumer;
pub mod dead_letter;
pub mod error;
pub mod event;
pub mod producer;
pub mod router;
pub mod testing;
pub mod worker;

/// The contract, for backends, layers and tools.
pub use aqueduct_core as core;
#[cfg(feature = "dynamodb")]
pub use aqueduct_dynamodb as dynamodb;
#[cfg(feature = "eventhubs")]
pub use aqueduct_eventhubs as eventhubs;
#[cfg(feature = "kinesis")]
pub use aqueduct_kinesis as kinesis;
/// Layers: tracing, time-outs, idempotency, dead letters.
pub use aqueduct_layers as layers;
#[cfg(feature = "object-store")]
pub use aqueduct_object_store as object_store;
#[cfg(feature = "pubsub")]
pub use aqueduct_pubsub as pubsub;
#[cfg(feature = "sqlite")]
pub use aqueduct_sqlite as sqlite;
#[cfg(feature = "sqs")]
pub use aqueduct_sqs as sqs;
/// Implements the asynchronous traits, such as
/// [`RebalanceListener`](crate::consumer::RebalanceListener).
pub use async_trait::async_trait;

#[cfg(feature = "sqlite")]
#[doc(inline)]
pub use self::backend::SqliteBackend;
#[doc(inline)]
pub use self::{
    admin::{Admin, StreamSpec},
    backend::{Backend, MemoryBackend, Runtime},
    client::{Client, ClientBuilder},
    config::{Capability, Environment},
    consumer::{Consumer, Delivery, Reader, Settlement, Start},
    dead_letter::{DeadLetter, DeadLetterQuery, DeadLetterStore},
    error::{Effect, Error, ErrorKind, Result, Retry},
    event::{Event, GroupName, SmallStr, StreamName, Timestamp},
    pipeline::Pipeline,
    producer::{PartialFailure, Pending, Producer, Receipt},
    request::Requester,
    router::{Route, Router, RoutingProducer},
    worker::{
        Batch, BatchOptions, Completion, Extract, Json, Key, Meta, Outcome, Permanent, State,
        Worker, WorkerHandle, WorkerHealth, within,
    },
};
