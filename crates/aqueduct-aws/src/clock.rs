use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_smithy_async::time::TimeSource;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_types::DateTime;
use aws_smithy_types::date_time::Format;

/// The difference below which a refused signature is not the clock's fault: the services allow 5 minutes.
const TOLERATED: Duration = Duration::from_secs(4 * 60);

/// The clock that requests are signed with: this machine's, corrected by a service that refused it.
///
/// The SDK corrects each client by itself, so that the first request of each fails; this clock is shared.
#[derive(Clone, Debug, Default)]
pub(crate) struct ServiceClock(Arc<AtomicI64>);

impl ServiceClock {
    /// Sets the clock ahead.
    #[cfg(test)]
    pub(crate) fn advance(&self, by: Duration) {
        let seconds = i64::try_from(by.as_secs()).unwrap_or(i64::MAX);
        self.0.fetch_add(seconds, Ordering::Relaxed);
    }

    /// Follows the service's clock if it is far from this one.
    pub(crate) fn correct(&self, refusal: &HttpResponse) {
        let Some(server) = date_of(refusal) else {
            return;
        };
        if is_far(server, self.now()) {
            let seconds = seconds(server) - seconds(SystemTime::now());
            self.0.store(seconds, Ordering::Relaxed);
            tracing::warn!(
                seconds,
                "this machine's clock is off: requests are signed by the service's time (set it, NTP)"
            );
        }
    }
}

impl TimeSource for ServiceClock {
    fn now(&self) -> SystemTime {
        let seconds = self.0.load(Ordering::Relaxed);
        let by = Duration::from_secs(seconds.unsigned_abs());
        match seconds {
            0.. => SystemTime::now() + by,
            _ => SystemTime::now() - by,
        }
    }
}

/// Returns whether the response comes from a service whose clock is far from this machine's.
pub(crate) fn is_of_another_time(response: &HttpResponse) -> bool {
    date_of(response).is_some_and(|server| is_far(server, SystemTime::now()))
}

fn date_of(response: &HttpResponse) -> Option<SystemTime> {
    let date = response.headers().get("date")?;
    let date = DateTime::from_str(date, Format::HttpDate).ok()?;
    SystemTime::try_from(date).ok()
}

fn is_far(one: SystemTime, other: SystemTime) -> bool {
    Duration::from_secs(seconds(one).abs_diff(seconds(other))) > TOLERATED
}

fn seconds(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}
