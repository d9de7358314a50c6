use std::collections::VecDeque;
use std::time::Duration;

use aqueduct_core::SmallStr;

/// The messages to give back to the queue, by receipt.
#[derive(Debug, Default)]
pub(super) struct Releases {
    waiting: VecDeque<(SmallStr, Duration)>,
    under_way: usize,
    /// Messages given back unhandled: for metrics.
    pub(super) released: u64,
}

impl Releases {
    pub(super) fn push(&mut self, receipt: SmallStr, delay: Duration) {
        self.waiting.push_back((receipt, delay));
        self.released += 1;
    }

    /// Lets the client forget a receipt that no longer counts.
    pub(super) fn forget(&mut self, receipt: SmallStr) {
        self.waiting.push_back((receipt, Duration::ZERO));
    }

    pub(super) fn next(&mut self, batch: usize) -> Option<Vec<(SmallStr, Duration)>> {
        let count = self.waiting.len().min(batch);
        if count == 0 {
            return None;
        }
        self.under_way += 1;
        Some(self.waiting.drain(..count).collect())
    }

    pub(super) fn ended(&mut self) {
        self.under_way = self.under_way.saturating_sub(1);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.under_way == 0
    }
}
