use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use aqueduct_core::{DeadLetterStore, Error, IdempotencyStore, Layer, Result, Runtime};
use aqueduct_layers::{
    DeadLetterOptions, DeadLetters, Idempotency, IdempotencyOptions, OnReject, RejectPolicy,
    Timeout, TimeoutOptions, Tracing, TracingOptions,
};

use crate::harness::Harness;
use crate::stop::{During as _, Outcome};

/// Layers to run the suite through.
#[derive(Clone)]
pub struct LayerSet {
    name: String,
    make: Option<Arc<Make>>,
}

type Make = dyn Fn(&LayerContext) -> Result<Vec<Arc<dyn Layer>>> + Send + Sync;

/// The context in which layers are made.
#[non_exhaustive]
pub struct LayerContext {
    /// The runtime of the run.
    pub runtime: Runtime,
    /// The group that the consumer belongs to; `producer` for producers.
    pub group: String,
    /// Stores dead letters; `None` if the subject has no store for them.
    pub dead_letters: Option<Arc<dyn DeadLetterStore>>,
    /// Stores idempotency records; `None` if the subject has no store for them.
    pub idempotency: Option<Arc<dyn IdempotencyStore>>,
}

impl LayerSet {
    /// Returns a set without layers: the backend alone.
    pub fn plain() -> Self {
        Self {
            name: "plain".to_owned(),
            make: None,
        }
    }

    /// Returns the usual sets: plain, each consumer layer of `aqueduct-layers` alone, and all of them.
    /// The subject must have stores for dead letters and idempotency records.
    pub fn standard() -> Vec<Self> {
        vec![
            Self::plain(),
            Self::new("dead letters", |context| Ok(vec![dead_letters(context)?])),
            Self::new("idempotency", |context| Ok(vec![idempotency(context)?])),
            Self::new("a reject policy", |_| {
                Ok(vec![Arc::new(RejectPolicy::new(OnReject::Drop))])
            }),
            Self::combined(),
        ]
    }

    /// Returns one set with all layers, for backends on which each set alone would only repeat the
    /// tests of the memory backend.
    pub fn combined() -> Self {
        Self::new("all layers", |context| {
            Ok(vec![
                Arc::new(Tracing::new(TracingOptions::default(), &context.runtime)),
                Arc::new(Timeout::new(UNREACHED, &context.runtime)?),
                idempotency(context)?,
                dead_letters(context)?,
            ])
        })
    }

    /// Creates a set of the layers that `make` returns, outermost first; it is called for each
    /// producer and consumer. A layer must pass on every delivery that the suite did not ask it to hold.
    pub fn new(
        name: impl Into<String>,
        make: impl Fn(&LayerContext) -> Result<Vec<Arc<dyn Layer>>> + Send + Sync + 'static,
    ) -> Self {
        Self {
            name: name.into(),
            make: Some(Arc::new(make)),
        }
    }

    /// Returns the name for the report.
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn is_plain(&self) -> bool {
        self.make.is_none()
    }

    pub(crate) async fn layers(
        &self,
        harness: &Harness<'_>,
        group: &str,
    ) -> Outcome<Vec<Arc<dyn Layer>>> {
        let Some(make) = &self.make else {
            return Ok(Vec::new());
        };
        let context = LayerContext {
            runtime: harness.runtime().clone(),
            group: group.to_owned(),
            dead_letters: harness
                .subject
                .dead_letters
                .dead_letters(harness.runtime())
                .await
                .ok(),
            idempotency: harness
                .subject
                .idempotency
                .idempotency(harness.runtime())
                .await
                .ok(),
        };
        make(&context).during(format!("making the layers {}", self.name))
    }
}

/// Limits that no case reaches.
const UNREACHED: TimeoutOptions = TimeoutOptions {
    send: Some(Duration::from_secs(3600)),
    settle: Some(Duration::from_secs(3600)),
    handler: None,
};

/// Returns a dead letter layer that allows more attempts than any case makes.
fn dead_letters(context: &LayerContext) -> Result<Arc<dyn Layer>> {
    let Some(dead_letters) = context.dead_letters.clone() else {
        return Err(Error::unsupported(
            "the subject has no store for dead letters",
        ));
    };
    let options = DeadLetterOptions {
        attempts: 1_000,
        ..DeadLetterOptions::default()
    };
    let layer = DeadLetters::with_store(dead_letters, options, &context.runtime)?;
    Ok(Arc::new(layer))
}

fn idempotency(context: &LayerContext) -> Result<Arc<dyn Layer>> {
    let Some(store) = context.idempotency.clone() else {
        return Err(Error::unsupported(
            "the subject keeps no idempotency records",
        ));
    };
    let layer = Idempotency::new(store, IdempotencyOptions::default(), &context.runtime)?;
    Ok(Arc::new(layer))
}

impl fmt::Debug for LayerSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LayerSet").field(&self.name).finish()
    }
}
