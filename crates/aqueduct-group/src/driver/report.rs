use std::collections::BTreeSet;
use std::time::Duration;

use aqueduct_core::{Instant, PartitionId, PartitionStatus};

use super::Shared;

/// How often gauges are set. It visits every held event, so not at every wake.
const EVERY: Duration = Duration::from_secs(10);

/// Reports the state of the partitions to metrics and log.
pub(super) struct Reports {
    next: Instant,
    blocked: BTreeSet<PartitionId>,
}

impl Reports {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            next: now + EVERY,
            blocked: BTreeSet::new(),
        }
    }

    pub(super) fn look(&mut self, shared: &Shared, now: Instant) {
        if now < self.next {
            return;
        }
        self.next = now + EVERY;
        let status = shared.status();
        let owned: BTreeSet<_> = status.partitions.iter().map(|it| &it.partition).collect();
        self.blocked.retain(|partition| owned.contains(partition));
        for partition in &status.partitions {
            self.report(shared, partition, now);
        }
        let away = status
            .unreachable_since
            .map_or(Duration::ZERO, |since| now.since(since));
        metrics::gauge!("aqueduct_group_unreachable_seconds", "group" => shared.member.key.group.to_string(), "stream" => shared.member.key.stream.to_string())
            .set(away.as_secs_f64());
    }

    fn report(&mut self, shared: &Shared, status: &PartitionStatus, now: Instant) {
        let labels = [
            ("group", shared.member.key.group.to_string()),
            ("stream", shared.member.key.stream.to_string()),
            ("partition", status.partition.to_string()),
        ];
        if let Some(lag) = status.lag_events {
            metrics::gauge!("aqueduct_group_lag_events", &labels).set(lag as f64);
        }
        let seconds = |it: Option<Duration>| it.unwrap_or_default().as_secs_f64();
        metrics::gauge!("aqueduct_group_lag_seconds", &labels).set(seconds(status.lag_time));
        metrics::gauge!("aqueduct_group_oldest_unsettled_seconds", &labels)
            .set(seconds(status.oldest_unsettled));
        // A slow consumer also reaches its limits, but only for short periods.
        let blocked = status
            .blocked_by
            .as_ref()
            .filter(|blocked| now.since(blocked.since) >= EVERY);
        let blocked_for = blocked.map(|blocked| now.since(blocked.since));
        metrics::gauge!("aqueduct_group_blocked_seconds", &labels).set(seconds(blocked_for));
        match blocked {
            Some(by) if self.blocked.insert(status.partition.clone()) => {
                let (partition, position) = (&status.partition, by.position);
                tracing::warn!(group = %shared.member.key, %partition, %position, key = ?by.key, "a partition is blocked: it stops fetching");
            }
            None if self.blocked.remove(&status.partition) => {
                tracing::info!(group = %shared.member.key, partition = %status.partition, "a partition is no longer blocked");
            }
            _ => {}
        }
    }
}
