use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::{
    Abandoned, Assignment, Delivery, Interceptor, Next, Parts, Revocation, Revocations, Settlement,
    Settler, Settling,
};

pub(super) type Interceptors = Arc<[Arc<dyn Interceptor>]>;

/// The settler of an assignment behind every layer.
struct LayeredSettler {
    layers: Interceptors,
    inner: Arc<dyn Settler>,
}

#[deny(clippy::missing_trait_methods)]
impl Settler for LayeredSettler {
    fn assignment(&self) -> &Assignment {
        self.inner.assignment()
    }

    fn settle<'a>(&'a self, parts: &'a Parts, settlement: Settlement) -> Settling<'a> {
        Next::new(&self.layers, &*self.inner).settle(parts, settlement)
    }

    fn extend<'a>(&'a self, parts: &'a Parts, by: Duration) -> Settling<'a> {
        self.inner.extend(parts, by)
    }

    fn revocation(&self, parts: &Parts) -> Option<Revocation> {
        self.inner.revocation(parts)
    }

    fn revocations(&self) -> &Revocations {
        self.inner.revocations()
    }

    fn abandon(&self, parts: &Parts, why: Abandoned) {
        for layer in self.layers.iter() {
            layer.abandoned(parts, &*self.inner, why);
        }
        self.inner.abandon(parts, why);
    }
}

/// The settler behind the layers outside of a deciding one: it passes the decision on, not the
/// settlement that arrives.
pub(super) struct Instead<'a> {
    inside: Next<'a>,
    settlement: Settlement,
}

impl<'a> Instead<'a> {
    pub(super) fn new(inside: Next<'a>, settlement: Settlement) -> Self {
        Self { inside, settlement }
    }
}

#[deny(clippy::missing_trait_methods)]
impl Settler for Instead<'_> {
    fn assignment(&self) -> &Assignment {
        self.inside.settler().assignment()
    }

    fn settle<'a>(&'a self, parts: &'a Parts, _: Settlement) -> Settling<'a> {
        self.inside.settle(parts, self.settlement.clone())
    }

    fn extend<'a>(&'a self, parts: &'a Parts, by: Duration) -> Settling<'a> {
        self.inside.settler().extend(parts, by)
    }

    fn revocation(&self, parts: &Parts) -> Option<Revocation> {
        self.inside.settler().revocation(parts)
    }

    fn revocations(&self) -> &Revocations {
        self.inside.settler().revocations()
    }

    fn abandon(&self, parts: &Parts, why: Abandoned) {
        self.inside.settler().abandon(parts, why);
    }
}

/// The wrapped settlers, one per assignment: at most eight, or twice the number in use.
pub(super) struct Settlers {
    layers: Interceptors,
    // Keyed by the inner settler's address, which is not reused while its entry keeps it alive.
    known: BTreeMap<usize, Arc<LayeredSettler>>,
    last: Option<(usize, Arc<LayeredSettler>)>,
    sweep_at: usize,
}

impl Settlers {
    const FEW: usize = 8;

    pub(super) fn new(layers: Interceptors) -> Self {
        Self {
            layers,
            known: BTreeMap::new(),
            last: None,
            sweep_at: Self::FEW,
        }
    }

    /// Wraps the settler of `delivery` in the layers.
    pub(super) fn wrap(&mut self, delivery: &mut Delivery) {
        let address = Arc::as_ptr(delivery.settler()).cast::<()>().addr();
        let wrapped = match &self.last {
            Some((last, wrapped)) if *last == address => wrapped.clone(),
            _ => {
                let wrapped = self.find(address, delivery.settler());
                self.last = Some((address, wrapped.clone()));
                wrapped
            }
        };
        delivery.set_settler(wrapped);
    }

    pub(super) fn clear(&mut self) {
        self.last = None;
        self.known.clear();
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.known.len()
    }

    fn find(&mut self, address: usize, inner: &Arc<dyn Settler>) -> Arc<LayeredSettler> {
        if let Some(wrapped) = self.known.get(&address) {
            return wrapped.clone();
        }
        if self.known.len() >= self.sweep_at {
            self.sweep();
        }
        let wrapped = Arc::new(LayeredSettler {
            layers: self.layers.clone(),
            inner: inner.clone(),
        });
        self.known.insert(address, wrapped.clone());
        wrapped
    }

    fn sweep(&mut self) {
        self.last = None;
        self.known.retain(|_, wrapped| {
            Arc::strong_count(wrapped) > 1 || Arc::strong_count(&wrapped.inner) > 1
        });
        self.sweep_at = Self::FEW.max(2 * self.known.len());
    }
}
