//! Runs seeds on all cores, for a number of seeds or of minutes, and sums up in one JSON line.

use std::env;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::str::FromStr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use super::run;
use super::seen::Seen;

/// The default number of seeds.
const SEEDS: u64 = 2_000;

/// The seeds to run, as the environment says.
pub(super) struct Plan {
    first: u64,
    seeds: u64,
    minutes: Option<u64>,
    /// Ends at the first seed that fails.
    stop: bool,
}

/// The result of a plan.
#[derive(Default)]
pub(super) struct Summary {
    pub(super) seeds: u64,
    pub(super) seen: Seen,
    /// The seeds that failed, with the reason of each.
    pub(super) failed: Vec<(u64, String)>,
}

/// Returns a number of the environment; a value that is no number is refused.
pub(super) fn number<T: FromStr>(name: &str) -> Option<T> {
    let text = env::var(name).ok()?;
    match text.parse() {
        Ok(number) => Some(number),
        Err(_) => panic!("{name}=`{text}` is not a number"),
    }
}

impl Plan {
    pub(super) fn from_environment() -> Self {
        let minutes = number("AQUEDUCT_MINUTES");
        Self {
            first: number("AQUEDUCT_FIRST").unwrap_or(0),
            seeds: number("AQUEDUCT_SEEDS").unwrap_or(match minutes {
                Some(_) => u64::MAX,
                None => SEEDS,
            }),
            minutes,
            stop: number::<u8>("AQUEDUCT_STOP").is_some_and(|it| it > 0),
        }
    }

    pub(super) fn run(&self) -> Summary {
        let next = AtomicU64::new(0);
        let over = AtomicBool::new(false);
        let summary = Mutex::new(Summary::default());
        let deadline = self
            .minutes
            .map(|minutes| clock() + Duration::from_secs(60 * minutes));
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    while !over.load(Ordering::Relaxed)
                        && deadline.is_none_or(|deadline| clock() < deadline)
                    {
                        let nth = next.fetch_add(1, Ordering::Relaxed);
                        if nth >= self.seeds {
                            break;
                        }
                        let seed = self.first + nth;
                        let outcome = catch_unwind(AssertUnwindSafe(|| run(seed, false)));
                        let outcome = outcome.unwrap_or_else(|why| Err(panicked(seed, &*why)));
                        let mut summary = summary.lock().unwrap();
                        summary.seeds += 1;
                        match outcome {
                            Ok(world) => summary.seen.add(&world.seen),
                            Err(why) => {
                                summary.failed.push((seed, why));
                                over.fetch_or(self.stop, Ordering::Relaxed);
                            }
                        }
                    }
                });
            }
        });
        let mut summary = summary.into_inner().unwrap();
        summary.failed.sort();
        summary
    }
}

impl Summary {
    /// One line for programs.
    pub(super) fn json(&self, cpu: Duration) -> String {
        let hours = self.seen.simulated as f64 / 3_600_000.0;
        let first = self.failed.first().map(|(seed, _)| *seed);
        let why = self.failed.first().map(|(_, why)| reason(why));
        format!(
            r#"{{"simulation":"group","seeds":{},"violations":{},"first_failed":{},"why":{:?},"simulated_hours":{hours:.1},"cpu_seconds":{:.1},"hours_per_cpu_second":{:.2}}}"#,
            self.seeds,
            self.failed.len(),
            first.map_or("null".to_owned(), |it| it.to_string()),
            why.unwrap_or_default(),
            cpu.as_secs_f64(),
            hours / cpu.as_secs_f64().max(0.001),
        )
    }
}

/// Returns the first finding of a failed seed.
pub(super) fn reason(why: &str) -> String {
    let line = why.lines().nth(1).unwrap_or(why).trim();
    line.chars().take(160).collect()
}

/// The processor time of this process; zero where the system does not tell.
pub(super) fn cpu() -> Duration {
    #[cfg(unix)]
    {
        let used = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
        Duration::new(
            used.tv_sec.try_into().unwrap_or(0),
            used.tv_nsec.try_into().unwrap_or(0),
        )
    }
    #[cfg(not(unix))]
    Duration::ZERO
}

#[expect(
    clippy::disallowed_methods,
    reason = "the minutes of the person who waits"
)]
fn clock() -> std::time::Instant {
    std::time::Instant::now()
}

fn panicked(seed: u64, why: &(dyn std::any::Any + Send)) -> String {
    let text = why.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| why.downcast_ref::<&str>().copied());
    format!(
        "AQUEDUCT_SEED={seed}: panicked\n  {}",
        text.unwrap_or("without a message")
    )
}
