use std::collections::HashMap;

/// Counts what each consumer holds, for flow control.
#[derive(Debug, Default)]
pub(super) struct Consumers {
    loads: HashMap<u64, Load>,
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Load {
    pub(super) messages: u64,
    pub(super) bytes: u64,
}

impl Consumers {
    pub(super) fn load(&self, consumer: u64) -> Load {
        self.loads.get(&consumer).copied().unwrap_or_default()
    }

    pub(super) fn add(&mut self, consumer: u64, bytes: usize) {
        let load = self.loads.entry(consumer).or_default();
        load.messages += 1;
        load.bytes += bytes as u64;
    }

    pub(super) fn remove(&mut self, consumer: u64, bytes: usize) {
        if let Some(load) = self.loads.get_mut(&consumer) {
            load.messages = load.messages.saturating_sub(1);
            load.bytes = load.bytes.saturating_sub(bytes as u64);
            if load.messages == 0 {
                self.loads.remove(&consumer);
            }
        }
    }

    pub(super) fn clear(&mut self) {
        self.loads.clear();
    }

    pub(super) fn outstanding(&self) -> u64 {
        self.loads.values().map(|load| load.messages).sum()
    }
}
