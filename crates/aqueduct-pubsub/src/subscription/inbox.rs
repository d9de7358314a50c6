#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aqueduct_core::{Error, Instant, QueueMessage, Result, SmallStr};
use event_listener::{Event as Signal, EventListener};

/// How long a key whose messages were given back waits for its first message to come again, before
/// later ones are taken in its place: another consumer may have it.
const FENCE: Duration = Duration::from_secs(5);

/// The messages of all streams: those that wait here for the engine, and the handles of all that are
/// not settled.
///
/// `H` is the client's handle of a message: dropping it gives the message back.
pub(super) struct Inbox<H> {
    state: Mutex<State<H>>,
    limits: Limits,
    /// Wakes those who wait for messages.
    arrived: Signal,
    /// Wakes streams that wait for room, or to stop.
    room: Signal,
}

/// The limits of what is in flight.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) messages: usize,
    pub(super) bytes: usize,
    pub(super) ordered: bool,
}

struct State<H> {
    ready: VecDeque<(QueueMessage, Instant)>,
    held: HashMap<u64, Held<H>>,
    by_id: HashMap<SmallStr, u64>,
    fences: HashMap<SmallStr, Fence>,
    bytes: usize,
    next: u64,
    failure: Option<Error>,
    stopped: bool,
}

/// A message that is not settled.
pub(super) struct Held<H> {
    id: SmallStr,
    order_key: Option<SmallStr>,
    bytes: usize,
    pub(super) handle: H,
    /// The handles of earlier deliveries: giving one back would let the message come once more.
    pub(super) older: Vec<H>,
}

/// A key whose messages were given back, until the first of them comes again.
struct Fence {
    head: SmallStr,
    until: Instant,
}

impl<H> Inbox<H> {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            state: Mutex::new(State {
                ready: VecDeque::new(),
                held: HashMap::new(),
                by_id: HashMap::new(),
                fences: HashMap::new(),
                bytes: 0,
                next: 0,
                failure: None,
                stopped: false,
            }),
            limits,
            arrived: Signal::new(),
            room: Signal::new(),
        }
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.state().stopped
    }

    /// Returns how many more messages fit; zero if there is no room.
    pub(super) fn room(&self) -> usize {
        let state = self.state();
        match state.bytes >= self.limits.bytes {
            true => 0,
            false => self.limits.messages.saturating_sub(state.held.len()),
        }
    }

    /// Returns what is woken by room and by the stop.
    pub(super) fn room_changes(&self) -> EventListener {
        self.room.listen()
    }

    /// Returns what is woken by messages, failures and the stop.
    pub(super) fn arrivals(&self) -> EventListener {
        self.arrived.listen()
    }

    /// Adds messages in the order of their stream. Returns the handles to give back: those of keys
    /// that wait for an earlier message.
    pub(super) fn push(&self, messages: Vec<(QueueMessage, H)>, now: Instant) -> Vec<H> {
        let mut back = Vec::new();
        let mut state = self.state();
        for (message, handle) in messages {
            if state.is_fenced(&message, now) {
                back.push(handle);
            } else {
                state.add(message, handle, now);
            }
        }
        state.failure = None;
        drop(state);
        self.arrived.notify(usize::MAX);
        back
    }

    /// Takes up to `max` messages, or the failure of a stream; `None` if there is neither.
    pub(super) fn take(&self, max: usize, now: Instant) -> Option<Result<Vec<QueueMessage>>> {
        let mut state = self.state();
        if state.ready.is_empty() {
            return state.failure.take().map(Err);
        }
        let count = max.min(state.ready.len());
        let taken = state.ready.drain(..count).map(|(mut message, received)| {
            message.held = now.since(received);
            message
        });
        Some(Ok(taken.collect()))
    }

    /// Takes out the handles of messages by their receipts; `None` for one that is not held.
    pub(super) fn settle<'a>(
        &self,
        receipts: impl Iterator<Item = &'a SmallStr>,
    ) -> Vec<Option<Held<H>>> {
        let mut state = self.state();
        let settled = receipts.map(|receipt| state.remove(receipt.parse().ok()?));
        let settled = settled.collect();
        drop(state);
        self.room.notify(usize::MAX);
        settled
    }

    /// Takes out the handles of messages to give back, in the order of the receipts, and behind them
    /// those of the same keys that the engine has not seen.
    pub(super) fn release<'a>(
        &self,
        receipts: impl Iterator<Item = &'a SmallStr>,
        now: Instant,
    ) -> (Vec<bool>, Vec<Held<H>>) {
        let mut state = self.state();
        let mut known = Vec::new();
        let mut released = Vec::new();
        let mut keys = HashSet::new();
        for receipt in receipts {
            let held = receipt.parse().ok().and_then(|number| state.remove(number));
            known.push(held.is_some());
            let Some(held) = held else { continue };
            if let Some(key) = held.order_key.as_ref().filter(|_| self.limits.ordered) {
                state.fence(key, &held.id, now);
                keys.insert(key.clone());
            }
            released.push(held);
        }
        released.extend(state.take_ready(|key| key.is_some_and(|key| keys.contains(key))));
        drop(state);
        self.room.notify(usize::MAX);
        (known, released)
    }

    /// Notes that a stream failed.
    pub(super) fn fail(&self, error: Error) {
        self.state().failure = Some(error);
        self.arrived.notify(usize::MAX);
    }

    /// Ends the flow: streams stop.
    pub(super) fn stop(&self) {
        self.state().stopped = true;
        self.room.notify(usize::MAX);
        self.arrived.notify(usize::MAX);
    }

    /// Takes out the messages that the engine has not seen and that no earlier one of their key, which
    /// it has, must precede.
    pub(super) fn take_unseen(&self) -> Vec<Held<H>> {
        let mut state = self.state();
        let unseen: HashSet<u64> = state
            .ready
            .iter()
            .filter_map(|(message, _)| message.receipt.parse().ok())
            .collect();
        let seen: HashSet<SmallStr> = state
            .held
            .iter()
            .filter(|(number, _)| self.limits.ordered && !unseen.contains(number))
            .filter_map(|(_, held)| held.order_key.clone())
            .collect();
        state.take_ready(|key| key.is_none_or(|key| !seen.contains(key)))
    }

    /// Takes out everything, oldest first.
    pub(super) fn take_all(&self) -> Vec<Held<H>> {
        let mut state = self.state();
        state.ready.clear();
        let mut numbers: Vec<u64> = state.held.keys().copied().collect();
        numbers.sort_unstable();
        numbers
            .into_iter()
            .filter_map(|it| state.remove(it))
            .collect()
    }

    fn state(&self) -> MutexGuard<'_, State<H>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<H> State<H> {
    fn add(&mut self, mut message: QueueMessage, handle: H, now: Instant) {
        let number = self.next;
        self.next += 1;
        message.receipt = receipt_of(number);
        let mut older = Vec::new();
        let mut waits = false;
        if let Some(earlier) = self.by_id.insert(message.id.clone(), number) {
            if let Some(held) = self.held.remove(&earlier) {
                self.bytes = self.bytes.saturating_sub(held.bytes);
                older = held.older;
                older.push(held.handle);
            }
            // It came again. While it waits it keeps its place, before later ones of its key; the
            // engine learns of the new receipt and forgets the earlier one.
            if let Some((waiting, received)) =
                self.ready.iter_mut().find(|(it, _)| it.id == message.id)
            {
                waiting.receipt = message.receipt.clone();
                waiting.receipts = message.receipts;
                *received = now;
                waits = true;
            }
        }
        self.bytes += message.bytes;
        let held = Held {
            id: message.id.clone(),
            order_key: message.order_key.clone(),
            bytes: message.bytes,
            handle,
            older,
        };
        self.held.insert(number, held);
        if !waits {
            self.ready.push_back((message, now));
        }
    }

    fn remove(&mut self, number: u64) -> Option<Held<H>> {
        let held = self.held.remove(&number)?;
        self.bytes = self.bytes.saturating_sub(held.bytes);
        self.by_id.remove(&held.id);
        Some(held)
    }

    /// Takes out the waiting messages whose key satisfies `is`.
    fn take_ready(&mut self, is: impl Fn(Option<&SmallStr>) -> bool) -> Vec<Held<H>> {
        let mut taken = Vec::new();
        self.ready.retain(|(message, _)| {
            let take = is(message.order_key.as_ref());
            if take {
                taken.extend(message.receipt.parse::<u64>().ok());
            }
            !take
        });
        taken.into_iter().filter_map(|it| self.remove(it)).collect()
    }

    fn fence(&mut self, key: &SmallStr, head: &SmallStr, now: Instant) {
        if self.fences.len() > 1_000 {
            self.fences.retain(|_, fence| fence.until > now);
        }
        self.fences.entry(key.clone()).or_insert_with(|| Fence {
            head: head.clone(),
            until: now + FENCE,
        });
    }

    /// Returns whether a message was handed out before the first of its key came again.
    fn is_fenced(&mut self, message: &QueueMessage, now: Instant) -> bool {
        if self.fences.is_empty() {
            return false;
        }
        let Some(key) = &message.order_key else {
            return false;
        };
        match self.fences.get(key) {
            Some(fence) if fence.head != message.id && fence.until > now => true,
            Some(_) => {
                self.fences.remove(key);
                false
            }
            None => false,
        }
    }
}

/// Writes a number without an allocation.
fn receipt_of(mut number: u64) -> SmallStr {
    let mut digits = [b'0'; 20];
    let mut first = digits.len();
    loop {
        first -= 1;
        digits[first] += (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    SmallStr::from(std::str::from_utf8(&digits[first..]).unwrap_or_default())
}
