//! A consumer behind layers: staging, cancel safety, closing and the folding of capabilities.

mod consumer;
mod settler;
mod staging;
#[cfg(test)]
mod tests;

use std::sync::Arc;

pub use self::consumer::LayeredConsumer;
use crate::{Consumer, Error, Layer, Producer, Result};

impl LayeredConsumer {
    /// Wraps `inner` in `layers`, the first one outermost: a settlement passes them from first to
    /// last, a delivery from last to first. Without an interceptor among them the answer is
    /// `inner` itself.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use aqueduct_core::{Consumer, Layer, LayeredConsumer, Result};
    ///
    /// fn wrap(
    ///     group: Arc<dyn Consumer>,
    ///     idempotency: Arc<dyn Layer>,
    ///     dead_letters: Arc<dyn Layer>,
    /// ) -> Result<Arc<dyn Consumer>> {
    ///     LayeredConsumer::wrap(group, &[idempotency, dead_letters])
    /// }
    /// ```
    ///
    /// # Errors
    /// `Config`, naming both layers, where a [`stage`](Layer::stage) falls from the outermost layer
    /// to the innermost or a name comes twice.
    pub fn wrap(inner: Arc<dyn Consumer>, layers: &[Arc<dyn Layer>]) -> Result<Arc<dyn Consumer>> {
        check(layers)?;
        let (names, interceptors): (Vec<_>, Vec<_>) = layers
            .iter()
            .filter_map(|layer| Some((layer.name(), layer.consumer()?)))
            .unzip();
        if interceptors.is_empty() {
            return Ok(inner);
        }
        Ok(Arc::new(Self::new(inner, names, interceptors.into())))
    }
}

/// Wraps a producer in `layers`, the first one outermost: an event passes them from first to last.
///
/// # Errors
/// As for [`LayeredConsumer::wrap`].
pub fn layered_producer(
    inner: Arc<dyn Producer>,
    layers: &[Arc<dyn Layer>],
) -> Result<Arc<dyn Producer>> {
    check(layers)?;
    Ok(layers
        .iter()
        .rev()
        .fold(inner, |inner, layer| layer.producer(inner)))
}

fn check(layers: &[Arc<dyn Layer>]) -> Result<()> {
    for (at, layer) in layers.iter().enumerate() {
        let name = layer.name();
        if let Some(first) = layers[..at].iter().position(|other| other.name() == name) {
            return Err(Error::config(format!(
                "layer `{name}` is given twice, as number {} and number {} from the outside: once \
                 is enough",
                first + 1,
                at + 1,
            )));
        }
        if let Some(outer) = at.checked_sub(1).map(|before| &layers[before])
            && outer.stage() > layer.stage()
        {
            return Err(Error::config(format!(
                "layer `{}` (stage {}) stands outside layer `{name}` (stage {}): stages run \
                 observe, idempotency, dead_letters, backend from the outermost layer to the \
                 innermost",
                outer.name(),
                outer.stage(),
                layer.stage(),
            )));
        }
    }
    Ok(())
}
