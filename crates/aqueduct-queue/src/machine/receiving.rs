use std::time::Duration;

use aqueduct_core::{Error, Instant, QueueSettings, Retry};

use super::failures::Failures;

/// The requests for messages.
#[derive(Debug, Default)]
pub(super) struct Receiving {
    under_way: usize,
    /// How many requests may be under way.
    width: usize,
    /// No request before, after a failure.
    after: Instant,
    /// How many messages the waiting receivers would take.
    demand: usize,
    /// The smoothed size of responses that were not empty, in sixteenths of a message; 0 before the
    /// first.
    typical: usize,
    paused: bool,
    pub(super) failures: Failures,
}

/// The load of the consumer, for the decision whether to ask for more.
#[derive(Clone, Copy, Debug)]
pub(super) struct Load {
    pub(super) in_flight: usize,
    pub(super) ready: usize,
    pub(super) bytes: usize,
    pub(super) are_out: bool,
}

impl Receiving {
    /// Changes the number of messages that receivers wait for.
    pub(super) fn demand(&mut self, more: usize, less: usize) {
        self.demand = self.demand.saturating_add(more).saturating_sub(less);
    }

    pub(super) fn pause(&mut self, paused: bool) {
        self.paused = paused;
    }

    pub(super) fn is_paused(&self) -> bool {
        self.paused
    }

    /// Notes a response of `count` messages.
    pub(super) fn received(&mut self, count: usize, settings: &QueueSettings) {
        self.cancelled();
        self.failures.succeeded();
        // A service may return fewer messages than there are, so that any message means more
        // behind it while a receiver waits. One empty response, or no waiting receiver, ends that.
        self.width = match count > 0 && self.demand > 0 || count >= settings.batch {
            true => (self.width.max(1) + 1).min(self.widest(settings)),
            false => 1,
        };
        if count > 0 {
            self.typical = match self.typical {
                0 => 16 * count,
                typical => (typical * 7 + 16 * count) / 8,
            };
        }
    }

    /// Returns how many messages a response is likely to have.
    fn expected(&self, settings: &QueueSettings) -> usize {
        match self.typical {
            0 => settings.batch,
            typical => typical.div_ceil(16).min(settings.batch),
        }
    }

    /// Returns the most requests at once. Short responses need more of them for the same rate: up to
    /// twice as many, since each is paid for. One receiver stays one.
    fn widest(&self, settings: &QueueSettings) -> usize {
        let receivers = settings.receivers;
        let needed = (receivers * settings.batch).div_ceil(self.expected(settings));
        match receivers {
            1 => 1,
            _ => needed.clamp(receivers, 2 * receivers),
        }
    }

    /// Notes a request that failed; the next is due after `wait`, or after the service's own hint.
    pub(super) fn failed(&mut self, error: Error, wait: Duration, now: Instant) {
        self.cancelled();
        let wait = match error.retry() {
            Retry::After(hint) => wait.max(hint),
            _ => wait,
        };
        self.after = now + wait;
        self.width = 1;
        self.failures.failed(error, now);
    }

    /// Notes a request that was given up before its response.
    pub(super) fn cancelled(&mut self) {
        self.under_way = self.under_way.saturating_sub(1);
    }

    /// Returns how many messages to ask for now.
    pub(super) fn next(
        &mut self,
        settings: &QueueSettings,
        load: Load,
        now: Instant,
    ) -> Option<usize> {
        if now < self.after {
            return None;
        }
        let max = self.wanted(settings, load)?;
        self.under_way += 1;
        Some(max)
    }

    /// Returns when to ask again after a failure.
    pub(super) fn wake(
        &self,
        settings: &QueueSettings,
        load: Load,
        now: Instant,
    ) -> Option<Instant> {
        (self.after > now && self.wanted(settings, load).is_some()).then_some(self.after)
    }

    fn wanted(&self, settings: &QueueSettings, load: Load) -> Option<usize> {
        if self.paused || self.under_way >= self.width.max(1) {
            return None;
        }
        let free = settings
            .max_unsettled
            .saturating_sub(load.in_flight + self.under_way * settings.batch);
        // The limit counts what may come, the demand what is likely to.
        let ready = load.ready + self.under_way * self.expected(settings);
        let heavy = load.bytes >= settings.max_unsettled_bytes;
        let busy = self.demand == 0 && (ready > 0 || load.are_out);
        let enough = ready >= self.demand.max(settings.batch);
        (free > 0 && !enough && !heavy && !busy).then_some(free.min(settings.batch))
    }
}

#[cfg(test)]
mod tests {
    use aqueduct_core::ErrorKind;

    use super::*;

    const IDLE: Load = Load {
        in_flight: 0,
        ready: 0,
        bytes: 0,
        are_out: false,
    };

    fn at(seconds: u64) -> Instant {
        Instant::after_origin(Duration::from_secs(seconds))
    }

    fn requests(receiving: &mut Receiving, settings: &QueueSettings) -> usize {
        std::iter::from_fn(|| receiving.next(settings, IDLE, at(1000))).count()
    }

    #[test]
    fn short_responses_widen_while_somebody_waits() {
        let settings = QueueSettings::new(true);
        let mut receiving = Receiving::default();
        receiving.demand(100, 0);
        assert_eq!(requests(&mut receiving, &settings), 1);
        for (under_way, count) in [(2, 9), (3, 6), (4, 1), (5, 3), (6, 3)] {
            receiving.received(count, &settings);
            requests(&mut receiving, &settings);
            assert_eq!(receiving.under_way, under_way, "after {count} messages");
        }
        receiving.received(0, &settings);
        assert_eq!(
            requests(&mut receiving, &settings),
            0,
            "an empty one narrows"
        );
        receiving.demand(0, 100);
        receiving.received(3, &settings);
        assert_eq!(receiving.width, 1, "no receiver waits");
    }

    #[test]
    fn short_responses_need_more_requests_for_the_same_rate() {
        let settings = QueueSettings::new(true);
        for (count, widest) in [(10, 4), (8, 5), (5, 8), (1, 8)] {
            let mut receiving = Receiving::default();
            receiving.demand(1000, 0);
            for _ in 0..40 {
                requests(&mut receiving, &settings);
                receiving.received(count, &settings);
            }
            requests(&mut receiving, &settings);
            assert_eq!(receiving.under_way, widest, "responses of {count}");
        }
        let mut one = settings;
        one.receivers = 1;
        let mut receiving = Receiving::default();
        receiving.demand(1000, 0);
        receiving.received(1, &one);
        assert_eq!(requests(&mut receiving, &one), 1);
    }

    #[test]
    fn a_demand_is_met_by_what_responses_are_likely_to_have() {
        let settings = QueueSettings::new(true);
        let mut receiving = Receiving::default();
        receiving.demand(10, 0);
        assert_eq!(requests(&mut receiving, &settings), 1);
        receiving.received(3, &settings);
        assert_eq!(requests(&mut receiving, &settings), 2, "not one of ten");
    }

    #[test]
    fn the_services_hint_is_kept() {
        let settings = QueueSettings::new(true);
        let mut receiving = Receiving::default();
        receiving.demand(10, 0);
        assert_eq!(receiving.next(&settings, IDLE, at(1)), Some(10));
        let hour = Duration::from_secs(3600);
        let error = Error::new(ErrorKind::Throttled, "slow down").with_retry(Retry::After(hour));
        receiving.failed(error, Duration::from_secs(1), at(2));
        assert_eq!(receiving.wake(&settings, IDLE, at(2)), Some(at(3602)));
        assert_eq!(receiving.next(&settings, IDLE, at(3601)), None);
        assert!(receiving.failures.take_lasting(at(2)).is_some());
        assert_eq!(receiving.next(&settings, IDLE, at(3602)), Some(10));
    }
}
