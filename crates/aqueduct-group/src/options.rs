use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use aqueduct_core::{Backoff, Error, GroupName, OwnerId, RebalanceListener, Result, Start};

use crate::{ByteBudget, IsolationGate};

/// How a group reads its stream. Every default says why it has its value.
#[derive(Clone)]
#[non_exhaustive]
pub struct GroupOptions {
    /// The name under which the members share the partitions.
    pub group: GroupName,
    /// Where a group without leases starts; default: earliest, because nothing is lost by it.
    pub start: Start,
    /// How long a lease lasts without renewal, at least 100 ms; default 30 s: a crash is noticed
    /// within a minute, and a pause of some seconds loses nothing.
    pub lease_ttl: Duration,
    /// The renewal interval; default 10 s: two renewals may fail before a third is late.
    pub renew_every: Duration,
    /// How long before `lease_ttl` ends an owner counts its lease as lost; default 3 s: room for
    /// clocks of different rates and for a handler that is slow to notice.
    pub lease_margin: Duration,
    /// The commit interval; default 5 s: at most these settlements are repeated after a crash.
    pub commit_interval: Duration,
    /// The minimum time between two commits that a count brings forward; default 1 s, so that store
    /// writes do not depend on the event rate.
    pub commit_min: Duration,
    /// The number of settled events that brings a commit forward; default 10,000: about the
    /// settlements per second of a consumer that catches up.
    pub commit_count: usize,
    /// Limits the fetched and unsettled events of a partition; default 10,000: ten fetches ahead.
    pub max_unsettled: usize,
    /// Limits the bytes that a partition holds, approximately; default 64 MiB: a hundred partitions
    /// on a machine with 8 GiB.
    pub max_unsettled_bytes: usize,
    /// Limits the events of a partition held behind failing keys, beside the unsettled ones;
    /// default 5,000.
    pub max_parked: usize,
    /// Limits the events from a partition's checkpoint to its newest settled event; at least
    /// `max_unsettled`; default 100,000: the events delivered again when one event stays unsettled
    /// and the process dies.
    pub max_span: usize,
    /// Limits the bytes of all partitions of the process; default none: the limits per partition
    /// suffice until one process owns very many.
    pub budget: Option<Arc<ByteBudget>>,
    /// The gate that all groups of the process share, so that an event suspected of a crash runs
    /// alone in the process; default: a gate of its own, for processes with one group.
    pub isolation: Option<Arc<IsolationGate>>,
    /// The wait before a failed event comes again if the nack names none; default from 200 ms to
    /// 30 s.
    pub redelivery: Backoff,
    /// How long a partition may finish its deliveries before it is handed off or closed; default
    /// 30 s.
    pub drain: Duration,
    /// The retention of the stream, if it is known; default none. An expired position of a partition
    /// that was quiet for longer is then told from a gap.
    pub retention: Option<Duration>,
    /// How to continue if retention removed events before they were read; default: fail, because
    /// going on would lose them silently.
    pub on_gap: OnGap,
    /// Limits the partitions of this member; default: none.
    pub max_partitions: Option<usize>,
    /// Receives the assignments and revocations of partitions.
    pub rebalance_listener: Option<Arc<dyn RebalanceListener>>,
    /// The name of this member, unique per run of a process; default: random.
    pub owner: Option<OwnerId>,
    /// How long a batch with at least one delivery may wait for more; default zero.
    pub max_batch_wait: Duration,
    /// Limits the events of one read; default 1,000: more gains nothing.
    pub fetch_events: usize,
    /// Limits the bytes of one fetch, approximately; default 1 MiB, the size of the services' own
    /// fetches.
    pub fetch_bytes: usize,
}

/// How to continue if retention removed events before the group read them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnGap {
    /// Stops the partition; `receive_batch` returns `PositionExpired`.
    #[default]
    Fail,
    /// Continues with the oldest event that is left.
    Earliest,
    /// Continues with the next new event.
    Latest,
}

/// The shortest lease: below it the timers of a loaded machine alone lose leases.
const MIN_TTL: Duration = Duration::from_millis(100);

impl GroupOptions {
    /// Creates the default options of `group`.
    pub fn new(group: GroupName) -> Self {
        Self {
            group,
            start: Start::Earliest,
            lease_ttl: Duration::from_secs(30),
            renew_every: Duration::from_secs(10),
            lease_margin: Duration::from_secs(3),
            commit_interval: Duration::from_secs(5),
            commit_min: Duration::from_secs(1),
            commit_count: 10_000,
            max_unsettled: 10_000,
            max_unsettled_bytes: 64 << 20,
            max_parked: 5_000,
            max_span: 100_000,
            budget: None,
            isolation: None,
            redelivery: Backoff::new(Duration::from_millis(200), Duration::from_secs(30)),
            drain: Duration::from_secs(30),
            retention: None,
            on_gap: OnGap::Fail,
            max_partitions: None,
            rebalance_listener: None,
            owner: None,
            max_batch_wait: Duration::ZERO,
            fetch_events: 1_000,
            fetch_bytes: 1 << 20,
        }
    }

    /// Sets the lease ttl, with renewals at a third of it and a margin of a tenth.
    #[must_use]
    pub fn with_lease_ttl(mut self, ttl: Duration) -> Self {
        self.lease_ttl = ttl;
        self.renew_every = ttl / 3;
        self.lease_margin = ttl / 10;
        self
    }

    /// Checks that limits and timings can work together.
    ///
    /// # Errors
    /// `Config`, naming the option, its value and its bound.
    pub fn validate(&self) -> Result<()> {
        if self.group.as_str().is_empty() {
            return Err(Error::config("the name of a group must not be empty"));
        }
        self.check_zeros()?;
        self.check_lease()?;
        if self.commit_min > self.commit_interval {
            return Err(self.refuse(format_args!(
                "`commit_min` is {:?}, expected at most `commit_interval`, {:?}",
                self.commit_min, self.commit_interval
            )));
        }
        if self.max_span < self.max_unsettled {
            return Err(self.refuse(format_args!(
                "`max_span` is {} and `max_unsettled` {}: expected a span of at least the events \
                 that may be unsettled",
                self.max_span, self.max_unsettled
            )));
        }
        Ok(())
    }

    fn check_zeros(&self) -> Result<()> {
        for (name, value) in [
            ("lease_ttl", self.lease_ttl),
            ("renew_every", self.renew_every),
            ("commit_interval", self.commit_interval),
            ("commit_min", self.commit_min),
            ("redelivery", self.redelivery.ceiling(1)),
        ] {
            if value.is_zero() {
                let what = format_args!("`{name}` is 0, expected more than 0");
                return Err(self.refuse(what));
            }
        }
        for (name, value) in [
            ("commit_count", self.commit_count),
            ("max_unsettled", self.max_unsettled),
            ("max_unsettled_bytes", self.max_unsettled_bytes),
            ("max_parked", self.max_parked),
            ("max_span", self.max_span),
            ("max_partitions", self.max_partitions.unwrap_or(1)),
            ("fetch_events", self.fetch_events),
            ("fetch_bytes", self.fetch_bytes),
        ] {
            if value == 0 {
                return Err(self.refuse(format_args!("`{name}` is 0, expected at least 1")));
            }
        }
        Ok(())
    }

    fn check_lease(&self) -> Result<()> {
        let (ttl, renew, margin) = (self.lease_ttl, self.renew_every, self.lease_margin);
        if ttl < MIN_TTL {
            return Err(self.refuse(format_args!(
                "`lease_ttl` is {ttl:?}, expected at least {MIN_TTL:?}: within less, a loaded \
                 machine cannot renew a lease in time"
            )));
        }
        if ttl < renew.saturating_mul(3) {
            return Err(self.refuse(format_args!(
                "`lease_ttl` is {ttl:?} and `renew_every` {renew:?}: expected a ttl of at least \
                 three renewals, so that one slow response does not lose the lease"
            )));
        }
        if ttl.saturating_sub(margin) < renew.saturating_mul(2) {
            return Err(self.refuse(format_args!(
                "`lease_margin` is {margin:?} of a `lease_ttl` of {ttl:?}: expected room for two \
                 renewals of {renew:?} in the rest"
            )));
        }
        Ok(())
    }

    fn refuse(&self, what: fmt::Arguments<'_>) -> Error {
        Error::config(format!("group {}: {what}", self.group))
    }
}

impl fmt::Debug for GroupOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GroupOptions")
            .field("group", &self.group)
            .field("start", &self.start)
            .field("lease_ttl", &self.lease_ttl)
            .field("renew_every", &self.renew_every)
            .field("commit_interval", &self.commit_interval)
            .field("on_gap", &self.on_gap)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(change: impl FnOnce(&mut GroupOptions)) -> String {
        let mut options = GroupOptions::new(GroupName::new("billing"));
        options.validate().unwrap();
        change(&mut options);
        options.validate().unwrap_err().to_string()
    }

    #[test]
    fn timings_that_cannot_work_are_refused_with_both_values() {
        let said = refused(|options| options.lease_ttl = Duration::from_secs(29));
        assert!(said.contains("29s") && said.contains("10s"), "{said}");
        let said = refused(|options| options.lease_margin = Duration::from_secs(11));
        assert!(said.contains("`lease_margin` is 11s"), "{said}");
        let said = refused(|options| options.commit_min = Duration::from_secs(6));
        assert!(said.contains("`commit_min` is 6s"), "{said}");
        let short = GroupOptions::new(GroupName::new("b")).with_lease_ttl(Duration::from_secs(2));
        short.validate().unwrap();
    }

    #[test]
    fn zero_limits_are_refused_by_name() {
        assert!(refused(|options| options.max_unsettled = 0).contains("`max_unsettled` is 0"));
        assert!(refused(|options| options.max_partitions = Some(0)).contains("`max_partitions`"));
        assert!(refused(|options| options.commit_interval = Duration::ZERO).contains("is 0"));
        assert!(refused(|options| options.commit_min = Duration::ZERO).contains("`commit_min`"));
        let said = refused(|options| options.redelivery = Backoff::new(Duration::ZERO, MIN_TTL));
        assert!(said.contains("`redelivery` is 0"), "{said}");
    }

    #[test]
    fn a_ttl_that_no_machine_can_keep_is_refused_with_the_reason() {
        for millis in [1, 10, 99] {
            let ttl = Duration::from_millis(millis);
            let options = GroupOptions::new("b".into()).with_lease_ttl(ttl);
            let said = options.validate().unwrap_err().to_string();
            assert!(said.contains("at least 100ms"), "{said}");
        }
        let options = GroupOptions::new("b".into()).with_lease_ttl(MIN_TTL);
        options.validate().unwrap();
    }

    #[test]
    fn a_span_below_the_unsettled_events_is_refused() {
        let said = refused(|options| options.max_span = 9_999);
        assert!(said.contains("9999") && said.contains("10000"), "{said}");
    }
}
