use std::collections::VecDeque;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::time::Instant;

use super::amqp::Frame;

/// What is to be written to a connection, now or later.
#[derive(Debug)]
pub(super) struct Output {
    latency: Duration,
    /// The bytes of all frames so far.
    made: u64,
    /// The bytes that were written so far.
    written: u64,
    ready: BytesMut,
    /// Frames under way, in order.
    under_way: VecDeque<(Instant, Bytes)>,
    under_way_bytes: usize,
    /// Settlements that are slow on demand.
    slow: Vec<(Instant, Frame)>,
}

/// No further events are put in front of a peer that does not read.
const HIGH_WATER: usize = 1 << 20;

impl Output {
    pub(super) fn new(latency: Duration) -> Self {
        Self {
            latency,
            made: 0,
            written: 0,
            ready: BytesMut::new(),
            under_way: VecDeque::new(),
            under_way_bytes: 0,
            slow: Vec::new(),
        }
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        if self.latency.is_zero() {
            self.made += bytes.len() as u64;
            self.ready.extend_from_slice(bytes);
        } else {
            self.delay(Bytes::copy_from_slice(bytes));
        }
    }

    pub(super) fn frame(&mut self, frame: &Frame) {
        if self.latency.is_zero() {
            let before = self.ready.len();
            frame.encode(&mut self.ready);
            self.made += (self.ready.len() - before) as u64;
        } else {
            let mut bytes = BytesMut::new();
            frame.encode(&mut bytes);
            self.delay(bytes.freeze());
        }
    }

    pub(super) fn frame_after(&mut self, wait: Duration, frame: Frame) {
        self.slow.push((Instant::now() + wait, frame));
    }

    fn delay(&mut self, bytes: Bytes) {
        self.made += bytes.len() as u64;
        self.under_way_bytes += bytes.len();
        self.under_way
            .push_back((Instant::now() + self.latency, bytes));
    }

    /// Returns true if more events can be written. Latency needs more of them under way.
    pub(super) fn has_room(&self) -> bool {
        let under_way = if self.latency.is_zero() { 1 } else { 16 };
        self.ready.len() + self.under_way_bytes < HIGH_WATER * under_way
    }

    /// Returns when something becomes ready.
    pub(super) fn due(&self) -> Option<Instant> {
        let slow = self.slow.iter().map(|(due, _)| *due);
        let under_way = self.under_way.front().map(|(due, _)| *due);
        slow.chain(under_way).min()
    }

    /// Makes ready what is due.
    pub(super) fn release(&mut self, now: Instant) {
        while let Some((due, _)) = self.under_way.front()
            && *due <= now
            && let Some((_, bytes)) = self.under_way.pop_front()
        {
            self.under_way_bytes -= bytes.len();
            self.ready.extend_from_slice(&bytes);
        }
        for (_, frame) in self.slow.extract_if(.., |(due, _)| *due <= now) {
            frame.encode(&mut self.ready);
        }
    }

    /// Returns the position after the last frame.
    pub(super) fn position(&self) -> u64 {
        self.made
    }

    /// Counts bytes that were written.
    pub(super) fn wrote(&mut self, bytes: usize) {
        self.written += bytes as u64;
    }

    /// Returns the position up to which the output was written. Slow settlements are not counted
    /// when they are made, so it may run ahead.
    pub(super) fn written(&self) -> u64 {
        self.written
    }

    pub(super) fn ready(&mut self) -> &mut BytesMut {
        &mut self.ready
    }
}
