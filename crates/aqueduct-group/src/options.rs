use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use aqueduct_core::{Backoff, Error, GroupName, OwnerId, RebalanceListener, Result, Start};

use crate::ByteBudget;

/// How a group reads its stream. Every default says why it has its value.
#[derive(Clone)]
#[non_exhaustive]
pub struct GroupOptions {
    /// The group.
    pub group: GroupName,
    /// Where a group that never ran begins; default: earliest, because nothing is lost by it.
    pub start: Start,
    /// How long a lease lives without renewal; default 30 s: a crash is noticed within a minute,
    /// and a pause of the process of some seconds costs nothing.
    pub lease_ttl: Duration,
    /// How often a lease is renewed; default 10 s: two renewals may fail before a third is late.
    pub renew_every: Duration,
    /// How long before the end of its life an owner counts its lease as lost; default 3 s: room
    /// for clocks that run differently fast and for a handler that is slow to notice.
    pub margin: Duration,
    /// How often what is settled is committed; default 5 s: what a crash may deliver again.
    pub commit_interval: Duration,
    /// The least time between two commits that a count brings forward; default 1 s, so that store
    /// writes do not depend on the event rate.
    pub commit_min: Duration,
    /// How many settled events bring a commit forward; default 10,000: about what a consumer that
    /// is catching up settles in a second.
    pub commit_count: usize,
    /// Per partition: the most events fetched and not settled; default 10,000: ten fetches ahead.
    pub max_unsettled: usize,
    /// Per partition: the most bytes of all that it holds, about; default 64 MiB: a hundred
    /// partitions of a machine with 8 GiB.
    pub max_unsettled_bytes: usize,
    /// Per partition: the most events held behind failing keys, beside the unsettled; default
    /// 5,000.
    pub max_parked: usize,
    /// Per partition: the widest span from the checkpoint to the newest settled event, in events;
    /// default 100,000: what is delivered again when one event stays unsettled and the process
    /// dies.
    pub max_span: usize,
    /// The limit on bytes of all partitions of the process; default none: the limits per partition
    /// suffice until one process owns very many.
    pub budget: Option<Arc<ByteBudget>>,
    /// How long a failed event waits for its next attempt where the nack says nothing; default
    /// from 200 ms to 30 s.
    pub redelivery: Backoff,
    /// How long a partition that another member asked for, or that is closed, may finish what is
    /// out; default 30 s.
    pub drain: Duration,
    /// What to do where events are gone before they were read; default: fail, because going on
    /// would lose them in silence.
    pub on_gap: OnGap,
    /// The most partitions that this member owns; default: as many as there are.
    pub max_partitions: Option<usize>,
    /// Is told when partitions come and go.
    pub rebalance_listener: Option<Arc<dyn RebalanceListener>>,
    /// The name of this member, unique per run of a process; default: drawn.
    pub owner: Option<OwnerId>,
    /// How long a batch may wait for more once there is one delivery; default zero: nothing waits.
    pub max_batch_wait: Duration,
    /// The most events of one read; default 1,000: more gains nothing.
    pub fetch_events: usize,
    /// The most bytes of one fetch, about; default 1 MiB: what the services' own fetches bring.
    pub fetch_bytes: usize,
}

/// What to do where events are gone, by retention, before the group has read them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnGap {
    /// `receive_batch` answers `PositionExpired` until somebody decides.
    #[default]
    Fail,
    /// Goes on with the oldest event that is left.
    Earliest,
    /// Goes on with the next event that comes.
    Latest,
}

impl GroupOptions {
    /// The defaults, for that group.
    pub fn new(group: GroupName) -> Self {
        Self {
            group,
            start: Start::Earliest,
            lease_ttl: Duration::from_secs(30),
            renew_every: Duration::from_secs(10),
            margin: Duration::from_secs(3),
            commit_interval: Duration::from_secs(5),
            commit_min: Duration::from_secs(1),
            commit_count: 10_000,
            max_unsettled: 10_000,
            max_unsettled_bytes: 64 << 20,
            max_parked: 5_000,
            max_span: 100_000,
            budget: None,
            redelivery: Backoff::new(Duration::from_millis(200), Duration::from_secs(30)),
            drain: Duration::from_secs(30),
            on_gap: OnGap::Fail,
            max_partitions: None,
            rebalance_listener: None,
            owner: None,
            max_batch_wait: Duration::ZERO,
            fetch_events: 1_000,
            fetch_bytes: 1 << 20,
        }
    }

    /// Sets the lease's life, with renewals at a third of it and a margin of a tenth.
    #[must_use]
    pub fn with_lease_life(mut self, life: Duration) -> Self {
        self.lease_ttl = life;
        self.renew_every = life / 3;
        self.margin = life / 10;
        self
    }

    /// Checks that limits and timings can work together.
    ///
    /// # Errors
    /// `Config`, naming the option, its value and what it must be.
    pub fn validate(&self) -> Result<()> {
        let refuse = |what: String| Err(Error::config(format!("group {}: {what}", self.group)));
        if self.group.as_str().is_empty() {
            return Err(Error::config("a group's name must not be empty"));
        }
        for (name, value) in [
            ("lease_ttl", self.lease_ttl),
            ("renew_every", self.renew_every),
            ("commit_interval", self.commit_interval),
        ] {
            if value.is_zero() {
                return refuse(format!("`{name}` is 0, it must be more"));
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
                return refuse(format!("`{name}` is 0, it must be at least 1"));
            }
        }
        let (life, renew, margin) = (self.lease_ttl, self.renew_every, self.margin);
        if life < renew.saturating_mul(3) {
            return refuse(format!(
                "`lease_ttl` is {life:?} and `renew_every` {renew:?}: a lease must live at least \
                 three renewals, or one slow answer loses it"
            ));
        }
        if life.saturating_sub(margin) < renew.saturating_mul(2) {
            return refuse(format!(
                "`margin` is {margin:?} of a `lease_ttl` of {life:?}: two renewals of \
                 {renew:?} must fit into the rest"
            ));
        }
        if self.commit_min > self.commit_interval {
            return refuse(format!(
                "`commit_min` is {:?}, it must not be above `commit_interval`, {:?}",
                self.commit_min, self.commit_interval
            ));
        }
        Ok(())
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
        let said = refused(|options| options.margin = Duration::from_secs(11));
        assert!(said.contains("`margin` is 11s"), "{said}");
        let said = refused(|options| options.commit_min = Duration::from_secs(6));
        assert!(said.contains("`commit_min` is 6s"), "{said}");
        let short = GroupOptions::new(GroupName::new("b")).with_lease_life(Duration::from_secs(2));
        short.validate().unwrap();
    }

    #[test]
    fn zero_limits_are_refused_by_name() {
        assert!(refused(|options| options.max_unsettled = 0).contains("`max_unsettled` is 0"));
        assert!(refused(|options| options.max_partitions = Some(0)).contains("`max_partitions`"));
        assert!(refused(|options| options.commit_interval = Duration::ZERO).contains("is 0"));
    }
}
