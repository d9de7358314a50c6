use std::collections::BTreeSet;
use std::sync::Mutex;
use std::time::Duration;

use aqueduct_core::Runtime;
use aqueduct_core::sync::lock;
use aqueduct_history::{HistoryLine, Op, Phase, Recorder, Text};
use aqueduct_memory::{Applied, MemoryBackend, MemoryFault, Operation};

use crate::fates::Fates;
use crate::scenario::Scenario;

/// The things that all processes of a run share: the stores, the scenario and the history.
pub(crate) struct Shop {
    /// The runtime of the run itself, which belongs to no process.
    pub(crate) main: Runtime,
    pub(crate) backend: MemoryBackend,
    pub(crate) scenario: Scenario,
    pub(crate) fates: Fates,
    pub(crate) history: Mutex<Recorder>,
    /// The events whose handlers succeeded.
    pub(crate) handled: Mutex<BTreeSet<String>>,
    /// The events that hung or panicked.
    struck: Mutex<BTreeSet<String>>,
}

impl Shop {
    pub(crate) fn new(main: Runtime, seed: u64) -> Self {
        let scenario = Scenario::draw(seed);
        let mut history = Recorder::new(Some(scenario.attempts)).without_acks();
        if scenario.is_calm() {
            history = history.with_effects_once();
        }
        Self {
            main,
            backend: MemoryBackend::new(),
            fates: Fates::draw(seed, &scenario),
            scenario,
            history: Mutex::new(history),
            handled: Mutex::default(),
            struck: Mutex::default(),
        }
    }

    pub(crate) fn configuration(&self) -> String {
        let Scenario {
            partitions,
            concurrency,
            attempts,
            ..
        } = self.scenario;
        format!(
            r#"
[client]
source = "/shop"
[streams.orders]
url = "memory:"
partitions = {partitions}
[streams.orders-dlq]
url = "memory:"
[groups.billing]
stream = "orders"
concurrency = {concurrency}
dead_letters = "orders-dlq"
idempotency = true
timeout = "20s"
redelivery = {{ attempts = {attempts}, first = "100ms", max = "3s" }}
"#
        )
    }

    /// Microseconds since the run began.
    pub(crate) fn now(&self) -> u64 {
        self.main.now().elapsed_since_origin().as_micros() as u64
    }

    pub(crate) fn line(&self, process: &str, op: Op, phase: Phase) -> HistoryLine {
        HistoryLine::new(self.now(), Text::from(process), op, phase)
    }

    pub(crate) fn add(&self, line: HistoryLine) {
        lock(&self.history).add(line);
    }

    /// Makes the stores fail, lose responses and answer late.
    pub(crate) fn trouble(&self) {
        let unavailable = || MemoryFault::refused(aqueduct_core::ErrorKind::Unavailable);
        let lost = || MemoryFault::lost_response(Applied::Maybe);
        let late = |seconds| MemoryFault::late_response(Duration::from_secs(seconds));
        let orders = self.backend.faults("orders");
        for (operation, odds, fault) in [
            (Operation::Send, 0.05, unavailable()),
            (Operation::Send, 0.03, lost()),
            (
                Operation::Send,
                0.05,
                MemoryFault::throttled(Duration::from_millis(300)),
            ),
            (Operation::Read, 0.02, unavailable()),
            (Operation::Describe, 0.02, unavailable()),
            (Operation::LeaseRead, 0.03, unavailable()),
            (Operation::LeaseWrite, 0.03, unavailable()),
            (Operation::LeaseWrite, 0.03, lost()),
            (Operation::LeaseWrite, 0.03, late(4)),
            (Operation::Idempotency, 0.04, unavailable()),
            (Operation::Idempotency, 0.04, lost()),
            (Operation::Idempotency, 0.02, late(3)),
        ] {
            orders.chance(operation, odds, fault);
        }
        let dead_letters = self.backend.faults("orders-dlq");
        dead_letters.chance(Operation::DeadLetterStore, 0.2, unavailable());
        dead_letters.chance(Operation::DeadLetterStore, 0.1, lost());
    }

    /// Returns whether it asks for that event for the first time.
    pub(crate) fn first_time(&self, id: &str) -> bool {
        lock(&self.struck).insert(id.to_owned())
    }

    /// Ends all trouble.
    pub(crate) fn calm(&self) {
        for stream in ["orders", "orders-dlq"] {
            self.backend.faults(stream).clear();
        }
    }
}
