use std::collections::VecDeque;

/// How much a client may still send: the frames of a session's window or the deliveries of a link's
/// credit.
///
/// A flow counts once it is written. What a client sends before that, it sends without knowing of
/// the flow; so a client is never reported wrongly, however the two cross.
#[derive(Debug)]
pub(super) struct Allowance {
    limit: u32,
    /// What is left by the flows that were made.
    told: u32,
    /// What is left by the flows that were written.
    left: u32,
    /// Flows that are not written yet: their position in the output, and what they add.
    pending: VecDeque<(u64, u32)>,
}

impl Allowance {
    pub(super) fn new(limit: u32, left: u32) -> Self {
        Self {
            limit,
            told: left,
            left,
            pending: VecDeque::new(),
        }
    }

    /// Takes one, after `written` bytes of output. Returns false if the client was not allowed to.
    pub(super) fn take(&mut self, written: u64) -> bool {
        while let Some((position, more)) = self.pending.front().copied()
            && position <= written
        {
            self.left += more;
            self.pending.pop_front();
        }
        self.told = self.told.saturating_sub(1);
        match self.left.checked_sub(1) {
            Some(left) => {
                self.left = left;
                true
            }
            None => false,
        }
    }

    /// Returns true if half is used, so that a flow should tell of more.
    pub(super) fn is_low(&self) -> bool {
        self.told <= self.limit / 2
    }

    /// Fills up to the limit. The flow that tells of it ends at `position` of the output.
    pub(super) fn fill(&mut self, position: u64) {
        let more = self.limit - self.told;
        if more > 0 {
            self.told = self.limit;
            self.pending.push_back((position, more));
        }
    }

    pub(super) fn limit(&self) -> u32 {
        self.limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flow_counts_once_it_is_written() {
        let mut allowance = Allowance::new(4, 4);
        for _ in 0..2 {
            assert!(allowance.take(0));
        }
        assert!(allowance.is_low());
        allowance.fill(100);
        assert!(allowance.take(0) && allowance.take(0));
        assert!(!allowance.take(99), "the flow is not written yet");
        assert!(allowance.take(100));
    }
}
