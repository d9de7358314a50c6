use std::collections::VecDeque;

use aqueduct_core::{Assignment, Event, Parts, SmallStr, StreamName};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use futures::stream::{self, StreamExt as _};

use super::engine::Engine;
use super::outcome::Outcome;
use super::routes::Entry;

/// Handles events that were not received by a consumer: those of one key in order, others
/// concurrently.
pub(super) async fn handle(engine: &Engine, events: Vec<Event>) -> Vec<Outcome> {
    let assignment = Assignment {
        stream: StreamName::new(SmallStr::literal("direct")),
        group: engine.group.clone(),
        partition: None,
        generation: 0,
        replay: 0,
    };
    let parts: Vec<_> = (0..)
        .zip(events)
        .map(|(at, event)| Parts::new(event, at))
        .collect();
    let mut outcomes: Vec<Option<Outcome>> = vec![None; parts.len()];
    let mut lanes = lanes(&parts);
    while lanes.iter().any(|lane| !lane.is_empty()) {
        let work = round(engine, &parts, &mut lanes);
        let mut done = stream::iter(work)
            .map(|work| run(engine, &parts, &assignment, work))
            .buffer_unordered(engine.policy.concurrency.max(1));
        while let Some(finished) = done.next().await {
            for (at, outcome) in finished {
                if let Some(place) = outcomes.get_mut(at) {
                    *place = Some(outcome);
                }
            }
        }
        // After a retry the rest of the key is retried too: handling it would break order (rule 2).
        for lane in &mut lanes {
            let Some(&next) = lane.front() else {
                continue;
            };
            let key = parts.get(next).and_then(|it| it.event.key_text());
            let retried = |(at, it): (usize, &Parts)| {
                let outcome = outcomes.get(at).and_then(Option::as_ref);
                it.event.key_text() == key && matches!(outcome, Some(Outcome::Retry { .. }))
            };
            if parts.iter().enumerate().any(retried) {
                lane.clear();
            }
        }
    }
    outcomes
        .into_iter()
        .map(|outcome| outcome.unwrap_or(Outcome::retry()))
        .collect()
}

/// Events by index, for one call of a batch handler or consecutive calls of a handler.
enum Work {
    Run(Option<usize>, Vec<usize>),
    Batch(usize, Vec<usize>),
}

/// Groups events by key, in order; an event without a key is alone.
fn lanes(parts: &[Parts]) -> Vec<VecDeque<usize>> {
    let mut by_key = std::collections::BTreeMap::<SmallStr, usize>::new();
    let mut lanes: Vec<VecDeque<usize>> = Vec::new();
    for (at, part) in parts.iter().enumerate() {
        let known = part.event.key_text().map(|key| {
            let next = lanes.len();
            *by_key.entry(key.clone()).or_insert(next)
        });
        match known.and_then(|lane| lanes.get_mut(lane)) {
            Some(lane) => lane.push_back(at),
            None => lanes.push(VecDeque::from([at])),
        }
    }
    lanes
}

/// Takes from each lane the events at its front that go to one handler.
fn round(engine: &Engine, parts: &[Parts], lanes: &mut [VecDeque<usize>]) -> Vec<Work> {
    let route = |at: &usize| {
        parts
            .get(*at)
            .and_then(|it| engine.routes.find(it.event.kind()))
    };
    let mut work = Vec::new();
    let mut batches = std::collections::BTreeMap::<usize, Vec<usize>>::new();
    for lane in lanes.iter_mut().filter(|lane| !lane.is_empty()) {
        let entry = lane.front().and_then(route);
        let together = lane.iter().take_while(|at| route(at) == entry).count();
        let run: Vec<_> = lane.drain(..together).collect();
        match entry.and_then(|at| Some((at, engine.routes.entry(at)?))) {
            Some((at, Entry::Batch(..))) => batches.entry(at).or_default().extend(run),
            _ => work.push(Work::Run(entry, run)),
        }
    }
    for (entry, all) in batches {
        let max = match engine.routes.entry(entry) {
            Some(Entry::Batch(_, options)) => options.max.max(1),
            _ => 1,
        };
        work.extend(
            all.chunks(max)
                .map(|chunk| Work::Batch(entry, chunk.to_vec())),
        );
    }
    work
}

fn run<'a>(
    engine: &'a Engine,
    parts: &'a [Parts],
    assignment: &'a Assignment,
    work: Work,
) -> BoxFuture<'a, Vec<(usize, Outcome)>> {
    async move {
        match work {
            Work::Run(entry, run) => {
                let mut finished = Vec::with_capacity(run.len());
                for at in run {
                    let Some(part) = parts.get(at) else { continue };
                    let outcome = engine.attempt(entry, part, assignment).await;
                    let go_on = !matches!(outcome, Outcome::Retry { .. });
                    finished.push((at, outcome));
                    if !go_on {
                        break;
                    }
                }
                finished
            }
            Work::Batch(entry, batch) => {
                let items: Vec<_> = batch
                    .iter()
                    .filter_map(|at| Some((parts.get(*at)?, assignment)))
                    .collect();
                let outcomes = engine.attempt_batch(Some(entry), &items).await;
                batch.into_iter().zip(outcomes).collect()
            }
        }
    }
    .boxed()
}
