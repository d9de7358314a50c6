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
        if let Some(earlier) = self.by_id.insert(message.id.clone(), number) {
            // It came again: the engine learns of the new receipt and forgets the earlier one.
            if let Some(held) = self.held.remove(&earlier) {
                self.bytes = self.bytes.saturating_sub(held.bytes);
                older = held.older;
                older.push(held.handle);
            }
            self.ready.retain(|(it, _)| it.id != message.id);
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
        self.ready.push_back((message, now));
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

#[cfg(test)]
mod tests {
    use aqueduct_core::{ErrorKind, Event};

    use super::*;

    type Named = Inbox<String>;

    fn inbox() -> Named {
        Inbox::new(Limits {
            messages: 4,
            bytes: 1_000,
            ordered: true,
        })
    }

    fn at(seconds: u64) -> Instant {
        Instant::after_origin(Duration::from_secs(seconds))
    }

    fn message(key: &str, id: &str, handle: &str) -> (QueueMessage, String) {
        let mut message = QueueMessage::new(id.into(), "".into(), Event::new("t"));
        message.order_key = Some(key.into()).filter(|key: &SmallStr| !key.is_empty());
        message.bytes = 10;
        (message, handle.to_owned())
    }

    fn receive(inbox: &Named) -> Vec<(String, SmallStr)> {
        let taken = inbox.take(10, at(0)).unwrap_or(Ok(Vec::new())).unwrap();
        taken
            .into_iter()
            .map(|it| (it.id.to_string(), it.receipt))
            .collect()
    }

    fn handles(held: Vec<Held<String>>) -> Vec<String> {
        held.into_iter().map(|it| it.handle).collect()
    }

    #[test]
    fn a_receipt_is_its_number() {
        for number in [0, 7, 10, 4_096, u64::MAX] {
            assert_eq!(receipt_of(number).as_str(), number.to_string());
        }
    }

    #[test]
    fn count_and_bytes_limit_what_is_taken_from_streams() {
        let inbox = inbox();
        assert_eq!(inbox.room(), 4);
        inbox.push(vec![message("a", "1", "h1"), message("", "2", "h2")], at(0));
        assert_eq!(inbox.room(), 2);
        let mut heavy = message("b", "3", "h3");
        heavy.0.bytes = 990;
        inbox.push(vec![heavy], at(0));
        assert_eq!(inbox.room(), 0, "by bytes");
        let taken = receive(&inbox);
        assert_eq!(inbox.room(), 0, "what is handled counts");
        let receipts: Vec<&SmallStr> = taken.iter().map(|it| &it.1).collect();
        assert!(
            inbox
                .settle(receipts.into_iter())
                .iter()
                .all(Option::is_some)
        );
        assert_eq!(inbox.room(), 4);
    }

    #[test]
    fn a_message_that_comes_again_has_one_receipt() {
        let inbox = inbox();
        inbox.push(vec![message("a", "1", "first")], at(0));
        let before = receive(&inbox);
        inbox.push(vec![message("a", "1", "second")], at(1));
        let again = receive(&inbox);
        assert_ne!(before[0].1, again[0].1);
        assert!(inbox.settle([&before[0].1].into_iter())[0].is_none());
        let held = inbox
            .settle([&again[0].1].into_iter())
            .pop()
            .flatten()
            .unwrap();
        assert_eq!(
            (held.handle, held.older),
            ("second".into(), vec!["first".into()])
        );
        inbox.push(vec![message("a", "2", "x"), message("a", "2", "y")], at(1));
        assert_eq!(receive(&inbox).len(), 1, "while it waits, too");
    }

    #[test]
    fn later_messages_of_a_key_that_was_given_back_wait_for_its_first() {
        let inbox = inbox();
        let of_a = |n: &str| message("a", n, n);
        inbox.push(vec![of_a("1"), of_a("2")], at(0));
        let seen = receive(&inbox);
        inbox.push(vec![of_a("3"), message("b", "4", "4")], at(0));
        let (known, released) = inbox.release(seen.iter().map(|it| &it.1), at(0));
        assert_eq!(known, [true, true]);
        assert_eq!(
            handles(released),
            ["1", "2", "3"],
            "what the engine has not seen as well"
        );
        assert_eq!(receive(&inbox)[0].0, "4");
        // Handed out before the service knew.
        assert_eq!(inbox.push(vec![of_a("5")], at(1)), ["5"]);
        assert!(inbox.push(vec![of_a("1"), of_a("2")], at(1)).is_empty());
        let again: Vec<_> = receive(&inbox).into_iter().map(|it| it.0).collect();
        assert_eq!(again, ["1", "2"]);
        // The first may come to another consumer.
        let (_, released) = inbox.release([&SmallStr::from("x")].into_iter(), at(1));
        assert!(released.is_empty());
    }

    #[test]
    fn a_key_whose_first_message_stays_away_flows_again() {
        let inbox = inbox();
        inbox.push(vec![message("a", "1", "1")], at(0));
        let seen = receive(&inbox);
        inbox.release([&seen[0].1].into_iter(), at(0));
        assert_eq!(inbox.push(vec![message("a", "2", "2")], at(4)).len(), 1);
        assert!(inbox.push(vec![message("a", "2", "2")], at(6)).is_empty());
    }

    #[test]
    fn what_is_behind_a_message_that_is_handled_stays_at_the_stop() {
        let inbox = inbox();
        inbox.push(vec![message("a", "1", "1")], at(0));
        receive(&inbox);
        let waiting = [("a", "2"), ("b", "3"), ("", "4")];
        inbox.push(waiting.map(|(key, id)| message(key, id, id)).into(), at(0));
        inbox.stop();
        assert!(inbox.is_stopped());
        assert_eq!(handles(inbox.take_unseen()), ["3", "4"]);
        assert_eq!(handles(inbox.take_all()), ["1", "2"]);
    }

    #[test]
    fn a_failure_is_reported_once_nothing_waits() {
        let inbox = inbox();
        inbox.fail(Error::new(ErrorKind::Denied, "no"));
        assert!(inbox.take(1, at(0)).unwrap().is_err());
        assert!(inbox.take(1, at(0)).is_none());
        inbox.fail(Error::new(ErrorKind::Denied, "no"));
        inbox.push(vec![message("a", "1", "1")], at(0));
        assert!(inbox.take(1, at(0)).unwrap().is_ok());
        assert!(inbox.take(1, at(0)).is_none(), "a stream works again");
    }
}
