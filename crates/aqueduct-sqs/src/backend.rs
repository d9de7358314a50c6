use std::fmt;
use std::sync::Arc;

use aqueduct_aws::Aws;
use aqueduct_core::{
    Admin, Backend, BatchProducer, Capabilities, Capability, Claim, Claims, DeadLetterStore, Error,
    Identity, Limits, OptionTable, Options, Resource, Result, Runtime, SmallStr, Source,
    StreamName, Url,
};
use async_trait::async_trait;

use crate::admin::SqsAdmin;
use crate::config::Config;
use crate::dead_letters::SqsDeadLetters;
use crate::producer::{CALL, SqsProducer};
use crate::queue::{Attributes, Queue};
use crate::reference;
use crate::source::SqsSource;

/// Queues of Amazon SQS, under `sqs://QUEUE` and `sqs:ARN` URLs.
///
/// Queues with the same credentials, region and endpoint share connections.
#[derive(Clone, Default)]
pub struct SqsBackend {
    aws: Aws,
}

impl SqsBackend {
    /// Creates a backend that uses the SDK's credential chain.
    pub fn new() -> Self {
        Self::default()
    }

    /// Creates a backend whose clients are configured by `aws`.
    pub fn with(aws: Aws) -> Self {
        Self { aws }
    }
}

impl Backend for SqsBackend {
    fn schemes(&self) -> &[&'static str] {
        &["sqs"]
    }

    fn parse(&self, name: &str, url: &Url, options: Options) -> Result<Arc<dyn Resource>> {
        Ok(Arc::new(SqsResource {
            aws: self.aws.clone(),
            config: Config::parse(name, url, options)?,
        }))
    }

    fn options(&self) -> Vec<OptionTable> {
        reference::tables()
    }
}

impl fmt::Debug for SqsBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqsBackend").finish_non_exhaustive()
    }
}

struct SqsResource {
    aws: Aws,
    config: Config,
}

impl SqsResource {
    async fn open(&self, runtime: &Runtime) -> Result<(Queue, Attributes)> {
        Queue::open(&self.aws, &self.config, runtime).await
    }

    fn capabilities(&self, attributes: &Attributes) -> Capabilities {
        Capabilities {
            claims: self.claims(),
            limits: Limits {
                event_bytes: Some(attributes.largest()),
                batch_events: Some(CALL),
                batch_bytes: None,
            },
        }
    }
}

#[async_trait]
impl Resource for SqsResource {
    fn describe(&self) -> String {
        format!("sqs://{}", self.config.queue)
    }

    fn stream(&self) -> &StreamName {
        &self.config.queue
    }

    fn identity(&self) -> Identity {
        let queue = Identity::new(format!("sqs:{}", self.config.queue));
        self.config.aws.identify(queue, self.config.account.clone())
    }

    /// Dead letters are messages: a consumer of the queue receives them.
    fn dead_letters_are_events(&self) -> bool {
        true
    }

    fn claims(&self) -> Claims {
        let claims = Claims::of(&[
            Capability::Lag,
            Capability::DelayedNack,
            Capability::Durable,
            Capability::Shared,
            Capability::DeadLetters,
            Capability::Admin,
        ]);
        let order = match self.config.is_fifo() {
            true => Claim::Yes,
            false => no("a standard queue does not keep order: use a FIFO queue"),
        };
        let attempts = match self.config.reading.count_receipts {
            false => Claim::Yes,
            true => no("attempts = \"receipts\" also counts messages that only waited"),
        };
        [
            (Capability::KeyOrder, order),
            (Capability::HandlerAttempts, attempts),
            (
                Capability::Groups,
                no("all consumers of a queue share its messages"),
            ),
            (
                Capability::Replay,
                no("a queue deletes messages when they are settled"),
            ),
            (
                Capability::StartAtTime,
                no("a queue is always read from its oldest message"),
            ),
            (Capability::Positions, no("a queue has no positions")),
            (Capability::Resharding, no("a queue has no partitions")),
        ]
        .into_iter()
        .fold(claims, |claims, (capability, claim)| {
            claims.with(capability, claim)
        })
    }

    async fn producer(&self, runtime: &Runtime) -> Result<Arc<dyn BatchProducer>> {
        let (queue, attributes) = self.open(runtime).await?;
        let capabilities = self.capabilities(&attributes);
        let producer = SqsProducer::new(queue, self.config.sending, capabilities, runtime);
        Ok(Arc::new(producer))
    }

    async fn source(&self, runtime: &Runtime) -> Result<Source> {
        let (queue, attributes) = self.open(runtime).await?;
        let reading = &self.config.reading;
        if let Some(most) = attributes.max_receive_count() {
            if queue.fifo && !reading.native_redrive {
                return Err(Error::config(format!(
                    "queue {}: its redrive policy moves a message away after {most} receipts, \
                     which includes messages that only waited behind a failing one of their key; \
                     remove the policy and set `dead_letters`, or accept it with native_redrive = \
                     \"accept\"",
                    queue.name
                )));
            }
            tracing::warn!(
                queue = %queue.name,
                max_receive_count = most,
                "the queue's own redrive policy counts every receipt, including those of messages \
                 that only waited"
            );
        }
        let capabilities = self.capabilities(&attributes);
        let settings = reading.settings(queue.fifo);
        let source = SqsSource::new(queue, settings, capabilities);
        Ok(Source::Queue(Arc::new(source)))
    }

    async fn dead_letters(&self, runtime: &Runtime) -> Result<Arc<dyn DeadLetterStore>> {
        let (queue, attributes) = self.open(runtime).await?;
        if let Some(most) = attributes.max_receive_count() {
            return Err(Error::config(format!(
                "queue {}: its redrive policy would move dead letters away after they were listed \
                 {most} times; remove the policy from a queue for dead letters",
                queue.name
            )));
        }
        let dead_letters = SqsDeadLetters::new(queue, attributes.largest(), runtime);
        Ok(Arc::new(dead_letters))
    }

    async fn admin(&self, _: &Runtime) -> Result<Arc<dyn Admin>> {
        Ok(Arc::new(SqsAdmin::new(
            self.aws.clone(),
            self.config.clone(),
        )))
    }
}

fn no(why: &'static str) -> Claim {
    Claim::No(SmallStr::literal(why))
}
