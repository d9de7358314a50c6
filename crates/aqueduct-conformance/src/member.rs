use std::sync::Arc;
use std::time::Duration;

use aqueduct_core::{
    Backoff, BatchConsumer, Delivery, Effect, ErrorKind, Event, GroupName, Layer, LayeredConsumer,
    PartitionedLog, Resource, Source,
};
use aqueduct_group::{Group, GroupOptions};
use aqueduct_queue::QueueOptions;

use crate::context::Context;
use crate::harness::Harness;
use crate::stop::{During as _, Outcome, Stop, check};
use crate::workload::Seen;
use crate::wrap::{FaultyLeases, LeaseFaults};

/// One member of a group, before it opens.
pub(crate) struct Join<'a> {
    harness: &'a Harness<'a>,
    stream: Arc<dyn Resource>,
    options: GroupOptions,
    layers: Vec<Arc<dyn Layer>>,
    lease_faults: LeaseFaults,
    mortal: bool,
}

impl<'a> Harness<'a> {
    /// Creates a member of `group` with timings for tests: it commits at once, retries soon, and has
    /// a lease that outlives the delays of a busy machine.
    pub(crate) fn join(&'a self, group: &str) -> Join<'a> {
        let life = self.context.timing.lease_ttl * 5;
        let mut options = GroupOptions::new(GroupName::new(group)).with_lease_ttl(life);
        options.commit_interval = Duration::from_millis(100);
        options.commit_min = Duration::from_millis(20);
        options.redelivery = Backoff::new(Duration::from_millis(20), Duration::from_millis(200));
        options.drain = self.context.timing.lease_ttl;
        Join {
            harness: self,
            stream: self.subject.stream.clone(),
            options,
            layers: Vec::new(),
            lease_faults: LeaseFaults::default(),
            mortal: false,
        }
    }
}

impl Join<'_> {
    /// Changes the group's options.
    pub(crate) fn with(mut self, change: impl FnOnce(&mut GroupOptions)) -> Self {
        change(&mut self.options);
        self
    }

    /// Uses the short lease duration, for cases in which a member dies.
    pub(crate) fn mortal(mut self) -> Self {
        self.options = self
            .options
            .with_lease_ttl(self.harness.context.timing.lease_ttl);
        self.mortal = true;
        self
    }

    /// Adds `layer`; replaces a layer of the run with the same name.
    pub(crate) fn behind(mut self, layer: Arc<dyn Layer>) -> Self {
        self.layers.push(layer);
        self
    }

    /// Opens the stream as another process would, if the fixture can.
    pub(crate) fn elsewhere(mut self) -> Self {
        if let Some(peer) = &self.harness.subject.peer {
            self.stream = peer.clone();
        }
        self
    }

    /// Opens the member.
    pub(crate) async fn open(self) -> Outcome<Member> {
        let (context, runtime) = (self.harness.context, self.harness.runtime());
        let group = self.options.group.clone();
        let opening = self.stream.source(runtime);
        let source = context.within("its source", opening).await?;
        let inner = match source.during("opening the source")? {
            Source::Log(log) => self.group(log).await?,
            Source::Queue(queue) => {
                let mut options = QueueOptions::new(self.options.group.clone());
                options.redelivery = self.options.redelivery;
                options.max_unsettled = self.options.max_unsettled;
                options.max_unsettled_bytes = self.options.max_unsettled_bytes;
                let opening = aqueduct_queue::open(&*queue, options, runtime);
                context.within("a consumer of the queue", opening).await??
            }
            _ => return Err(Stop::NotClaimed("an unknown kind of source".to_owned())),
        };
        let layers = self.all_layers(group.as_str()).await?;
        let consumer = LayeredConsumer::wrap(inner, &layers).during("putting layers on")?;
        Ok(Member {
            consumer,
            lease_faults: self.lease_faults,
            mortal: self.mortal,
        })
    }

    async fn group(&self, log: Arc<dyn PartitionedLog>) -> Outcome<Arc<dyn BatchConsumer>> {
        let inner = self.harness.leases().await?;
        let leases = Arc::new(FaultyLeases::new(inner, self.lease_faults.clone()));
        let opening = Group::open(log, leases, self.options.clone(), self.harness.runtime());
        let context = self.harness.context;
        let opened = context.within("a group to open", opening).await?;
        opened.during("opening a group")
    }

    async fn all_layers(&self, group: &str) -> Outcome<Vec<Arc<dyn Layer>>> {
        let mut layers = self.layers.clone();
        for layer in self
            .harness
            .context
            .layers
            .layers(self.harness, group)
            .await?
        {
            if !layers.iter().any(|known| known.name() == layer.name()) {
                layers.push(layer);
            }
        }
        layers.sort_by_key(|layer| layer.stage());
        Ok(layers)
    }
}

/// One member of a group.
pub(crate) struct Member {
    consumer: Arc<dyn BatchConsumer>,
    lease_faults: LeaseFaults,
    mortal: bool,
}

impl Member {
    pub(crate) fn consumer(&self) -> &Arc<dyn BatchConsumer> {
        &self.consumer
    }

    /// Returns an empty record for the events that it will receive.
    pub(crate) fn seen(&self) -> Seen {
        let mut seen = Seen::default();
        seen.expect_of(&self.consumer.capabilities().claims);
        seen
    }

    /// Returns the connection to its lease store.
    pub(crate) fn lease_faults(&self) -> &LeaseFaults {
        &self.lease_faults
    }

    /// Waits for the next delivery.
    pub(crate) async fn next(&self, context: &Context<'_>) -> Outcome<Delivery> {
        let receiving = self.consumer.receive_batch(1);
        let received = context.within("a delivery", receiving).await?;
        let mut received = received.during("receiving")?;
        check!(
            received.len() <= 1,
            "asked for 1 delivery, got {}",
            received.len()
        );
        received
            .pop()
            .ok_or_else(|| Stop::failed("the consumer ended, a delivery was expected"))
    }

    /// Waits for `count` deliveries and keeps them unsettled.
    pub(crate) async fn take(&self, context: &Context<'_>, count: usize) -> Outcome<Vec<Delivery>> {
        let mut taken: Vec<Delivery> = Vec::with_capacity(count);
        while taken.len() < count {
            let what = format!("{count} deliveries, {} came", taken.len());
            let receiving = self.consumer.receive_batch(count - taken.len());
            let received = context.within(&what, receiving).await?;
            let received = received.during("receiving")?;
            check!(
                !received.is_empty(),
                "the consumer ended, waiting for {what}"
            );
            taken.extend(received);
        }
        Ok(taken)
    }

    /// Checks that no delivery arrives for the quiet time.
    pub(crate) async fn silent(&self, context: &Context<'_>) -> Outcome {
        match context.quiet(self.consumer.receive_batch(1)).await {
            None => Ok(()),
            Some(Ok(received)) if received.is_empty() => Ok(()),
            Some(Ok(received)) => {
                let attempt = received[0].attempt();
                let why = format!("attempt {attempt} at {:?} came", received[0].event());
                Err(Stop::failed(why))
            }
            Some(Err(error)) => Err(error.into()),
        }
    }

    /// Receives and acknowledges until `count` different events are in `seen`.
    pub(crate) async fn work(
        &self,
        context: &Context<'_>,
        seen: &mut Seen,
        count: usize,
    ) -> Outcome {
        let handle = |_: &Event| Ok(());
        self.work_on(context, seen, count, handle).await
    }

    /// Like [`work`](Self::work), but calls `handle` on each event before it is acknowledged.
    pub(crate) async fn work_on(
        &self,
        context: &Context<'_>,
        seen: &mut Seen,
        count: usize,
        mut handle: impl FnMut(&Event) -> Outcome,
    ) -> Outcome {
        seen.expect_of(&self.consumer.capabilities().claims);
        while seen.distinct() < count {
            let what = format!("{count} events, {} came", seen.distinct());
            let receiving = self.consumer.receive_batch(100);
            let received = context.within(&what, receiving).await?;
            let received = received.during("receiving")?;
            check!(
                !received.is_empty(),
                "the consumer ended, waiting for {what}"
            );
            for delivery in received {
                seen.note(delivery.event());
                handle(delivery.event())?;
                delivery.ack().await.during("acknowledging")?;
            }
        }
        Ok(())
    }

    /// Closes the member gracefully.
    pub(crate) async fn close(self, context: &Context<'_>) -> Outcome {
        let closing = self.consumer.close();
        let closed = context.within("the consumer to close", closing).await?;
        match closed {
            // On a busy machine so short a lease may expire before the close, which then fails.
            Err(error) if self.mortal && error.effect() == Effect::Unknown => Ok(()),
            closed => closed.during("closing the consumer"),
        }
    }

    /// Dies like a process: nothing that it holds is settled, committed or released.
    pub(crate) fn crash(self) {
        self.lease_faults.cut();
        drop(self.consumer);
    }
}

/// Acknowledges every delivery.
pub(crate) async fn ack_all(deliveries: Vec<Delivery>) -> Outcome {
    for delivery in deliveries {
        delivery.ack().await.during("acknowledging")?;
    }
    Ok(())
}

/// Settles a delivery that may no longer be settled; returns the error. Uses a nack behind layers,
/// because a layer may record an acknowledged event as handled.
pub(crate) async fn settle_late(context: &Context<'_>, late: Delivery) -> Option<ErrorKind> {
    let settled = match context.layers.is_plain() {
        true => late.ack().await,
        false => late.nack(None).await,
    };
    settled.err().map(|failed| failed.error.kind())
}
