use std::fmt;
use std::time::Duration;

use crate::GroupOptions;

/// The lease writes that a take-over without release may bring forward, beside those on time.
pub(crate) const CRASH_WRITES: u32 = 128;

/// How many requests an hour a group sends to its lease store; what it reads and writes does not
/// depend on the event rate.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct RequestCost {
    /// Partitions of the group.
    pub partitions: usize,
    /// Members of the group.
    pub members: usize,
    /// Writes of all members while no event comes: renewals.
    pub idle_writes: f64,
    /// The most writes of all members at any event rate: commits, which renew as well. Only
    /// `commit_count`, flushes and `crash_writes` add to it.
    pub busy_writes: f64,
    /// The most writes, not per hour, that marks and announcements add after each take-over of a
    /// partition whose owner did not release it.
    pub crash_writes: u32,
    /// Listings of all members: one of the partitions and one of the leases each.
    pub listings: f64,
}

/// Returns the stated cost of a group of `members` on `partitions`.
pub fn request_cost(options: &GroupOptions, partitions: usize, members: usize) -> RequestCost {
    let hourly = |every: Duration| 3600.0 / every.as_secs_f64();
    // Renewals come up to 15 % early, so that partitions do not renew in step.
    let renewals = hourly(options.renew_every.mul_f64(0.925));
    let commits = hourly(options.commit_interval);
    RequestCost {
        partitions,
        members,
        idle_writes: partitions as f64 * renewals,
        busy_writes: partitions as f64 * commits.max(renewals),
        crash_writes: CRASH_WRITES,
        listings: members as f64 * hourly(options.lease_ttl / 2),
    }
}

impl fmt::Display for RequestCost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} partitions, {} members, per hour: {:.0} lease writes idle, {:.0} busy, {:.0} listings",
            self.partitions, self.members, self.idle_writes, self.busy_writes, self.listings
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hundred_partitions_and_five_members_cost_what_the_readme_says() {
        let options = GroupOptions::new("billing".into());
        let cost = request_cost(&options, 100, 5);
        assert_eq!(
            cost.to_string(),
            "100 partitions, 5 members, per hour: 38919 lease writes idle, 72000 busy, 1200 listings"
        );
        assert!(include_str!("../README.md").contains(&cost.to_string()));
    }
}
