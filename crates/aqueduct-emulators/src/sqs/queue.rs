use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use aqueduct_core::Instant;
use serde_json::Value;

use super::fault::Fault;
use super::message::{Message, NewMessage};

/// How long a FIFO queue remembers deduplication ids and receive request attempts.
const REMEMBERED: Duration = Duration::from_secs(300);

/// The service's limit for the time that a message stays in flight.
const LONGEST: Duration = Duration::from_secs(43_200);

/// One queue.
pub(super) struct Queue {
    pub(super) name: String,
    pub(super) fifo: bool,
    pub(super) arn: String,
    pub(super) attributes: BTreeMap<String, String>,
    pub(super) tags: BTreeMap<String, String>,
    pub(super) created: i64,
    messages: BTreeMap<u64, Message>,
    next: u64,
    /// The visible messages of a standard queue.
    visible: BTreeSet<u64>,
    hidden: BTreeSet<(Instant, u64)>,
    /// The message groups of a FIFO queue.
    groups: BTreeMap<String, Group>,
    /// The groups that are not locked, by the sequence number of their first message.
    heads: BTreeSet<(u64, String)>,
    deduplicated: BTreeMap<String, (Instant, String, u64)>,
    receipts: BTreeMap<String, (Instant, Vec<(u64, String)>)>,
    /// The number of deduplication ids at which expired ones are removed.
    sweep_at: usize,
}

#[derive(Default)]
struct Group {
    visible: BTreeSet<u64>,
    in_flight: usize,
    head: Option<u64>,
}

/// The parameters of a receive request.
pub(super) struct Asked {
    pub(super) max: usize,
    pub(super) visibility: Duration,
    pub(super) attempt: Option<String>,
    pub(super) in_flight_limit: usize,
    pub(super) short: bool,
}

impl Queue {
    pub(super) fn new(name: &str, arn: String, created: i64) -> Self {
        Self {
            name: name.to_owned(),
            fifo: name.ends_with(".fifo"),
            arn,
            attributes: BTreeMap::new(),
            tags: BTreeMap::new(),
            created,
            messages: BTreeMap::new(),
            next: 1,
            visible: BTreeSet::new(),
            hidden: BTreeSet::new(),
            groups: BTreeMap::new(),
            heads: BTreeSet::new(),
            deduplicated: BTreeMap::new(),
            receipts: BTreeMap::new(),
            sweep_at: 1_000,
        }
    }

    pub(super) fn number(&self, attribute: &str, default: u64) -> u64 {
        self.attributes
            .get(attribute)
            .and_then(|text| text.parse().ok())
            .unwrap_or(default)
    }

    /// Returns the number of visible, in-flight and delayed messages.
    pub(super) fn counts(&mut self, now: Instant) -> [usize; 3] {
        self.show_due(now);
        let flying = self.in_flight();
        let hidden = self.hidden.len();
        [self.messages.len() - hidden, flying, hidden - flying]
    }

    /// Returns the ARN of its dead letter queue and the maximum receive count.
    pub(super) fn redrive(&self) -> Option<(String, u32)> {
        let policy: Value = serde_json::from_str(self.attributes.get("RedrivePolicy")?).ok()?;
        let count = &policy["maxReceiveCount"];
        let count = count.as_u64().or_else(|| count.as_str()?.parse().ok())?;
        let target = policy["deadLetterTargetArn"].as_str()?;
        Some((target.to_owned(), u32::try_from(count).ok()?))
    }

    /// Returns when the next hidden message becomes visible.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.hidden.first().map(|(at, _)| *at)
    }

    pub(super) fn purge(&mut self) {
        self.messages.clear();
        self.visible.clear();
        self.hidden.clear();
        self.groups.clear();
        self.heads.clear();
        self.receipts.clear();
    }

    /// Stores a message; returns its id and sequence number.
    pub(super) fn send(
        &mut self,
        new: NewMessage,
        id: String,
        now: Instant,
        wall: i64,
    ) -> Result<(String, u64), Fault> {
        let size = new.size();
        let limit = self.number("MaximumMessageSize", 1 << 20);
        if size as u64 > limit {
            return Err(Fault::invalid(format!(
                "One or more parameters are invalid. Reason: Message must be shorter than {limit} \
                 bytes."
            )));
        }
        let mut dedup = None;
        if self.fifo {
            if new.group.is_none() {
                return Err(Fault::missing("MessageGroupId"));
            }
            if new.delay.is_some_and(|delay| delay > 0) {
                return Err(Fault::invalid(
                    "Value for parameter DelaySeconds is invalid. Reason: The request include \
                     parameter that is not valid for this queue type.",
                ));
            }
            let by_content = self.attributes.get("ContentBasedDeduplication");
            let id_of_content = || {
                by_content
                    .filter(|it| *it == "true")
                    .map(|_| super::digest::of_body(&new.body))
            };
            dedup = new.dedup.clone().or_else(id_of_content);
            if dedup.is_none() {
                return Err(Fault::invalid(
                    "The queue should either have ContentBasedDeduplication enabled or \
                     MessageDeduplicationId provided explicitly",
                ));
            }
        } else if new.dedup.is_some() {
            return Err(Fault::invalid(
                "Value for parameter MessageDeduplicationId is invalid. Reason: The request \
                 include parameter that is not valid for this queue type.",
            ));
        }
        if let Some(dedup) = &dedup {
            if self.deduplicated.len() >= self.sweep_at {
                self.deduplicated
                    .retain(|_, (at, ..)| now.since(*at) < REMEMBERED);
                self.sweep_at = 2 * self.deduplicated.len().max(500);
            }
            let by_group = self
                .attributes
                .get("DeduplicationScope")
                .is_some_and(|it| it == "messageGroup");
            let scope = match by_group {
                true => format!("{}\n{dedup}", new.group.as_deref().unwrap_or_default()),
                false => dedup.clone(),
            };
            if let Some((at, id, sequence)) = self.deduplicated.get(&scope)
                && now.since(*at) < REMEMBERED
            {
                return Ok((id.clone(), *sequence));
            }
            self.deduplicated
                .insert(scope, (now, id.clone(), self.next));
        }
        let delay = new.delay.unwrap_or_else(|| self.number("DelaySeconds", 0));
        let message = Message {
            id: id.clone(),
            body: new.body,
            attributes: new.attributes,
            sent: wall,
            group: new.group,
            dedup,
            hidden_until: (delay > 0).then(|| now + Duration::from_secs(delay)),
            in_flight: false,
            received: 0,
            first_received: None,
            received_at: now,
            handle: None,
            moved_from: None,
        };
        Ok((id, self.put(message)))
    }

    /// Stores a message that was moved from another queue.
    pub(super) fn take_over(&mut self, mut message: Message, from: &str) {
        message.hidden_until = None;
        message.in_flight = false;
        message.handle = None;
        message.moved_from = Some(from.to_owned());
        self.put(message);
    }

    /// Receives up to `max` messages. Also returns those that exceed the maximum receive count, for
    /// the dead letter queue.
    pub(super) fn receive(
        &mut self,
        asked: &Asked,
        now: Instant,
        wall: i64,
        mut random: impl FnMut() -> u64,
    ) -> Result<(Vec<u64>, Vec<Message>), Fault> {
        self.show_due(now);
        if let Some(again) = self.receipt_again(asked, now) {
            return Ok((again, Vec::new()));
        }
        if self.in_flight() >= asked.in_flight_limit {
            return match asked.short && !self.fifo {
                true => Err(Fault::new("OverLimit", "Too many messages in flight.")),
                false => Ok((Vec::new(), Vec::new())),
            };
        }
        let redrive = self.redrive();
        let (mut received, mut moved) = (Vec::new(), Vec::new());
        let mut mine: BTreeSet<String> = BTreeSet::new();
        while received.len() < asked.max {
            let Some(sequence) = self.candidate(&mine, &mut random) else {
                break;
            };
            self.unlist(sequence);
            let Some(message) = self.messages.get_mut(&sequence) else {
                break;
            };
            if let Some((_, most)) = &redrive
                && message.received >= *most
            {
                let group = message.group.clone();
                moved.extend(self.messages.remove(&sequence));
                self.reindex(group.as_deref());
                continue;
            }
            message.received += 1;
            message.first_received.get_or_insert(wall);
            message.received_at = now;
            message.handle = Some(format!("{:016x}{:016x}", random(), random()));
            message.in_flight = true;
            let until = now + asked.visibility;
            message.hidden_until = Some(until);
            self.hidden.insert((until, sequence));
            if let Some(name) = self.fifo.then(|| message.group.clone()).flatten() {
                self.groups.entry(name.clone()).or_default().in_flight += 1;
                self.reindex(Some(&name));
                mine.insert(name);
            }
            received.push(sequence);
        }
        if self.fifo
            && let Some(attempt) = &asked.attempt
            && !received.is_empty()
        {
            let handles = received
                .iter()
                .filter_map(|at| Some((*at, self.messages.get(at)?.handle.clone()?)))
                .collect();
            self.receipts.insert(attempt.clone(), (now, handles));
        }
        Ok((received, moved))
    }

    pub(super) fn message(&self, sequence: u64) -> Option<&Message> {
        self.messages.get(&sequence)
    }

    /// Deletes a message by its newest receipt handle; an older handle is ignored without an error.
    pub(super) fn delete(&mut self, handle: &str, now: Instant) -> Result<(), Fault> {
        check_handle(handle)?;
        self.show_due(now);
        let Some(sequence) = self.find(handle) else {
            return Ok(());
        };
        let in_flight = self.messages.get(&sequence).is_some_and(|it| it.in_flight);
        if self.fifo && !in_flight {
            return Err(expired(handle));
        }
        self.unlist(sequence);
        if let Some(message) = self.messages.remove(&sequence) {
            self.landed(&message);
        }
        Ok(())
    }

    pub(super) fn change_visibility(
        &mut self,
        handle: &str,
        timeout: u64,
        now: Instant,
    ) -> Result<(), Fault> {
        check_handle(handle)?;
        self.show_due(now);
        let Some(sequence) = self.find(handle) else {
            return Err(expired(handle));
        };
        let Some(message) = self.messages.get(&sequence) else {
            return Err(expired(handle));
        };
        if !message.in_flight {
            return Err(Fault::new(
                "MessageNotInflight",
                format!(
                    "Value {handle} for parameter ReceiptHandle is invalid. Reason: Message \
                         does not exist or is not available for visibility timeout change."
                ),
            ));
        }
        let until = now + Duration::from_secs(timeout);
        if timeout > LONGEST.as_secs() || until > message.received_at + LONGEST {
            return Err(Fault::invalid(format!(
                "Value {timeout} for parameter VisibilityTimeout is invalid. Reason: Total \
                 VisibilityTimeout for the message is beyond the limit [43200 seconds]."
            )));
        }
        self.unlist(sequence);
        if let Some(message) = self.messages.get_mut(&sequence) {
            message.hidden_until = Some(until);
        }
        self.hidden.insert((until, sequence));
        self.show_due(now);
        Ok(())
    }

    fn in_flight(&self) -> usize {
        match self.fifo {
            true => self.groups.values().map(|group| group.in_flight).sum(),
            false => self
                .hidden
                .iter()
                .filter(|(_, at)| self.messages.get(at).is_some_and(|it| it.in_flight))
                .count(),
        }
    }

    fn put(&mut self, message: Message) -> u64 {
        let sequence = self.next;
        self.next += 1;
        let (group, hidden) = (message.group.clone(), message.hidden_until);
        self.messages.insert(sequence, message);
        match hidden {
            Some(until) => {
                self.hidden.insert((until, sequence));
            }
            None => self.list(sequence, group.as_deref()),
        }
        sequence
    }

    /// Repeats the result of an earlier receive with the same attempt id, unless a message changed.
    fn receipt_again(&mut self, asked: &Asked, now: Instant) -> Option<Vec<u64>> {
        self.receipts
            .retain(|_, (at, _)| now.since(*at) < REMEMBERED);
        let (_, handles) = self.receipts.get(asked.attempt.as_ref()?)?;
        let unchanged = |(at, handle): &(u64, String)| {
            let message = self.messages.get(at);
            message.is_some_and(|it| it.in_flight && it.handle.as_ref() == Some(handle))
        };
        if !handles.iter().all(unchanged) {
            return None;
        }
        let again: Vec<u64> = handles.iter().map(|(at, _)| *at).collect();
        let until = now + asked.visibility;
        for sequence in &again {
            self.unlist(*sequence);
            if let Some(message) = self.messages.get_mut(sequence) {
                message.hidden_until = Some(until);
            }
            self.hidden.insert((until, *sequence));
        }
        Some(again)
    }

    /// Returns the next message to receive. In a FIFO queue this is the first of a group that is
    /// free or locked by this receive, in a standard queue one of the oldest at random.
    fn candidate(&self, mine: &BTreeSet<String>, random: &mut impl FnMut() -> u64) -> Option<u64> {
        if !self.fifo {
            let window = self.visible.len().min(12) as u64;
            let at = if window == 0 { 0 } else { random() % window };
            return self.visible.iter().nth(at as usize).copied();
        }
        let more = mine
            .iter()
            .filter_map(|name| self.groups.get(name)?.visible.first().copied())
            .min();
        more.or_else(|| self.heads.first().map(|(at, _)| *at))
    }

    fn find(&self, handle: &str) -> Option<u64> {
        self.messages
            .iter()
            .find(|(_, it)| it.handle.as_deref() == Some(handle))
            .map(|(at, _)| *at)
    }

    fn show_due(&mut self, now: Instant) {
        while let Some(&(at, sequence)) = self.hidden.first()
            && at <= now
        {
            self.hidden.pop_first();
            let Some(message) = self.messages.get_mut(&sequence) else {
                continue;
            };
            message.hidden_until = None;
            let group = message.group.clone();
            if std::mem::take(&mut message.in_flight) && self.fifo {
                self.land(group.as_deref());
            }
            self.list(sequence, group.as_deref());
        }
    }

    fn landed(&mut self, message: &Message) {
        if self.fifo && message.in_flight {
            self.land(message.group.as_deref());
            self.reindex(message.group.as_deref());
        }
    }

    fn land(&mut self, group: Option<&str>) {
        if let Some(group) = group.and_then(|name| self.groups.get_mut(name)) {
            group.in_flight = group.in_flight.saturating_sub(1);
        }
    }

    fn list(&mut self, sequence: u64, group: Option<&str>) {
        match (self.fifo, group) {
            (true, Some(name)) => {
                let group = self.groups.entry(name.to_owned()).or_default();
                group.visible.insert(sequence);
                self.reindex(Some(name));
            }
            _ => {
                self.visible.insert(sequence);
            }
        }
    }

    /// Removes a message from every index.
    fn unlist(&mut self, sequence: u64) {
        let Some(message) = self.messages.get(&sequence) else {
            return;
        };
        if let Some(until) = message.hidden_until {
            self.hidden.remove(&(until, sequence));
        }
        self.visible.remove(&sequence);
        let group = message.group.clone();
        if let Some(group) = group.as_ref().and_then(|name| self.groups.get_mut(name)) {
            group.visible.remove(&sequence);
        }
        self.reindex(group.as_deref());
    }

    fn reindex(&mut self, name: Option<&str>) {
        let Some(name) = name.filter(|_| self.fifo) else {
            return;
        };
        let Some(group) = self.groups.get_mut(name) else {
            return;
        };
        let head = match group.in_flight {
            0 => group.visible.first().copied(),
            _ => None,
        };
        let old = std::mem::replace(&mut group.head, head);
        let over = group.in_flight == 0 && group.visible.is_empty();
        if let Some(old) = old {
            self.heads.remove(&(old, name.to_owned()));
        }
        if let Some(head) = head {
            self.heads.insert((head, name.to_owned()));
        }
        if over {
            self.groups.remove(name);
        }
    }
}

fn check_handle(handle: &str) -> Result<(), Fault> {
    match handle.len() == 32 && handle.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        true => Ok(()),
        false => Err(Fault::new(
            "ReceiptHandleIsInvalid",
            format!("The input receipt handle \"{handle}\" is not a valid receipt handle."),
        )),
    }
}

fn expired(handle: &str) -> Fault {
    Fault::invalid(format!(
        "Value {handle} for parameter ReceiptHandle is invalid. Reason: The receipt handle has \
         expired."
    ))
}
