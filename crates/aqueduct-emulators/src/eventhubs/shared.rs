use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::sync::Notify;

use super::fault::{EventHubsFault, Faults, Moment};
use super::hub::{Hub, Hubs, Policy};
use super::node::Node;
use super::options::{EventHubsOptions, Limits, Security};
use super::report::Violation;

/// What connections and the emulator's handle share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) limits: Limits,
    pub(super) security: Security,
    policy: Policy,
    hubs: Mutex<Hubs>,
    faults: Mutex<Faults>,
    violations: Mutex<Vec<Violation>>,
    connections: Mutex<Connections>,
    deliveries: AtomicU64,
}

/// The end that a connection meets on demand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Cut,
    Silence,
}

/// The open connections.
#[derive(Debug, Default)]
struct Connections {
    refusing: bool,
    last: u64,
    open: BTreeMap<u64, (Weak<Notify>, Option<Fate>)>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    pub(super) fn new(options: &EventHubsOptions) -> Self {
        let policy = Policy {
            offsets: options.offsets,
            retention: options.retention,
            retained_events: options.retained_events,
            throughput: options.throughput,
        };
        let shared = Self {
            limits: options.limits,
            security: options.security.clone(),
            policy,
            hubs: Mutex::default(),
            faults: Mutex::default(),
            violations: Mutex::default(),
            connections: Mutex::default(),
            deliveries: AtomicU64::new(0),
        };
        for hub in &options.hubs {
            shared.create_hub(&hub.name, hub.partitions, &hub.groups);
        }
        shared
    }

    pub(super) fn create_hub(&self, name: &str, partitions: usize, groups: &[String]) {
        let mut hub = Hub::new(partitions, self.policy.clone());
        let groups = groups.iter().map(|group| group.to_ascii_lowercase());
        hub.groups.extend(groups);
        self.hubs().create(name, hub);
    }

    pub(super) fn hubs(&self) -> MutexGuard<'_, Hubs> {
        lock(&self.hubs)
    }

    pub(super) fn inject(&self, address: &str, fault: EventHubsFault) {
        lock(&self.faults).push(address, fault);
    }

    pub(super) fn pending_faults(&self) -> usize {
        lock(&self.faults).len()
    }

    pub(super) fn fault(&self, node: &Node, moment: Moment) -> Option<EventHubsFault> {
        let mut faults = lock(&self.faults);
        if faults.len() == 0 {
            return None;
        }
        faults.take(&node.to_string(), moment)
    }

    pub(super) fn report(&self, connection: u64, rule: &'static str, detail: String) {
        lock(&self.violations).push(Violation {
            connection,
            rule,
            detail,
        });
    }

    pub(super) fn violations(&self) -> Vec<Violation> {
        lock(&self.violations).clone()
    }

    pub(super) fn count_delivery(&self) {
        self.deliveries.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn deliveries(&self) -> u64 {
        self.deliveries.load(Ordering::Relaxed)
    }

    /// Registers a connection; `None` while connections are refused.
    pub(super) fn connect(&self, wake: &Arc<Notify>) -> Option<u64> {
        let mut connections = lock(&self.connections);
        if connections.refusing {
            return None;
        }
        connections.last += 1;
        let id = connections.last;
        connections.open.insert(id, (Arc::downgrade(wake), None));
        Some(id)
    }

    pub(super) fn disconnect(&self, id: u64) {
        lock(&self.connections).open.remove(&id);
    }

    pub(super) fn refuse(&self, refusing: bool) {
        lock(&self.connections).refusing = refusing;
    }

    pub(super) fn connections(&self) -> usize {
        lock(&self.connections).open.len()
    }

    /// Sets the fate of every open connection.
    pub(super) fn doom(&self, fate: Fate) {
        for (wake, slot) in lock(&self.connections).open.values_mut() {
            *slot = Some(fate);
            if let Some(wake) = wake.upgrade() {
                wake.notify_one();
            }
        }
    }

    pub(super) fn fate(&self, id: u64) -> Option<Fate> {
        lock(&self.connections).open.get(&id)?.1
    }
}
