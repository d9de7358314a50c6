use std::cell::RefCell;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use aqueduct_core::{AttributeValue, Event, Runtime, SmallStr};
use futures::future::BoxFuture;

/// One place in a trace, as W3C Trace Context writes it: trace, span, flags, and the vendors'
/// state.
///
/// ```
/// use aqueduct_core::Event;
/// use aqueduct_layers::tracing::TraceContext;
///
/// let event = Event::new("order.placed")
///     .with_traceparent("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
/// let context = TraceContext::of(&event).expect("a valid traceparent");
/// assert!(context.is_sampled());
/// assert_eq!(context.trace_id(), 0x4bf92f3577b34da6a3ce929d0e0e4736);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceContext {
    trace_id: u128,
    span_id: u64,
    flags: u8,
    state: Option<SmallStr>,
}

const SAMPLED: u8 = 1;

/// The members that a tracestate may have, by the specification.
const STATE_MEMBERS: usize = 32;

/// The longest tracestate that is propagated: the minimum that the specification requires.
const STATE_BYTES: usize = 512;

impl TraceContext {
    /// Returns the context in the event's `traceparent` and `tracestate`; `None` if it has none or
    /// they are malformed: a damaged context starts a new trace, as the specification requires.
    pub fn of(event: &Event) -> Option<Self> {
        let attributes = event.attributes();
        let state = attributes
            .get("tracestate")
            .and_then(AttributeValue::as_str);
        Self::parse(event.traceparent()?, state)
    }

    /// Reads a `traceparent` and its `tracestate`; `None` if the first is malformed. A malformed or
    /// overlong `tracestate` is dropped.
    pub fn parse(traceparent: &str, tracestate: Option<&str>) -> Option<Self> {
        let (version, rest) = (hex(traceparent.get(..2)?)?, traceparent.get(2..)?);
        let (fields, more) = (rest.get(..53)?, rest.get(53..)?);
        // A later version may append fields, after a dash.
        if version == 0xff || (version == 0 && !more.is_empty()) || !starts_field(more) {
            return None;
        }
        let mut fields = fields.split('-');
        if fields.next() != Some("") {
            return None;
        }
        let mut next = |digits: usize| fields.next().filter(|field| field.len() == digits);
        let (trace_id, span_id, flags) = (hex(next(32)?)?, hex(next(16)?)?, hex(next(2)?)?);
        if fields.next().is_some() || trace_id == 0 || span_id == 0 {
            return None;
        }
        Some(Self {
            trace_id,
            span_id: u64::try_from(span_id).ok()?,
            flags: u8::try_from(flags).ok()? & SAMPLED,
            state: tracestate.filter(|it| is_state(it)).map(SmallStr::from),
        })
    }

    /// Starts a trace.
    pub fn root(runtime: &Runtime, sampled: bool) -> Self {
        let high = u128::from(non_zero(runtime));
        Self {
            trace_id: high << 64 | u128::from(runtime.random()),
            span_id: non_zero(runtime),
            flags: u8::from(sampled),
            state: None,
        }
    }

    /// Returns a new span of the same trace.
    #[must_use]
    pub fn child(&self, runtime: &Runtime) -> Self {
        Self {
            span_id: non_zero(runtime),
            ..self.clone()
        }
    }

    /// Returns the id of the trace.
    pub fn trace_id(&self) -> u128 {
        self.trace_id
    }

    /// Returns the id of the span.
    pub fn span_id(&self) -> u64 {
        self.span_id
    }

    /// Returns whether the trace is recorded.
    pub fn is_sampled(&self) -> bool {
        self.flags & SAMPLED != 0
    }

    /// Returns the vendors' state, unchanged since it was received.
    pub fn state(&self) -> Option<&str> {
        self.state.as_deref()
    }

    /// Writes the context into an event, replacing the one that it has.
    pub fn write_to(&self, event: &mut Event) {
        let attributes = event.attributes_mut();
        // Both names are valid, so setting them cannot fail.
        let _ = attributes.set(
            SmallStr::literal("traceparent"),
            SmallStr::from(text_of(&self.encode())),
        );
        match &self.state {
            Some(state) => {
                let _ = attributes.set(SmallStr::literal("tracestate"), state.clone());
            }
            None if attributes.get("tracestate").is_some() => {
                attributes.remove("tracestate");
            }
            None => {}
        }
    }

    /// Writes the text in place: this runs for each event sent.
    fn encode(&self) -> [u8; TEXT_BYTES] {
        let mut text = [b'-'; TEXT_BYTES];
        let fields = [
            (0, 2, 0),
            (3, 32, self.trace_id),
            (36, 16, u128::from(self.span_id)),
            (53, 2, u128::from(self.flags)),
        ];
        for (start, digits, value) in fields {
            for at in 0..digits {
                let nibble = (value >> (4 * (digits - 1 - at))) & 15;
                text[start + at] = b"0123456789abcdef"[nibble as usize];
            }
        }
        text
    }

    /// Returns the context of the handler that is running; `None` outside of one.
    pub fn current() -> Option<Self> {
        with_current(|current| current.map(|current| current.context.clone()))
    }

    /// Runs a future in this context: events sent by it continue the trace. A worker does this for
    /// its handlers; a pull loop does it for itself.
    ///
    /// ```
    /// use aqueduct_core::Event;
    /// use aqueduct_layers::tracing::TraceContext;
    ///
    /// # fn handle(event: &Event) -> impl Future<Output = ()> { std::future::ready(()) }
    /// # async fn run(event: Event) {
    /// match TraceContext::of(&event) {
    ///     Some(context) => context.scope(handle(&event)).await,
    ///     None => handle(&event).await,
    /// }
    /// # }
    /// ```
    pub fn scope<'a, T: 'a>(
        self,
        future: impl Future<Output = T> + Send + 'a,
    ) -> impl Future<Output = T> + Send + 'a {
        Scoped {
            current: Some(Current {
                context: self,
                received: None,
            }),
            future: Box::pin(future),
        }
    }
}

/// The length of a `traceparent` of version 0.
const TEXT_BYTES: usize = 55;

/// Writes the `traceparent`.
impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(text_of(&self.encode()))
    }
}

fn text_of(encoded: &[u8; TEXT_BYTES]) -> &str {
    // It is made of hexadecimal digits and dashes.
    std::str::from_utf8(encoded).unwrap_or_default()
}

/// The context of the code that is being polled, and the event that it handles.
#[derive(Clone)]
pub(super) struct Current {
    pub(super) context: TraceContext,
    /// The handled event's own `traceparent`: events that name it as theirs inherited it.
    pub(super) received: Option<SmallStr>,
}

thread_local! {
    /// Set only while a [`Scoped`] future is polled.
    static CURRENT: RefCell<Option<Current>> = const { RefCell::new(None) };
}

pub(super) fn with_current<T>(read: impl FnOnce(Option<&Current>) -> T) -> T {
    CURRENT.with(|current| read(current.borrow().as_ref()))
}

/// A future that is polled in a context.
pub(super) struct Scoped<'a, T> {
    current: Option<Current>,
    future: BoxFuture<'a, T>,
}

impl<'a, T> Scoped<'a, T> {
    pub(super) fn new(current: Current, future: BoxFuture<'a, T>) -> Self {
        Self {
            current: Some(current),
            future,
        }
    }
}

impl<T> Future for Scoped<'_, T> {
    type Output = T;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        let this = self.get_mut();
        // The guard puts the outer context back even if the future panics.
        let _guard = Guard::enter(&mut this.current);
        this.future.as_mut().poll(cx)
    }
}

/// Sets a context, and restores the outer one when it is dropped.
struct Guard<'a>(&'a mut Option<Current>);

impl<'a> Guard<'a> {
    fn enter(current: &'a mut Option<Current>) -> Self {
        CURRENT.with(|outer| std::mem::swap(&mut *outer.borrow_mut(), current));
        Self(current)
    }
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        CURRENT.with(|outer| std::mem::swap(&mut *outer.borrow_mut(), self.0));
    }
}

fn non_zero(runtime: &Runtime) -> u64 {
    runtime.random().max(1)
}

/// Accepts lower case digits only: upper case is malformed.
fn hex(text: &str) -> Option<u128> {
    let digit = |byte: &u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(byte);
    match text.as_bytes().iter().all(digit) {
        true => u128::from_str_radix(text, 16).ok(),
        false => None,
    }
}

fn starts_field(more: &str) -> bool {
    more.is_empty() || more.starts_with('-')
}

/// Checks lightly: members `key=value`, printable, not too many. Vendors parse their own.
fn is_state(text: &str) -> bool {
    let printable = |byte: u8| (b' '..=b'~').contains(&byte) || byte == b'\t';
    text.len() <= STATE_BYTES
        && text.bytes().all(printable)
        && text.split(',').count() <= STATE_MEMBERS
        && text
            .split(',')
            .all(|member| member.trim().is_empty() || member.contains('='))
        && !text.trim().is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_context_comes_back_as_it_was_written() {
        let context = TraceContext::parse(PARENT, Some("vendor=x,other=y")).unwrap();
        assert_eq!(context.to_string(), PARENT);
        assert_eq!(context.state(), Some("vendor=x,other=y"));
        let unsampled = PARENT.replace("-01", "-00");
        let unsampled = TraceContext::parse(&unsampled, None).unwrap();
        assert!(!unsampled.is_sampled());
        let mut event = Event::new("x").with_traceparent(PARENT);
        event.attributes_mut().set("tracestate", "old=1").unwrap();
        unsampled.write_to(&mut event);
        assert_eq!(TraceContext::of(&event), Some(unsampled));
    }

    #[test]
    fn a_later_version_is_read_as_far_as_it_is_known() {
        let later = PARENT.replacen("00", "01", 1) + "-more";
        assert_eq!(
            TraceContext::parse(&later, None).unwrap().to_string(),
            PARENT
        );
    }

    #[test]
    fn what_is_malformed_is_no_context() {
        for wrong in [
            "",
            "00",
            "own trace",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01more",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473-600f067aa0ba902b7-01",
            "00-+bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e47ä-00f067aa0ba902b7-01",
        ] {
            assert_eq!(TraceContext::parse(wrong, None), None, "{wrong}");
        }
        for wrong in [
            "",
            " ",
            "no member",
            "a=\u{e4}",
            &"a=b,".repeat(40),
            &"a=".repeat(400),
        ] {
            let context = TraceContext::parse(PARENT, Some(wrong)).unwrap();
            assert_eq!(context.state(), None, "{wrong}");
        }
    }
}
