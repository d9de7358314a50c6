use std::time::Duration;

use aqueduct_core::{Instant, Position, Tail};

/// Measures how far reading is behind the end of its partition, also while the reader is paused.
#[derive(Debug, Default)]
pub(super) struct Lag {
    /// Reported by the last read, or by a tail request since then.
    tail: Option<Tail>,
    at: Instant,
    /// Whether consecutive events have consecutive positions, so that positions can be subtracted.
    dense: bool,
}

impl Lag {
    /// Notes the tail that a read reported; `seen` is the last position read.
    pub(super) fn read(&mut self, tail: Tail, seen: Option<Position>, now: Instant) {
        let counted = tail.events_behind.filter(|behind| *behind > 0);
        if counted.is_some() {
            self.dense = distance(seen, tail.last) == counted;
        }
        self.tail = Some(tail);
        self.at = now;
    }

    /// Notes the tail of a partition that is not being read.
    pub(super) fn asked(&mut self, tail: Tail, seen: Option<Position>, now: Instant) {
        let mut tail = tail;
        let at_end = seen.is_some() && tail.last <= seen;
        if at_end {
            tail.events_behind = Some(0);
            tail.time_behind = Some(Duration::ZERO);
        }
        // Where nothing was read yet, the first position is not known.
        let counted = self.dense || (tail.consecutive && seen.is_some());
        let dense = counted.then(|| distance(seen, tail.last)).flatten();
        tail.events_behind = tail.events_behind.or(dense);
        // The lag has not become smaller since then.
        let waited = self.tail.and_then(|before| before.time_behind);
        let waited = waited.map(|behind| behind + now.since(self.at));
        tail.time_behind = tail.time_behind.or(waited);
        self.tail = Some(tail);
        self.at = now;
    }

    /// Returns the events that are stored and not settled, `held` of them read.
    pub(super) fn events(&self, held: usize) -> Option<u64> {
        let behind = self.tail?.events_behind?;
        Some(behind + held as u64)
    }

    /// Returns how far reading is behind in time.
    pub(super) fn time(&self) -> Option<Duration> {
        self.tail?.time_behind
    }
}

fn distance(from: Option<Position>, to: Option<Position>) -> Option<u64> {
    let from = from.map_or(Some(0), Position::sequence)?;
    to?.sequence()?.checked_sub(from)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Instant {
        Instant::after_origin(Duration::from_secs(seconds))
    }

    fn place(sequence: u64) -> Option<Position> {
        Some(Position::new(sequence))
    }

    fn counted(last: u64, behind: u64, seconds: u64) -> Tail {
        let mut tail = Tail::at(place(last));
        tail.events_behind = Some(behind);
        tail.time_behind = Some(Duration::from_secs(seconds));
        tail
    }

    #[test]
    fn events_are_counted_on_by_positions_while_nothing_is_read() {
        let mut lag = Lag::default();
        lag.read(counted(100, 90, 1), place(10), at(0));
        assert_eq!(lag.events(10), Some(100));
        lag.asked(Tail::at(place(250)), place(10), at(5));
        assert_eq!(lag.events(10), Some(250));
        assert_eq!(lag.time(), Some(Duration::from_secs(6)));
        lag.asked(Tail::at(place(251)), place(10), at(10));
        assert_eq!(lag.time(), Some(Duration::from_secs(11)));
    }

    #[test]
    fn a_log_of_consecutive_positions_needs_no_count_of_its_own() {
        let consecutive = |last| {
            let mut tail = Tail::at(place(last));
            tail.consecutive = true;
            tail
        };
        let mut lag = Lag::default();
        lag.asked(consecutive(50), None, at(0));
        assert_eq!(lag.events(0), None, "the first position is not known");
        lag.asked(consecutive(50), place(20), at(1));
        assert_eq!(lag.events(5), Some(35));
        lag.asked(consecutive(50), place(50), at(2));
        assert_eq!(lag.events(0), Some(0));
        lag.asked(consecutive(70), place(50), at(3));
        assert_eq!(lag.events(0), Some(20));
    }

    #[test]
    fn positions_with_gaps_are_not_subtracted() {
        let mut lag = Lag::default();
        lag.read(counted(1_000, 3, 1), place(10), at(0));
        lag.asked(Tail::at(place(2_000)), place(10), at(5));
        assert_eq!(lag.events(0), None, "unknown rather than wrong");
        lag.asked(Tail::at(place(10)), place(10), at(6));
        assert_eq!((lag.events(4), lag.time()), (Some(4), Some(Duration::ZERO)));
    }
}
