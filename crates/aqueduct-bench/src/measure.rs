use std::time::Instant;

use serde_json::json;
use stats_alloc::Region;

use crate::{ALLOCATOR, Contestant};

/// What was measured of one contestant.
pub(crate) struct Figures {
    events: u64,
    seconds: f64,
    allocations_per_event: f64,
    pub(crate) instructions_per_event: Option<f64>,
}

impl Figures {
    /// Prints one line.
    pub(crate) fn print(&self, scenario: &str, contestant: &Contestant, json: bool) {
        let per_second = self.events as f64 / self.seconds;
        if json {
            let mut line = json!({
                "scenario": scenario,
                "contestant": contestant.name,
                "batch": contestant.batch,
                "events": self.events,
                "seconds": round(self.seconds, 4),
                "events_per_second": per_second.round(),
                "allocations_per_event": round(self.allocations_per_event, 3),
            });
            if let Some(direction) = contestant.direction {
                line["direction"] = direction.into();
            }
            if let Some(instructions) = self.instructions_per_event {
                line["instructions_per_event"] = instructions.round().into();
            }
            println!("{line}");
            return;
        }
        let instructions = self
            .instructions_per_event
            .map_or_else(String::new, |count| {
                format!(" {count:>8.0} instructions/event")
            });
        println!(
            "{scenario} {:<16} batch {:>5} {:<4} {per_second:>12.0} events/s {:>8.3} allocations/event{instructions}",
            contestant.name,
            contestant.batch,
            contestant.direction.unwrap_or_default(),
            self.allocations_per_event,
        );
    }
}

/// Times work on `events` events, once it is under way.
pub(crate) struct Meter {
    region: Region<'static, std::alloc::System>,
    begun: Instant,
}

impl Meter {
    pub(crate) fn begin() -> Self {
        Self {
            region: Region::new(ALLOCATOR),
            begun: Instant::now(),
        }
    }

    pub(crate) fn end(self, events: u64) -> Figures {
        let seconds = self.begun.elapsed().as_secs_f64();
        let made = self.region.change();
        Figures {
            events,
            seconds,
            allocations_per_event: (made.allocations + made.reallocations) as f64 / events as f64,
            instructions_per_event: None,
        }
    }
}

fn round(value: f64, decimals: i32) -> f64 {
    let factor = 10f64.powi(decimals);
    (value * factor).round() / factor
}
