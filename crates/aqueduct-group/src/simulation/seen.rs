/// How often each thing happened: a simulation in which nothing happens proves nothing.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Seen {
    pub(super) starts: u64,
    pub(super) dead_letters: u64,
    pub(super) poison_letters: u64,
    pub(super) nacks: u64,
    pub(super) crashes: u64,
    pub(super) storms: u64,
    pub(super) stalls: u64,
    pub(super) kills: u64,
    pub(super) outages: u64,
    /// One process that cannot reach the store, while the others can.
    pub(super) cuts: u64,
    pub(super) late: u64,
    pub(super) lost_leases: u64,
    pub(super) handoffs: u64,
    pub(super) ended: u64,
    pub(super) deleted: u64,
    pub(super) isolated: u64,
    pub(super) conflicts: u64,
    pub(super) doubts: u64,
    pub(super) flushes: u64,
    pub(super) leaves: u64,
    pub(super) kept: u64,
    /// Takeovers without release.
    pub(super) unclean: u64,
    /// Requests for a hand-off that were taken back.
    pub(super) withdrawn: u64,
    /// Calls to the store that failed, were lost or came late, by the scenario.
    pub(super) troubled: u64,
    /// Simulated milliseconds.
    pub(super) simulated: u64,
}

impl Seen {
    fn all(&mut self) -> [(&'static str, &mut u64); 25] {
        [
            ("starts", &mut self.starts),
            ("dead_letters", &mut self.dead_letters),
            ("poison_letters", &mut self.poison_letters),
            ("nacks", &mut self.nacks),
            ("crashes", &mut self.crashes),
            ("storms", &mut self.storms),
            ("stalls", &mut self.stalls),
            ("kills", &mut self.kills),
            ("outages", &mut self.outages),
            ("cuts", &mut self.cuts),
            ("late", &mut self.late),
            ("lost_leases", &mut self.lost_leases),
            ("handoffs", &mut self.handoffs),
            ("ended", &mut self.ended),
            ("deleted", &mut self.deleted),
            ("isolated", &mut self.isolated),
            ("conflicts", &mut self.conflicts),
            ("doubts", &mut self.doubts),
            ("flushes", &mut self.flushes),
            ("leaves", &mut self.leaves),
            ("kept", &mut self.kept),
            ("unclean", &mut self.unclean),
            ("withdrawn", &mut self.withdrawn),
            ("troubled", &mut self.troubled),
            ("simulated", &mut self.simulated),
        ]
    }

    pub(super) fn add(&mut self, other: &Self) {
        let mut other = *other;
        for ((_, mine), (_, theirs)) in self.all().into_iter().zip(other.all()) {
            *mine += *theirs;
        }
    }

    pub(super) fn assert_everything_happened(&mut self) {
        for (name, count) in self.all() {
            assert!(*count > 0, "no {name} in any seed");
        }
    }
}
