use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use aqueduct_core::{Event, Result, Runtime, SmallStr, Timestamp};

#[cfg(feature = "cel")]
use crate::Expression;
use crate::{EventField, Pattern};

/// A condition on an event.
///
/// ```
/// use aqueduct_core::Event;
/// use aqueduct_routing::Condition;
///
/// let european = Condition::attribute("region", "eu-*");
/// let urgent = Condition::kind("order.failed").or(Condition::key("VIP-*"));
/// let condition = european.and(urgent);
///
/// let event = Event::new("order.failed").with_attribute("region", "eu-west-1")?;
/// assert!(condition.holds(&event)?);
/// assert!(!condition.holds(&Event::new("order.failed"))?);
/// # Ok::<(), aqueduct_core::Error>(())
/// ```
#[derive(Clone)]
pub struct Condition(Test);

#[derive(Clone)]
enum Test {
    Field(EventField, Pattern),
    OlderThan(Duration, Runtime),
    Between(Timestamp, Timestamp),
    Check(Arc<dyn Fn(&Event) -> bool + Send + Sync>),
    #[cfg(feature = "cel")]
    Cel(Arc<Expression>),
    All(Vec<Condition>),
    Any(Vec<Condition>),
    Not(Box<Condition>),
}

impl Condition {
    /// Holds if the field matches the pattern.
    pub fn field(field: EventField, pattern: impl Into<SmallStr>) -> Self {
        Self(Test::Field(field, Pattern::new(pattern)))
    }

    /// Holds if the type matches the pattern.
    pub fn kind(pattern: impl Into<SmallStr>) -> Self {
        Self::field(EventField::Type, pattern)
    }

    /// Holds if the source matches the pattern.
    pub fn source(pattern: impl Into<SmallStr>) -> Self {
        Self::field(EventField::Source, pattern)
    }

    /// Holds if the event has a subject that matches the pattern.
    pub fn subject(pattern: impl Into<SmallStr>) -> Self {
        Self::field(EventField::Subject, pattern)
    }

    /// Holds if the event has a key that matches the pattern.
    pub fn key(pattern: impl Into<SmallStr>) -> Self {
        Self::field(EventField::Key, pattern)
    }

    /// Holds if the event has that attribute and its text matches the pattern.
    pub fn attribute(name: impl Into<SmallStr>, pattern: impl Into<SmallStr>) -> Self {
        Self::field(EventField::Attribute(name.into()), pattern)
    }

    /// Holds if the event's own time lies more than `age` before now. An event without a time is not
    /// older than anything.
    pub fn older_than(age: Duration, runtime: &Runtime) -> Self {
        Self(Test::OlderThan(age, runtime.clone()))
    }

    /// Holds if the event's own time is in the window: `from` is in it, `until` is not. An event
    /// without a time is in no window.
    pub fn between(from: Timestamp, until: Timestamp) -> Self {
        Self(Test::Between(from, until))
    }

    /// Holds if `check` returns `true`.
    pub fn check(check: impl Fn(&Event) -> bool + Send + Sync + 'static) -> Self {
        Self(Test::Check(Arc::new(check)))
    }

    /// Holds if the expression in the [Common Expression Language](https://cel.dev) is true; see
    /// [`Expression`].
    ///
    /// # Errors
    /// `Config` with the position if it does not parse, names something that an event does not have,
    /// or cannot be true or false.
    #[cfg(feature = "cel")]
    pub fn cel(text: &str) -> Result<Self> {
        Expression::parse(text).map(|expression| Self(Test::Cel(Arc::new(expression))))
    }

    /// Holds if both do. The other one is not looked at if this one does not.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        match self.0 {
            Test::All(mut all) => {
                all.push(other);
                Self(Test::All(all))
            }
            test => Self(Test::All(vec![Self(test), other])),
        }
    }

    /// Holds if one of them does. The other one is not looked at if this one does.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        match self.0 {
            Test::Any(mut any) => {
                any.push(other);
                Self(Test::Any(any))
            }
            test => Self(Test::Any(vec![Self(test), other])),
        }
    }

    /// Holds if this one does not.
    #[must_use]
    pub fn negated(self) -> Self {
        Self(Test::Not(Box::new(self)))
    }

    /// Returns whether it holds for `event`.
    ///
    /// # Errors
    /// `Invalid` if an expression cannot be evaluated for this event, for example since its data lacks
    /// a field that the expression reads.
    pub fn holds(&self, event: &Event) -> Result<bool> {
        Ok(match &self.0 {
            Test::Field(field, pattern) => {
                (field.text(event)).is_some_and(|text| pattern.matches(&text))
            }
            Test::OlderThan(age, runtime) => {
                (event.time()).is_some_and(|time| time.saturating_add(*age) < runtime.wall())
            }
            Test::Between(from, until) => event
                .time()
                .is_some_and(|time| (*from..*until).contains(&time)),
            Test::Check(check) => check(event),
            #[cfg(feature = "cel")]
            Test::Cel(expression) => expression.is_true(event)?,
            Test::All(all) => {
                for condition in all {
                    if !condition.holds(event)? {
                        return Ok(false);
                    }
                }
                true
            }
            Test::Any(any) => {
                for condition in any {
                    if condition.holds(event)? {
                        return Ok(true);
                    }
                }
                false
            }
            Test::Not(condition) => !condition.holds(event)?,
        })
    }
}

impl fmt::Debug for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Test::Field(field, pattern) => write!(f, "{field} = {:?}", pattern.as_str()),
            Test::OlderThan(age, _) => write!(f, "older than {age:?}"),
            Test::Between(from, until) => write!(f, "from {from} until {until}"),
            Test::Check(_) => f.write_str("a function"),
            #[cfg(feature = "cel")]
            Test::Cel(expression) => write!(f, "cel {:?}", expression.as_str()),
            Test::All(all) => f.debug_tuple("all").field(all).finish(),
            Test::Any(any) => f.debug_tuple("any").field(any).finish(),
            Test::Not(condition) => write!(f, "not ({condition:?})"),
        }
    }
}

#[cfg(test)]
mod tests {
    use aqueduct_core::Instant;
    use futures::future::BoxFuture;

    use super::*;

    struct Fixed(Timestamp);

    impl aqueduct_core::Platform for Fixed {
        fn now(&self) -> Instant {
            Instant::after_origin(Duration::ZERO)
        }

        fn wall(&self) -> Timestamp {
            self.0
        }

        fn sleep_until(&self, _: Instant) -> BoxFuture<'static, ()> {
            Box::pin(std::future::pending())
        }

        fn spawn(&self, _: BoxFuture<'static, ()>) {}

        fn random(&self) -> u64 {
            0
        }
    }

    fn time(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn age_and_windows_go_by_the_events_own_time() {
        let runtime = Runtime::new(Fixed(time("2026-03-01T12:00:00Z")));
        let old = Condition::older_than(Duration::from_secs(60), &runtime);
        let from = time("2026-03-01T08:00:00Z");
        let morning = Condition::between(from, time("2026-03-01T12:00:00Z"));
        for (at, is_old, is_morning) in [
            ("2026-03-01T11:58:59.999Z", true, true),
            ("2026-03-01T11:59:00Z", false, true),
            ("2026-03-01T12:00:00Z", false, false),
            ("2026-03-01T07:59:59Z", true, false),
            ("2026-03-01T08:00:00Z", true, true),
        ] {
            let event = Event::new("x").with_time(time(at));
            assert_eq!(old.holds(&event).unwrap(), is_old, "{at}");
            assert_eq!(morning.holds(&event).unwrap(), is_morning, "{at}");
        }
        let untimed = Event::new("x");
        assert!(!old.holds(&untimed).unwrap() && !morning.holds(&untimed).unwrap());
    }

    #[test]
    fn what_decides_already_is_the_last_that_is_looked_at() {
        let never = || Condition::check(|_| panic!("it was looked at"));
        let (yes, no) = (Condition::kind("*"), Condition::kind("y"));
        let event = Event::new("x");
        assert!(!no.clone().and(never()).holds(&event).unwrap());
        assert!(yes.clone().or(never()).or(never()).holds(&event).unwrap());
        assert!(
            no.clone()
                .or(yes.clone())
                .and(no.negated())
                .holds(&event)
                .unwrap()
        );
        assert!(!yes.negated().holds(&event).unwrap());
    }
}
