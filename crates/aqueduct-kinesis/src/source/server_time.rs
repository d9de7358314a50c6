use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aqueduct_core::sync::lock;
use aqueduct_core::{Runtime, Timestamp};
use aws_sdk_kinesis::config::interceptors::{
    BeforeDeserializationInterceptorContextRef, BeforeTransmitInterceptorContextRef,
};
use aws_sdk_kinesis::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_kinesis::error::BoxError;
use aws_sdk_kinesis::primitives::{DateTime, DateTimeFormat};
use aws_smithy_types::config_bag::{Storable, StoreReplace};

/// The precision of a `Date` header, which has no fraction of a second.
const FRACTION: Duration = Duration::from_secs(1);

/// The service's clock, known to within a second from the `Date` headers of its responses.
///
/// If this machine's own clock agrees with them, it is used, since it is more precise.
#[derive(Clone)]
pub(super) struct ServerTime {
    runtime: Runtime,
    last: Arc<Mutex<Option<Seen>>>,
}

/// A `Date` header, with the times of its request and response by this machine's clock.
#[derive(Clone, Copy)]
struct Seen {
    date: Timestamp,
    sent: Timestamp,
    received: Timestamp,
}

impl ServerTime {
    pub(super) fn new(runtime: &Runtime) -> Self {
        Self {
            runtime: runtime.clone(),
            last: Arc::default(),
        }
    }

    /// Returns the interceptor that reads the headers.
    pub(super) fn observer(&self) -> impl Intercept + 'static {
        Observer(self.clone())
    }

    /// Returns the service's current time; this machine's own before the first response.
    pub(super) fn now(&self) -> Timestamp {
        let now = self.runtime.wall();
        match *lock(&self.last) {
            Some(seen) => seen.correct(now),
            None => now,
        }
    }
}

impl Seen {
    fn correct(self, now: Timestamp) -> Timestamp {
        let latest = self.date.saturating_add(FRACTION);
        if self.received < self.date {
            now.saturating_add(self.date.since(self.received))
        } else {
            now.saturating_sub(self.sent.since(latest))
        }
    }
}

#[derive(Debug)]
struct Sent(Timestamp);

impl Storable for Sent {
    type Storer = StoreReplace<Self>;
}

struct Observer(ServerTime);

impl Intercept for Observer {
    fn name(&self) -> &'static str {
        "aqueduct server time"
    }

    fn read_before_transmit(
        &self,
        _: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        bag: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let now = self.0.runtime.wall();
        bag.interceptor_state().store_put(Sent(now));
        Ok(())
    }

    fn read_before_deserialization(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        bag: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let date = context.response().headers().get("date");
        let date = date.and_then(|date| DateTime::from_str(date, DateTimeFormat::HttpDate).ok());
        let date = date.and_then(|date| date.to_millis().ok());
        if let (Some(date), Some(Sent(sent))) = (date, bag.load::<Sent>()) {
            *lock(&self.0.last) = Some(Seen {
                date: Timestamp::from_millis(date),
                sent: *sent,
                received: self.0.runtime.wall(),
            });
        }
        Ok(())
    }
}

impl fmt::Debug for Observer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Observer")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_off_is_corrected_and_one_that_agrees_is_kept() {
        let at = |seconds: i64, millis: i64| Timestamp::from_millis(seconds * 1000 + millis);
        let corrected = |sent, received, now| {
            let date = at(1000, 0);
            let seen = Seen {
                date,
                sent,
                received,
            };
            seen.correct(now)
        };
        assert_eq!(
            corrected(at(1000, 300), at(1000, 400), at(1002, 0)),
            at(1002, 0)
        );
        // A slow response does not prove the clock wrong.
        assert_eq!(corrected(at(995, 0), at(1009, 0), at(1010, 0)), at(1010, 0));
        // An hour slow: at least as late as the header.
        let slow = corrected(at(-2600, 300), at(-2600, 400), at(-2600, 500));
        assert_eq!(slow, at(1000, 100));
        // An hour fast: no later than the end of the header's second.
        let fast = corrected(at(4600, 300), at(4600, 400), at(4600, 500));
        assert_eq!(fast, at(1001, 200));
    }
}
