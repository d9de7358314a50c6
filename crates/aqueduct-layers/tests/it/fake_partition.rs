use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aqueduct_core::{
    Abandoned, Assignment, BatchConsumer, Capabilities, Claims, ConsumerStatus, Delivery, Error,
    ErrorKind, Event, Instant, Limits, Parts, Position, Result, Revocation, Revocations, Runtime,
    Settlement, Settler, Settling,
};
use async_trait::async_trait;

/// One partition that redelivers in place and hands out runs, as the group does.
pub(crate) struct FakePartition {
    shared: Arc<Shared>,
}

struct Shared {
    runtime: Runtime,
    assignment: Assignment,
    revocations: Revocations,
    changed: event_listener::Event,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    items: Vec<Item>,
    tickets: u64,
    ended: bool,
    lost: bool,
    defers: usize,
    /// A queue has no positions.
    queue: bool,
}

struct Item {
    event: Event,
    attempt: u32,
    place: Place,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Ready(Instant),
    Out(u64),
    Done,
}

impl FakePartition {
    pub(crate) fn new(runtime: &Runtime, events: Vec<Event>) -> Arc<Self> {
        Self::assigned(runtime, events, "billing", 1)
    }

    pub(crate) fn assigned(
        runtime: &Runtime,
        events: Vec<Event>,
        group: &str,
        generation: u64,
    ) -> Arc<Self> {
        let items = events.into_iter().map(|event| Item {
            event,
            attempt: 1,
            place: Place::Ready(Instant::default()),
        });
        let state = State {
            items: items.collect(),
            ..State::default()
        };
        Arc::new(Self {
            shared: Arc::new(Shared {
                runtime: runtime.clone(),
                assignment: Assignment {
                    stream: "orders".into(),
                    group: group.into(),
                    partition: Some("0".into()),
                    generation,
                    replay: 0,
                },
                revocations: Revocations::new(),
                changed: event_listener::Event::new(),
                state: Mutex::new(state),
            }),
        })
    }

    /// A queue: no partition, no positions.
    pub(crate) fn queue(runtime: &Runtime, events: Vec<Event>) -> Arc<Self> {
        let fake = Self::new(runtime, events);
        let mut shared = Arc::into_inner(fake).unwrap().shared;
        let inner = Arc::get_mut(&mut shared).unwrap();
        inner.assignment.partition = None;
        inner.assignment.generation = 0;
        inner.state.lock().unwrap().queue = true;
        Arc::new(Self { shared })
    }

    pub(crate) fn push(&self, event: Event) {
        self.shared.state.lock().unwrap().items.push(Item {
            event,
            attempt: 1,
            place: Place::Ready(Instant::default()),
        });
        self.shared.changed.notify(usize::MAX);
    }

    /// Sets the state after a restart whose store knows of `attempt` attempts.
    pub(crate) fn set_attempt(&self, at: usize, attempt: u32) {
        self.shared.state.lock().unwrap().items[at].attempt = attempt;
    }

    /// Returns the ids of the unsettled events.
    pub(crate) fn unsettled(&self) -> Vec<String> {
        let state = self.shared.state.lock().unwrap();
        let open = state.items.iter().filter(|item| item.place != Place::Done);
        open.map(|item| item.event.id().to_string()).collect()
    }

    /// Loses the lease: nothing may be settled any more.
    pub(crate) fn lose(&self) {
        self.shared.state.lock().unwrap().lost = true;
        self.shared.revocations.notify();
    }

    /// Returns how often a delivery was deferred.
    pub(crate) fn defers(&self) -> usize {
        self.shared.state.lock().unwrap().defers
    }

    /// Makes `receive_batch` return nothing once all is settled.
    pub(crate) fn end(&self) {
        self.shared.state.lock().unwrap().ended = true;
        self.shared.changed.notify(usize::MAX);
    }
}

impl Shared {
    /// Returns the deliveries that may go out now, or when to look again.
    fn take(self: &Arc<Self>, max: usize) -> Result<Vec<Delivery>, Option<Instant>> {
        let now = self.runtime.now();
        let mut state = self.state.lock().unwrap();
        if state.ended && state.items.iter().all(|it| it.place == Place::Done) {
            return Ok(Vec::new());
        }
        let mut held = BTreeSet::new();
        let mut next: Option<Instant> = None;
        let mut batch = Vec::new();
        let State {
            items,
            tickets,
            queue,
            ..
        } = &mut *state;
        for (at, item) in items.iter_mut().enumerate() {
            let key = item.event.key().map(str::to_owned);
            match item.place {
                Place::Ready(from)
                    if from <= now
                        && batch.len() < max
                        && !key.iter().any(|it| held.contains(it)) =>
                {
                    *tickets += 1;
                    item.place = Place::Out(*tickets);
                    let mut parts = Parts::new(item.event.clone(), *tickets);
                    parts.position = (!*queue).then(|| Position::new(at as u64));
                    parts.attempt = item.attempt;
                    batch.push(Delivery::new(parts, self.clone()));
                }
                Place::Done => {}
                place => {
                    held.extend(key);
                    if let Place::Ready(from) = place
                        && from > now
                    {
                        next = Some(next.map_or(from, |it| it.min(from)));
                    }
                }
            }
        }
        if batch.is_empty() {
            Err(next)
        } else {
            Ok(batch)
        }
    }

    fn put_back(&self, parts: &Parts, delay: Duration, attempts: u32) -> Result<()> {
        let now = self.runtime.now();
        let mut state = self.state.lock().unwrap();
        let at = find(&state, parts).map_err(Revocation::to_error)?;
        state.items[at].place = Place::Ready(now + delay);
        state.items[at].attempt += attempts;
        let key = state.items[at].event.key().map(str::to_owned);
        for later in &mut state.items[at + 1..] {
            if key.is_some()
                && later.event.key() == key.as_deref()
                && matches!(later.place, Place::Out(_))
            {
                later.place = Place::Ready(now);
            }
        }
        drop(state);
        self.revocations.notify();
        self.changed.notify(usize::MAX);
        Ok(())
    }
}

fn find(state: &State, parts: &Parts) -> Result<usize, Revocation> {
    if state.lost {
        return Err(Revocation::Lost);
    }
    let out = Place::Out(parts.ticket);
    let at = state.items.iter().position(|item| item.place == out);
    at.ok_or(Revocation::Superseded)
}

impl Settler for Shared {
    fn assignment(&self) -> &Assignment {
        &self.assignment
    }

    fn settle<'a>(&'a self, parts: &'a Parts, settlement: Settlement) -> Settling<'a> {
        Settling::Ready(match settlement {
            Settlement::Ack => {
                let mut state = self.state.lock().unwrap();
                find(&state, parts).map_err(Revocation::to_error).map(|at| {
                    state.items[at].place = Place::Done;
                    self.changed.notify(usize::MAX);
                })
            }
            Settlement::Nack { delay, .. } => {
                self.put_back(parts, delay.unwrap_or(Duration::from_millis(100)), 1)
            }
            Settlement::Defer { delay } => {
                self.state.lock().unwrap().defers += 1;
                self.put_back(parts, delay, 0)
            }
            _ => Err(Error::new(ErrorKind::Unsupported, "no dead letters")),
        })
    }

    fn extend<'a>(&'a self, _: &'a Parts, _: Duration) -> Settling<'a> {
        Settling::Ready(Ok(()))
    }

    fn revocation(&self, parts: &Parts) -> Option<Revocation> {
        let state = self.state.lock().unwrap();
        find(&state, parts).err()
    }

    fn revocations(&self) -> &Revocations {
        &self.revocations
    }

    fn abandon(&self, parts: &Parts, why: Abandoned) {
        let failed = u32::from(why == Abandoned::Dropped);
        let _ = self.put_back(parts, Duration::from_millis(100), failed);
    }
}

#[async_trait]
impl BatchConsumer for FakePartition {
    async fn receive_batch(&self, max: usize) -> Result<Vec<Delivery>> {
        loop {
            let changed = self.shared.changed.listen();
            match self.shared.take(max) {
                Ok(batch) => return Ok(batch),
                Err(None) => changed.await,
                Err(Some(at)) => {
                    let due = self.shared.runtime.sleep_until(at);
                    futures::future::select(due, changed).await;
                }
            }
        }
    }

    async fn drain(&self) -> Result<()> {
        Ok(())
    }

    async fn flush(&self) -> Result<()> {
        Ok(())
    }

    async fn close(&self) -> Result<()> {
        Ok(())
    }

    fn pause(&self, _: bool) {}

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            claims: Claims::none(),
            limits: Limits::default(),
        }
    }

    fn status(&self) -> ConsumerStatus {
        ConsumerStatus::default()
    }
}
