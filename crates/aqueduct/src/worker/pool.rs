use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use aqueduct_core::{Delivery, Instant, SmallStr, StreamName};

use super::batch::BatchOptions;
use super::engine::Engine;
use super::routes::Entry;

/// Sorts deliveries into work: those of one key in order, different keys concurrently, those of a batch
/// handler together. Does no I/O and has no clock.
pub(crate) struct Pool {
    engine: Arc<Engine>,
    /// The keys that are being handled or collected, with the deliveries that wait behind them.
    lanes: BTreeMap<LaneKey, VecDeque<Delivery>>,
    collectors: BTreeMap<usize, Collector>,
    waiting: VecDeque<Work>,
    in_hand: usize,
}

/// A stream and a key in it.
pub(crate) type LaneKey = (StreamName, SmallStr);

/// The deliveries of one task.
pub(crate) struct Work {
    pub(crate) entry: Option<usize>,
    pub(crate) deliveries: Vec<Delivery>,
    pub(crate) lanes: Vec<LaneKey>,
    pub(crate) is_batch: bool,
}

struct Collector {
    options: BatchOptions,
    deliveries: Vec<Delivery>,
    lanes: Vec<LaneKey>,
    due: Instant,
}

impl Pool {
    pub(crate) fn new(engine: Arc<Engine>) -> Self {
        Self {
            engine,
            lanes: BTreeMap::new(),
            collectors: BTreeMap::new(),
            waiting: VecDeque::new(),
            in_hand: 0,
        }
    }

    /// Returns the number of deliveries in any state.
    pub(crate) fn in_hand(&self) -> usize {
        self.in_hand
    }

    pub(crate) fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    pub(crate) fn take(&mut self, deliveries: Vec<Delivery>, now: Instant) {
        self.in_hand += deliveries.len();
        let mut free = Vec::new();
        for delivery in deliveries {
            let Some(key) = delivery.event().key_text() else {
                let entry = self.route(&delivery);
                self.start(entry, vec![delivery], Vec::new(), now);
                continue;
            };
            let lane = (delivery.stream().clone(), key.clone());
            match self.lanes.get_mut(&lane) {
                Some(queue) => queue.push_back(delivery),
                None => {
                    self.lanes.insert(lane.clone(), VecDeque::from([delivery]));
                    free.push(lane);
                }
            }
        }
        for lane in free {
            self.advance(lane, now);
        }
    }

    /// Takes the next work.
    pub(crate) fn next(&mut self) -> Option<Work> {
        self.waiting.pop_front()
    }

    /// Removes `count` finished deliveries and starts what waits behind them.
    pub(crate) fn done(&mut self, count: usize, lanes: Vec<LaneKey>, now: Instant) {
        self.in_hand = self.in_hand.saturating_sub(count);
        for lane in lanes {
            self.advance(lane, now);
        }
    }

    /// Returns when the next collected batch is due.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.collectors.values().map(|it| it.due).min()
    }

    /// Makes work of the batches that are due, or of all of them.
    pub(crate) fn flush(&mut self, now: Instant, all: bool) {
        let due: Vec<_> = self
            .collectors
            .iter()
            .filter(|(_, collector)| all || collector.due <= now)
            .map(|(entry, _)| *entry)
            .collect();
        for entry in due {
            self.close_batch(entry);
        }
    }

    /// Takes everything that was not begun.
    pub(crate) fn drain(&mut self) -> Vec<Delivery> {
        let waiting = std::mem::take(&mut self.waiting).into_iter();
        let collected = std::mem::take(&mut self.collectors).into_values();
        let queued = std::mem::take(&mut self.lanes).into_values();
        waiting
            .flat_map(|work| work.deliveries)
            .chain(collected.flat_map(|collector| collector.deliveries))
            .chain(queued.flatten())
            .collect()
    }

    fn route(&self, delivery: &Delivery) -> Option<usize> {
        self.engine.routes.find(delivery.event().kind())
    }

    /// Starts the next deliveries of a lane that go to one handler, or removes an empty lane.
    fn advance(&mut self, lane: LaneKey, now: Instant) {
        let routes = &self.engine.routes;
        let Some(queue) = self.lanes.get_mut(&lane) else {
            return;
        };
        let Some(first) = queue.front() else {
            self.lanes.remove(&lane);
            return;
        };
        let entry = routes.find(first.event().kind());
        let together = queue
            .iter()
            .take_while(|delivery| routes.find(delivery.event().kind()) == entry)
            .count();
        let run = queue.drain(..together).collect();
        self.start(entry, run, vec![lane], now);
    }

    fn start(
        &mut self,
        entry: Option<usize>,
        mut run: Vec<Delivery>,
        mut lanes: Vec<LaneKey>,
        now: Instant,
    ) {
        let batch = entry.and_then(|at| match self.engine.routes.entry(at) {
            Some(Entry::Batch(_, options)) => Some((at, *options)),
            _ => None,
        });
        let Some((at, options)) = batch else {
            self.waiting.push_back(Work {
                entry,
                deliveries: run,
                lanes,
                is_batch: false,
            });
            return;
        };
        let collector = self.collectors.entry(at).or_insert_with(|| Collector {
            options,
            deliveries: Vec::new(),
            lanes: Vec::new(),
            due: now + options.max_wait,
        });
        let free = options.max.saturating_sub(collector.deliveries.len());
        let rest = run.split_off(free.min(run.len()));
        collector.deliveries.append(&mut run);
        // The rest of the key goes first after this batch: order per key.
        if let (false, Some(lane)) = (rest.is_empty(), lanes.first()) {
            let queue = self.lanes.entry(lane.clone()).or_default();
            for delivery in rest.into_iter().rev() {
                queue.push_front(delivery);
            }
        }
        collector.lanes.append(&mut lanes);
        if collector.deliveries.len() >= collector.options.max || options.max_wait.is_zero() {
            self.close_batch(at);
        }
    }

    fn close_batch(&mut self, entry: usize) {
        if let Some(collector) = self.collectors.remove(&entry) {
            self.waiting.push_back(Work {
                entry: Some(entry),
                deliveries: collector.deliveries,
                lanes: collector.lanes,
                is_batch: true,
            });
        }
    }
}
