use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// Counts the requests that are under way at once.
#[derive(Debug, Default)]
pub(super) struct Traffic(Mutex<BTreeMap<String, Count>>);

#[derive(Clone, Copy, Debug, Default)]
struct Count {
    now: usize,
    most: usize,
}

/// A request under way, until it is dropped: when it has its response, or was given up.
pub(super) struct UnderWay<'a> {
    traffic: &'a Traffic,
    operation: String,
}

impl Traffic {
    pub(super) fn begin(&self, operation: &str) -> UnderWay<'_> {
        self.change(operation, |count| {
            count.now += 1;
            count.most = count.most.max(count.now);
        });
        UnderWay {
            traffic: self,
            operation: operation.to_owned(),
        }
    }

    pub(super) fn most(&self, operation: &str) -> usize {
        self.change(operation, |count| count.most)
    }

    fn change<T>(&self, operation: &str, change: impl FnOnce(&mut Count) -> T) -> T {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        change(counts.entry(operation.to_owned()).or_default())
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        let end = |count: &mut Count| count.now = count.now.saturating_sub(1);
        self.traffic.change(&self.operation, end);
    }
}
