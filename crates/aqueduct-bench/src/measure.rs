use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use serde_json::json;
use stats_alloc::Region;

use crate::callgrind::Instructions;
use crate::{ALLOCATOR, Contestant};

/// The measurement of one contestant.
#[derive(Clone, Debug)]
pub(crate) struct Figures {
    events: u64,
    seconds: f64,
    cpu_seconds: f64,
    allocations_per_event: f64,
    pub(crate) instructions: Option<Instructions>,
    /// Figures that only one scenario has.
    extra: Vec<(&'static str, f64)>,
}

impl Figures {
    /// Adds a figure that only this scenario has.
    #[must_use]
    pub(crate) fn with(mut self, name: &'static str, value: f64) -> Self {
        self.extra.push((name, value));
        self
    }

    /// Sets a rate that was not found by dividing events by seconds.
    #[must_use]
    pub(crate) fn at_rate(mut self, events_per_second: f64) -> Self {
        self.seconds = self.events as f64 / events_per_second;
        self
    }

    pub(crate) fn events_per_second(&self) -> f64 {
        self.events as f64 / self.seconds
    }

    /// Returns the CPU time of this process, in microseconds per event.
    pub(crate) fn cpu_per_event(&self) -> f64 {
        self.cpu_seconds * 1e6 / self.events as f64
    }

    pub(crate) fn extra(&self, name: &str) -> Option<f64> {
        let found = self.extra.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| *value)
    }

    /// Returns the median of several rounds, figure by figure.
    pub(crate) fn median(mut rounds: Vec<Self>) -> Option<Self> {
        rounds.sort_by(|a, b| a.events_per_second().total_cmp(&b.events_per_second()));
        let mut middle = rounds.get((rounds.len().max(1) - 1) / 2)?.clone();
        let of = |figure: &dyn Fn(&Self) -> Option<f64>| median(rounds.iter().filter_map(figure));
        middle.cpu_seconds =
            of(&|it| Some(it.cpu_per_event())).unwrap_or_default() * middle.events as f64 / 1e6;
        middle.allocations_per_event = of(&|it| Some(it.allocations_per_event)).unwrap_or_default();
        for (name, value) in &mut middle.extra {
            *value = of(&|it| it.extra(name)).unwrap_or(*value);
        }
        Some(middle)
    }

    /// Prints one line.
    pub(crate) fn print(&self, scenario: &str, contestant: &Contestant, json: bool) {
        if json {
            let mut line = json!({
                "scenario": scenario,
                "contestant": contestant.name,
                "batch": contestant.batch,
                "events": self.events,
                "seconds": round(self.seconds, 4),
                "events_per_second": self.events_per_second().round(),
                "cpu_microseconds_per_event": round(self.cpu_per_event(), 3),
                "allocations_per_event": round(self.allocations_per_event, 3),
            });
            if let Some(direction) = contestant.direction {
                line["direction"] = direction.into();
            }
            if let Some(count) = self.instructions {
                line["instructions_per_event"] = count.all.round().into();
                if count.sha256 > 0.0 {
                    line["sha256_instructions_per_event"] = count.sha256.round().into();
                }
            }
            for (name, value) in &self.extra {
                line[*name] = round(*value, 3).into();
            }
            println!("{line}");
            return;
        }
        let mut rest = String::new();
        if let Some(count) = self.instructions {
            rest += &format!(" {:>8.0} instructions/event", count.all);
            if count.sha256 > 0.0 {
                rest += &format!(" ({:.0} of them SHA-256)", count.sha256);
            }
        }
        for (name, value) in &self.extra {
            rest += &format!("  {} {}", name.replace('_', " "), round(*value, 2));
        }
        println!(
            "{scenario} {:<23} batch {:>5} {:<4} {:>10.0} events/s {:>7.2} us CPU/event {:>8.3} allocations/event{rest}",
            contestant.name,
            contestant.batch,
            contestant.direction.unwrap_or_default(),
            self.events_per_second(),
            self.cpu_per_event(),
            self.allocations_per_event,
        );
    }
}

/// Measures the work on a number of events, once it has started.
pub(crate) struct Meter {
    region: Region<'static, std::alloc::System>,
    cpu: Duration,
    begun: Instant,
}

impl Meter {
    pub(crate) fn begin() -> Self {
        Self {
            region: Region::new(ALLOCATOR),
            cpu: cpu_time(),
            begun: Instant::now(),
        }
    }

    pub(crate) fn seconds(&self) -> f64 {
        self.begun.elapsed().as_secs_f64()
    }

    pub(crate) fn end(self, events: u64) -> Figures {
        let seconds = self.seconds();
        let cpu = cpu_time().saturating_sub(self.cpu);
        let made = self.region.change();
        Figures {
            events,
            seconds,
            cpu_seconds: cpu.as_secs_f64(),
            allocations_per_event: (made.allocations + made.reallocations) as f64 / events as f64,
            instructions: None,
            extra: Vec::new(),
        }
    }
}

pub(crate) fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get((values.len().max(1) - 1) / 2).copied()
}

pub(crate) fn round(value: f64, decimals: i32) -> f64 {
    let factor = 10f64.powi(decimals);
    (value * factor).round() / factor
}

/// Returns the bytes that are allocated now.
pub(crate) fn held() -> f64 {
    let stats = ALLOCATOR.stats();
    stats.bytes_allocated as f64 - stats.bytes_deallocated as f64
}

/// Returns the CPU time of all threads of this process, without child processes.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(
        time.tv_sec.unsigned_abs(),
        time.tv_nsec.unsigned_abs() as u32,
    )
}
