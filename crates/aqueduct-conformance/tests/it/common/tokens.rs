//! A log that orders by position and resumes by an opaque token, which tells nothing about the order.

use std::sync::Arc;

use aqueduct_core::{
    Admin, BatchProducer, Capabilities, Checkpoint, Claims, DeadLetterStore, Error, ErrorKind,
    IdempotencyStore, Identity, LeaseStore, OpenPartition, Partition, PartitionId, PartitionReader,
    PartitionedLog, Position, ReadBatch, ReadFrom, ResolvedStart, Resource, Result, ResumeToken,
    Runtime, SharedSettings, Source, Start, StreamId, StreamName, Tail, Timestamp,
};
use async_trait::async_trait;

/// A resource whose log resumes by token.
pub(crate) struct Tokens(Arc<dyn Resource>);

impl Tokens {
    pub(crate) fn over(inner: Arc<dyn Resource>) -> Arc<dyn Resource> {
        Arc::new(Self(inner))
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Resource for Tokens {
    fn describe(&self) -> String {
        self.0.describe()
    }

    fn stream(&self) -> &StreamName {
        self.0.stream()
    }

    fn claims(&self) -> Claims {
        self.0.claims()
    }

    fn identity(&self) -> Identity {
        self.0.identity()
    }

    fn dead_letters_are_events(&self) -> bool {
        self.0.dead_letters_are_events()
    }

    fn leases_are_exclusive(&self) -> bool {
        self.0.leases_are_exclusive()
    }

    fn shared_settings(&self) -> Option<SharedSettings> {
        self.0.shared_settings()
    }

    async fn producer(&self, runtime: &Runtime) -> Result<Arc<dyn BatchProducer>> {
        self.0.producer(runtime).await
    }

    async fn source(&self, runtime: &Runtime) -> Result<Source> {
        Ok(match self.0.source(runtime).await? {
            Source::Log(log) => Source::Log(Arc::new(TokenLog(log))),
            source => source,
        })
    }

    async fn leases(&self, runtime: &Runtime) -> Result<Arc<dyn LeaseStore>> {
        self.0.leases(runtime).await
    }

    async fn idempotency(&self, runtime: &Runtime) -> Result<Arc<dyn IdempotencyStore>> {
        self.0.idempotency(runtime).await
    }

    async fn dead_letters(&self, runtime: &Runtime) -> Result<Arc<dyn DeadLetterStore>> {
        self.0.dead_letters(runtime).await
    }

    async fn admin(&self, runtime: &Runtime) -> Result<Arc<dyn Admin>> {
        self.0.admin(runtime).await
    }

    async fn close(&self) -> Result<()> {
        self.0.close().await
    }

    fn does_not_offer(&self, what: &str) -> Error {
        self.0.does_not_offer(what)
    }
}

struct TokenLog(Arc<dyn PartitionedLog>);

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl PartitionedLog for TokenLog {
    fn stream(&self) -> &StreamName {
        self.0.stream()
    }

    async fn partitions(&self) -> Result<Vec<Partition>> {
        self.0.partitions().await
    }

    async fn created(&self) -> Result<Option<Timestamp>> {
        self.0.created().await
    }

    async fn stream_id(&self) -> Result<Option<StreamId>> {
        self.0.stream_id().await
    }

    /// Names no place behind a record, since nothing could be read from there without its token.
    async fn resolve(&self, start: &Start) -> Result<ResolvedStart> {
        let mut resolved = self.0.resolve(start).await?;
        for (_, place) in &mut resolved.partitions {
            if let Checkpoint::Start(ReadFrom::After(position)) = *place {
                let next = Position::new(number(position) + 1);
                *place = Checkpoint::Start(ReadFrom::At(next));
            }
        }
        Ok(resolved)
    }

    async fn tail(&self, partition: &PartitionId) -> Result<Tail> {
        self.0.tail(partition).await
    }

    async fn open(&self, request: &OpenPartition) -> Result<Box<dyn PartitionReader>> {
        let mut request = request.clone();
        if let ReadFrom::After(position) = request.from {
            let Some(token) = request.resume_token.take() else {
                return Err(Error::new(
                    ErrorKind::Invalid,
                    format!("cannot resume behind {position} without its resume token"),
                ));
            };
            // The token alone decides, so that a wrong one loses or repeats events.
            request.from = ReadFrom::After(place_of(&token)?);
        }
        Ok(Box::new(TokenReader(self.0.open(&request).await?)))
    }

    fn capabilities(&self) -> Capabilities {
        self.0.capabilities()
    }
}

struct TokenReader(Box<dyn PartitionReader>);

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl PartitionReader for TokenReader {
    async fn read(&mut self, max_events: usize) -> Result<ReadBatch> {
        let mut batch = self.0.read(max_events).await?;
        for record in &mut batch.records {
            record.resume_token = Some(token_of(record.position));
        }
        Ok(batch)
    }
}

fn token_of(position: Position) -> ResumeToken {
    let mixed = number(position).reverse_bits();
    ResumeToken::new(format!("resume/{mixed:016x}/=="))
}

fn place_of(token: &ResumeToken) -> Result<Position> {
    let hex = token.as_str().split('/').nth(1).unwrap_or_default();
    match u64::from_str_radix(hex, 16) {
        Ok(mixed) => Ok(Position::new(mixed.reverse_bits())),
        Err(_) => Err(Error::new(
            ErrorKind::Invalid,
            format!("{token} is not a resume token of this log"),
        )),
    }
}

fn number(position: Position) -> u64 {
    position.sequence().unwrap_or_default()
}
