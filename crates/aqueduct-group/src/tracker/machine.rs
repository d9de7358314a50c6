use aqueduct_core::{
    BlockedBy, Moment, PartitionId, PartitionStatus, Parts, Position, ReadFrom, Record, Revocation,
    Settlement, StoredAttempts, Watermark,
};

use super::{Progress, Settled, Takeover, TrackerOptions};

pub(crate) struct Tracker;

#[allow(unused_variables)]
impl Tracker {
    /// A tracker of a partition that is settled up to `start`; `handed_out` as the lease has it.
    pub(crate) fn new(
        options: TrackerOptions,
        start: Watermark,
        handed_out: Option<Position>,
        takeover: Takeover,
    ) -> Self {
        Self
    }
    /// How many more records it takes now; 0 while the reader shall wait. Small refills wait until
    /// a quarter is free, unless nothing is left to hand out.
    pub(crate) fn room(&self) -> usize {
        0
    }
    /// Takes records from the reader, in order; drops those at or below the last one seen, so that
    /// a reader may reconnect. Answers the bytes now held more.
    pub(crate) fn fetched(&mut self, records: Vec<Record>, now: Moment) -> usize {
        0
    }
    /// Hands out what is deliverable now, up to `max`, as parts with the tracker's ticket, in order.
    pub(crate) fn take(&mut self, max: usize, now: Moment, out: &mut Vec<Parts>) {}
    /// The mark that must be durable before `take` hands out the next event; `None` where none is
    /// needed. Ask only while a receiver waits: a mark counts as an attempt begun.
    pub(crate) fn mark_needed(&mut self, now: Moment) -> Option<StoredAttempts> {
        None
    }
    /// That mark is durable.
    pub(crate) fn marked(&mut self, mark: StoredAttempts) {}
    /// Settles what was handed out as `parts`: ack, nack, defer. A reject is refused above.
    /// `random` is drawn for the jitter of the back-off.
    pub(crate) fn settle(
        &mut self,
        parts: &Parts,
        settlement: &Settlement,
        now: Moment,
        random: impl FnOnce() -> u64,
    ) -> Result<Settled, Revocation> {
        Ok(Settled::default())
    }
    /// A delivery was dropped unsettled: a failed attempt. A stale one changes nothing.
    pub(crate) fn abandon(
        &mut self,
        parts: &Parts,
        now: Moment,
        random: impl FnOnce() -> u64,
    ) -> Settled {
        Settled::default()
    }
    /// Takes back what was handed out and never reached anybody: deliverable again, no attempt.
    pub(crate) fn put_back(&mut self, parts: &Parts) -> Settled {
        Settled::default()
    }
    /// Why that ticket may no longer be settled; `None` while it may.
    pub(crate) fn revocation(&self, ticket: u64) -> Option<Revocation> {
        None
    }
    /// Ends everything: lost, handed over, shutdown. Progress stays to be asked. Answers the bytes
    /// no longer held.
    pub(crate) fn revoke_all(&mut self, why: Revocation) -> usize {
        0
    }
    /// When the next retry becomes deliverable, where nothing before it has to be settled first.
    pub(crate) fn next_due(&self) -> Option<Moment> {
        None
    }
    /// What to commit now.
    pub(crate) fn progress(&self) -> Progress {
        Progress {
            watermark: Watermark::End,
            handed_out: None,
            attempts: None,
            dirty: false,
            urgent: false,
            settled: 0,
        }
    }
    /// That progress is durable.
    pub(crate) fn committed(&mut self, progress: &Progress) {}
    /// The partition is closed and read to its end.
    pub(crate) fn reader_ended(&mut self, children: Vec<PartitionId>) {}
    /// The partitions that go on with this one's keys, once the reader has ended.
    pub(crate) fn children(&self) -> Option<&[PartitionId]> {
        None
    }
    /// Whether the reader has ended and everything is settled.
    pub(crate) fn is_settled_to_end(&self) -> bool {
        false
    }
    /// Where a new reader goes on: behind the last record seen. `None` at the end.
    pub(crate) fn read_from(&self) -> Option<ReadFrom> {
        None
    }
    /// Events that are with receivers.
    pub(crate) fn in_flight(&self) -> usize {
        0
    }
    /// Whether nothing is with receivers, so that a drain need not wait.
    pub(crate) fn waits_only_for_retries(&self) -> bool {
        true
    }
    /// Bytes held.
    pub(crate) fn bytes(&self) -> usize {
        0
    }
    /// Who keeps the partition from fetching, while a limit is reached.
    pub(crate) fn blocked_by(&self) -> Option<BlockedBy> {
        None
    }
    /// Fills in what the tracker knows: all but lag.
    pub(crate) fn fill_status(&self, now: Moment, status: &mut PartitionStatus) {}
}
