//! A queue is tested as a log is, by what it claims: here a group on memory stands in for one.

mod common;

use std::sync::Arc;
use std::time::Duration;

use aqueduct_conformance::{Fixture, Options, Subject, Verdict, run};
use aqueduct_core::{
    Backoff, Capability, Claim, Claims, Consumer, DeadLetterStore, GroupName, IdempotencyStore,
    LeaseStore, PartitionedLog, Producer, Queue, Resource, Result, Runtime, Source, StreamName,
    StreamSpec,
};
use aqueduct_group::{Group, GroupOptions};
use aqueduct_runtime::Simulation;
use async_trait::async_trait;

use self::common::Memory;

#[test]
fn a_queue_passes_what_it_claims() {
    let simulation = Simulation::new(3);
    let runtime = simulation.runtime();
    let fixture = Queues(Memory::small());
    let report = simulation.block_on(run(&fixture, &runtime, Options::default()));
    let report = report.unwrap();
    report.assert_passed();
    for shown in [
        "two_groups_see_all",
        "nacked_event_comes_again_in_place",
        "out_of_order_acks_resume_at_the_first_unsettled",
        "exhausted_event_becomes_a_letter",
        "repeated_event_is_handled_once",
        "backlog_is_read_in_order",
    ] {
        assert_eq!(report.verdict(shown), Some(&Verdict::Passed), "{shown}");
    }
    for left_out in [
        "positions_rise_as_told",
        "lost_race_answers_the_winner",
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
        "a queue on memory"
    }

    async fn open(&self, spec: &StreamSpec, runtime: &Runtime) -> Result<Subject> {
        let log = self.0.open(spec, runtime).await?.stream;
        Ok(Subject::new(Arc::new(QueueResource { log })))
    }
}

/// A stream that hands out consumers and says nothing of partitions and leases.
struct QueueResource {
    log: Arc<dyn Resource>,
}

#[async_trait]
impl Resource for QueueResource {
    fn describe(&self) -> String {
        format!("a queue on {}", self.log.describe())
    }

    fn stream(&self) -> &StreamName {
        self.log.stream()
    }

    fn claims(&self) -> Claims {
        let log = [
            Capability::Replay,
            Capability::StartAtTime,
            Capability::Positions,
            Capability::Resharding,
            Capability::Lag,
            Capability::Leases,
            Capability::Admin,
        ];
        log.into_iter().fold(self.log.claims(), |claims, it| {
            claims.with(it, Claim::No("a queue has none".into()))
        })
    }

    async fn producer(&self, runtime: &Runtime) -> Result<Arc<dyn Producer>> {
        self.log.producer(runtime).await
    }

    async fn source(&self, runtime: &Runtime) -> Result<Source> {
        let Source::Log(log) = self.log.source(runtime).await? else {
            return Err(self.does_not_offer("log"));
        };
        Ok(Source::Queue(Arc::new(GroupQueue {
            log,
            leases: self.log.leases(runtime).await?,
            runtime: runtime.clone(),
        })))
    }

    async fn idempotency(&self, runtime: &Runtime) -> Result<Arc<dyn IdempotencyStore>> {
        self.log.idempotency(runtime).await
    }

    async fn dead_letters(&self, runtime: &Runtime) -> Result<Arc<dyn DeadLetterStore>> {
        self.log.dead_letters(runtime).await
    }
}

struct GroupQueue {
    log: Arc<dyn PartitionedLog>,
    leases: Arc<dyn LeaseStore>,
    runtime: Runtime,
}

#[async_trait]
impl Queue for GroupQueue {
    async fn consumer(&self, group: &GroupName) -> Result<Arc<dyn Consumer>> {
        let life = Duration::from_secs(2);
        let mut options = GroupOptions::new(group.clone()).with_lease_ttl(life);
        options.commit_interval = Duration::from_millis(100);
        options.commit_min = Duration::from_millis(20);
        options.redelivery = Backoff::new(Duration::from_millis(20), Duration::from_millis(200));
        options.drain = Duration::from_millis(250);
        Group::open(
            self.log.clone(),
            self.leases.clone(),
            options,
            &self.runtime,
        )
        .await
    }
}
