//! Runs the suite on an in-memory queue behind the queue consumer: like a log, it is tested by its
//! claims.

use std::sync::Arc;

use aqueduct_conformance::{Fixture, Subject, SuiteOptions, Timing, Verdict, run};
use aqueduct_core::{
    BatchProducer, Claims, DeadLetterStore, IdempotencyStore, Resource, Result, Runtime, Source,
    StreamName, StreamSpec,
};
use aqueduct_runtime::Simulation;
use async_trait::async_trait;

use crate::common::Memory;
use crate::common::topic::Topic;

#[test]
fn a_queue_passes_what_it_claims() {
    let simulation = Simulation::new(3);
    let runtime = simulation.runtime();
    let fixture = Queues(Memory::small());
    let report = simulation.block_on(run(&fixture, &runtime, SuiteOptions::default()));
    let report = report.unwrap();
    report.assert_passed();
    for shown in [
        "two_groups_see_all",
        "nacked_event_comes_again_in_place",
        "out_of_order_acks_resume_at_the_first_unsettled",
        "exhausted_event_becomes_a_dead_letter",
        "repeated_event_is_handled_once",
        "backlog_is_read_in_order",
    ] {
        assert_eq!(report.verdict(shown), Some(&Verdict::Passed), "{shown}");
    }
    for left_out in [
        "positions_rise_as_told",
        "lost_race_returns_the_winner",
        "gap_is_never_silent",
    ] {
        let verdict = report.verdict(left_out);
        assert!(
            matches!(verdict, Some(Verdict::NotClaimed { .. })),
            "{left_out}: {verdict:?}"
        );
    }
}

struct Queues(Memory);

#[async_trait]
impl Fixture for Queues {
    fn name(&self) -> &str {
        "a queue in memory"
    }

    async fn open(&self, spec: &StreamSpec, runtime: &Runtime) -> Result<Subject> {
        let memory = self.0.open(spec, runtime).await?.stream;
        let topic = Topic::new(memory.stream().clone(), memory.claims(), runtime);
        Ok(Subject::new(Arc::new(QueueResource { topic, memory })))
    }

    fn timing(&self) -> Timing {
        self.0.timing()
    }
}

/// A queue whose dead letters and idempotency records are stored in the memory backend.
struct QueueResource {
    topic: Topic,
    memory: Arc<dyn Resource>,
}

#[async_trait]
impl Resource for QueueResource {
    fn describe(&self) -> String {
        format!("a queue beside {}", self.memory.describe())
    }

    fn stream(&self) -> &StreamName {
        self.memory.stream()
    }

    fn claims(&self) -> Claims {
        self.topic.claims()
    }

    async fn producer(&self, _: &Runtime) -> Result<Arc<dyn BatchProducer>> {
        Ok(Arc::new(self.topic.producer()))
    }

    async fn source(&self, _: &Runtime) -> Result<Source> {
        Ok(Source::Queue(Arc::new(self.topic.clone())))
    }

    async fn idempotency(&self, runtime: &Runtime) -> Result<Arc<dyn IdempotencyStore>> {
        self.memory.idempotency(runtime).await
    }

    async fn dead_letters(&self, runtime: &Runtime) -> Result<Arc<dyn DeadLetterStore>> {
        self.memory.dead_letters(runtime).await
    }
}
