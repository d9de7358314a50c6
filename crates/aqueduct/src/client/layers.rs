use std::collections::BTreeMap;
use std::sync::Arc;

use aqueduct_core::{Layer, Result, Runtime, SmallStr, Stage, check_layers};
use aqueduct_layers::{Timeout, Tracing};

use crate::config::{GroupConfig, IdempotencyPlace, LayerConfigs};

/// The layers added by code and those named by the configuration, made once for the client.
pub(super) struct Layers {
    given: Vec<Arc<dyn Layer>>,
    configured: BTreeMap<&'static str, Arc<dyn Layer>>,
}

impl Layers {
    pub(super) fn new(
        given: Vec<Arc<dyn Layer>>,
        configs: &LayerConfigs,
        runtime: &Runtime,
    ) -> Result<Self> {
        check_layers(&given)?;
        let tracing = Tracing::new(configs.tracing.clone(), runtime);
        let mut configured: BTreeMap<_, Arc<dyn Layer>> = BTreeMap::new();
        configured.insert("tracing", Arc::new(tracing));
        if let Some(options) = &configs.timeout {
            let timeout = Timeout::new(options.clone(), runtime)?;
            configured.insert("timeout", Arc::new(timeout));
        }
        Ok(Self { given, configured })
    }

    /// Returns the whole stack, outermost first: the layers added by code, those of `names`, then
    /// `own`, sorted by stage.
    pub(super) fn stack(
        &self,
        names: &[SmallStr],
        own: impl IntoIterator<Item = Arc<dyn Layer>>,
    ) -> Result<Vec<Arc<dyn Layer>>> {
        let configured = names
            .iter()
            .filter_map(|name| self.configured.get(name.as_str()));
        let mut stack: Vec<_> = self.given.iter().chain(configured).cloned().collect();
        stack.extend(own);
        // Each part is in order by itself; the sort is stable.
        stack.sort_by_key(|layer| layer.stage());
        check_layers(&stack)?;
        Ok(stack)
    }

    /// Checks the stack that a group will have, before any of its stores is open.
    pub(super) fn check_group(&self, group: &GroupConfig) -> Result<()> {
        let mut own: Vec<Arc<dyn Layer>> = Vec::new();
        if group.idempotency != IdempotencyPlace::Off {
            own.push(Arc::new(Placeholder("idempotency", Stage::Idempotency)));
        }
        if group.dead_letters.is_some() {
            own.push(Arc::new(Placeholder("dead_letters", Stage::DeadLetters)));
        } else if group.on_reject.is_some() {
            own.push(Arc::new(Placeholder("reject_policy", Stage::DeadLetters)));
        }
        self.stack(&group.layers, own).map(drop)
    }
}

/// A layer of the group's own that is made when its store is open.
struct Placeholder(&'static str, Stage);

impl Layer for Placeholder {
    fn name(&self) -> &'static str {
        self.0
    }

    fn stage(&self) -> Stage {
        self.1
    }
}
