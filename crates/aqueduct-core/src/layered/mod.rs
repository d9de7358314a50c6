//! A consumer behind layers: staging, cancel safety, closing and the folding of capabilities.

mod consumer;
mod settler;
mod staging;
#[cfg(test)]
mod tests;

use std::sync::Arc;

pub use self::consumer::LayeredConsumer;
use crate::layer::check_layers;
use crate::{BatchConsumer, BatchProducer, Destination, Layer, Result};

impl LayeredConsumer {
    /// Wraps `inner` in `layers`, the first one outermost: a settlement passes them from first to
    /// last, a delivery from last to first. Wrap a consumer even if it has no layers: core keeps
    /// redriven dead letters from groups that they are not meant for.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use aqueduct_core::{BatchConsumer, Layer, LayeredConsumer, Result};
    ///
    /// fn wrap(
    ///     group: Arc<dyn BatchConsumer>,
    ///     idempotency: Arc<dyn Layer>,
    ///     dead_letters: Arc<dyn Layer>,
    /// ) -> Result<Arc<dyn BatchConsumer>> {
    ///     LayeredConsumer::wrap(group, &[idempotency, dead_letters])
    /// }
    /// ```
    ///
    /// # Errors
    /// `Config`, naming both layers, if a [`stage`](Layer::stage) is lower than that of a layer
    /// further out, or a name occurs twice.
    pub fn wrap(
        inner: Arc<dyn BatchConsumer>,
        layers: &[Arc<dyn Layer>],
    ) -> Result<Arc<dyn BatchConsumer>> {
        check_layers(layers)?;
        let (names, interceptors): (Vec<_>, Vec<_>) = layers
            .iter()
            .filter_map(|layer| Some((layer.name(), layer.consumer()?)))
            .unzip();
        Ok(Arc::new(Self::new(inner, names, interceptors.into())))
    }
}

/// Wraps the producer of `destination` in `layers`, the first one outermost: a batch passes them from
/// first to last.
///
/// # Errors
/// As for [`LayeredConsumer::wrap`].
pub fn layered_producer(
    inner: Arc<dyn BatchProducer>,
    layers: &[Arc<dyn Layer>],
    destination: &Destination,
) -> Result<Arc<dyn BatchProducer>> {
    check_layers(layers)?;
    Ok(layers
        .iter()
        .rev()
        .fold(inner, |inner, layer| layer.producer(destination, inner)))
}
