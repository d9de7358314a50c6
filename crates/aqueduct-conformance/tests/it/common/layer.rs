//! Layers that break one promise each.

use std::sync::Arc;

use aqueduct_conformance::LayerSet;
use aqueduct_core::{
    Admission, Delivery, Interceptor, Layer, Next, Parts, Result, Settlement, Settling, Stage,
};
use async_trait::async_trait;

#[derive(Clone, Copy, PartialEq)]
pub(crate) enum LayerFault {
    AcksNacks,
    SwallowsSome,
    DefersAcks,
}

/// Returns a set with only the layer of that fault.
pub(crate) fn through(fault: LayerFault) -> LayerSet {
    LayerSet::new("a broken layer", move |_| {
        Ok(vec![Arc::new(BrokenLayer(fault))])
    })
}

struct BrokenLayer(LayerFault);

impl Layer for BrokenLayer {
    fn name(&self) -> &'static str {
        "broken"
    }

    fn stage(&self) -> Stage {
        Stage::Backend
    }

    fn consumer(&self) -> Option<Arc<dyn Interceptor>> {
        Some(Arc::new(Self(self.0)))
    }
}

#[async_trait]
impl Interceptor for BrokenLayer {
    async fn admit(&self, deliveries: &[Delivery]) -> Result<Vec<Admission>> {
        let swallows = |delivery: &Delivery| {
            let position = delivery.position().and_then(|position| position.sequence());
            self.0 == LayerFault::SwallowsSome && position.is_some_and(|it| it % 7 == 3)
        };
        let admit = |delivery| match swallows(delivery) {
            true => Admission::Settle(Settlement::Ack),
            false => Admission::Pass,
        };
        Ok(deliveries.iter().map(admit).collect())
    }

    fn settle<'a>(
        &'a self,
        parts: &'a Parts,
        settlement: Settlement,
        next: Next<'a>,
    ) -> Settling<'a> {
        match (self.0, settlement) {
            (LayerFault::AcksNacks, Settlement::Nack { .. }) => next.settle(parts, Settlement::Ack),
            (LayerFault::DefersAcks, Settlement::Ack) => {
                let delay = std::time::Duration::from_secs(3600);
                next.settle(parts, Settlement::Defer { delay })
            }
            (_, settlement) => next.settle(parts, settlement),
        }
    }
}
