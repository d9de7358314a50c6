use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use aqueduct_core::{
    BatchConsumer, Error, ErrorKind, Layer, LayeredConsumer, RebalanceListener, Result, SmallStr,
    Source, StreamName,
};
use aqueduct_group::Group;
use aqueduct_layers::{
    DeadLetterOptions, DeadLetters, Idempotency, IdempotencyOptions, RejectPolicy,
};
use aqueduct_queue::QueueOptions;

use super::Client;
use super::merged::Merged;
use super::resource::NamedResource;
use crate::config::{GroupConfig, IdempotencyPlace};
use crate::worker::{Claimant, Surround};

/// A group, as opened.
pub(crate) struct Opened {
    pub(crate) consumer: Arc<dyn BatchConsumer>,
    /// By the stream's own name, which its URL may have given.
    pub(crate) claimants: BTreeMap<StreamName, Claimant>,
}

impl Client {
    /// Joins the group on each of its streams, behind its layers.
    pub(crate) async fn open_group(
        &self,
        group: &GroupConfig,
        rebalance_listener: Option<Arc<dyn RebalanceListener>>,
    ) -> Result<Opened> {
        let mut consumers = Vec::with_capacity(group.streams.len());
        let mut claimants = BTreeMap::new();
        for stream in &group.streams {
            let opened = self
                .open_stream(group, stream, rebalance_listener.clone())
                .await;
            let (consumer, claimant) = match opened {
                Ok(opened) => opened,
                Err(error) => {
                    close_all(&consumers).await;
                    let place = format!("groups.{}", group.name);
                    return Err(match error.message().starts_with(&place) {
                        true => error,
                        false => error.context(place),
                    });
                }
            };
            consumers.push(consumer);
            if let Some(claimant) = claimant {
                claimants.insert(self.resource(stream)?.get().stream().clone(), claimant);
            }
        }
        let consumer: Arc<dyn BatchConsumer> = match <[_; 1]>::try_from(consumers) {
            Ok([consumer]) => consumer,
            Err(several) => Arc::new(Merged::new(several, self.runtime())),
        };
        let mut open = self.consumers();
        open.retain(|known| known.strong_count() > 0);
        open.push(Arc::downgrade(&consumer));
        drop(open);
        Ok(Opened {
            consumer,
            claimants,
        })
    }

    async fn open_stream(
        &self,
        group: &GroupConfig,
        stream: &SmallStr,
        rebalance_listener: Option<Arc<dyn RebalanceListener>>,
    ) -> Result<(Arc<dyn BatchConsumer>, Option<Claimant>)> {
        let runtime = self.runtime();
        let resource = self.resource(stream)?;
        let mut own: Vec<Arc<dyn Layer>> = Vec::new();
        let idempotency = self.idempotency(group, stream).await?;
        let claimant = idempotency.map(|layer| {
            own.push(Arc::new(layer.clone()));
            let claimant: Claimant =
                Arc::new(move |assignment, parts| layer.claim_for(assignment, parts));
            claimant
        });
        if let Some(layer) = self.dead_letter_layer(group).await? {
            own.push(layer);
        }
        let layers = self.0.layers.stack(&group.layers, own)?;
        let inner = match resource.source(runtime).await? {
            Source::Log(log) => {
                let leases = match &group.leases {
                    Some(target) => self.resource(target)?.leases(runtime).await?,
                    None => resource.leases(runtime).await?,
                };
                let mut options = group.options.clone();
                options.rebalance_listener = rebalance_listener;
                options.budget = self.0.budget.clone();
                // Without it an expired position counts as a gap, which loses nothing silently.
                options.retention = self.retention_of(stream).await.unwrap_or_default();
                options.isolation = Some(self.0.isolation.clone());
                Group::open(log, leases, options, runtime).await?
            }
            Source::Queue(queue) => {
                let mut options = QueueOptions::new(group.options.group.clone());
                options.redelivery = group.options.redelivery;
                options.max_unsettled = group.options.max_unsettled;
                options.max_unsettled_bytes = group.options.max_unsettled_bytes;
                aqueduct_queue::open(&*queue, options, runtime).await?
            }
            _ => {
                return Err(Error::unsupported(format!(
                    "{}: neither a log nor a queue",
                    resource.get().describe()
                )));
            }
        };
        let checked = self.check_opened(group, stream, &inner.capabilities().claims);
        let consumer = match checked.and_then(|()| LayeredConsumer::wrap(inner.clone(), &layers)) {
            Ok(consumer) => consumer,
            Err(error) => {
                close_all(&[inner]).await;
                return Err(error);
            }
        };
        Ok((consumer, claimant))
    }

    /// Returns the layers around the calls of the group's handlers.
    pub(crate) fn surround(&self, group: &GroupConfig) -> Surround {
        let stack = self.0.layers.stack(&group.layers, []).unwrap_or_default();
        let layers = stack.iter().filter_map(|layer| layer.handler()).collect();
        let streams = group.streams.iter().filter_map(|it| self.resource(it).ok());
        Surround::new(layers, streams.map(NamedResource::destination).collect())
    }

    async fn idempotency(
        &self,
        group: &GroupConfig,
        stream: &SmallStr,
    ) -> Result<Option<Idempotency>> {
        let target = match &group.idempotency {
            IdempotencyPlace::Off => return Ok(None),
            IdempotencyPlace::Stream => stream,
            IdempotencyPlace::Target(target) => target,
        };
        let store = self.resource(target)?.idempotency(self.runtime()).await?;
        let options = IdempotencyOptions {
            handlers: group.handlers.clone(),
            stream_retention: match store.retention() {
                Some(_) => self.retention_of(stream).await?,
                None => None,
            },
            dead_letter_retention: match group.dead_letters {
                Some(_) => group.dead_letter_retention,
                None => Some(Duration::ZERO),
            },
            ..IdempotencyOptions::default()
        };
        Idempotency::new(store, options, self.runtime())
            .map(Some)
            .map_err(|error| error.context("idempotency"))
    }

    /// Returns how long the stream keeps its events; `None` without a limit, or if the backend does not say.
    async fn retention_of(&self, stream: &SmallStr) -> Result<Option<Duration>> {
        match self.resource(stream)?.admin(self.runtime()).await {
            Ok(admin) => Ok(admin.describe().await?.retention),
            Err(error) if error.is(ErrorKind::Unsupported) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn dead_letter_layer(&self, group: &GroupConfig) -> Result<Option<Arc<dyn Layer>>> {
        let runtime = self.runtime();
        let Some(target) = &group.dead_letters else {
            return Ok(group
                .on_reject
                .map(|on_reject| Arc::new(RejectPolicy::new(on_reject)) as Arc<dyn Layer>));
        };
        let options = DeadLetterOptions {
            attempts: group.attempts,
            on_exhausted: group.on_exhausted,
            put_backoff: group.redelivery,
            ..DeadLetterOptions::default()
        };
        let resource = self.resource(target)?;
        let layer = match resource.stores_dead_letters() {
            true => {
                DeadLetters::with_store(resource.dead_letters(runtime).await?, options, runtime)?
            }
            false => DeadLetters::new(
                resource.dead_letters_as_events(runtime).await?,
                options,
                runtime,
            )?,
        };
        Ok(Some(Arc::new(layer)))
    }
}

async fn close_all(consumers: &[Arc<dyn BatchConsumer>]) {
    for consumer in consumers {
        if let Err(error) = consumer.close().await {
            tracing::warn!(%error, "a consumer that is not used did not close");
        }
    }
}
