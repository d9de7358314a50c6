use std::future::{Future, ready};
use std::marker::PhantomData;
use std::time::Duration;

use aqueduct_core::Result;
use futures::FutureExt as _;
use futures::future::BoxFuture;

use super::extract::{Context, Extract, Setup};
use super::outcome::{IntoOutcome, Outcome};

/// Handles one event: an async function of up to eight [`Extract`] arguments.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a handler",
    label = "not a handler of these arguments",
    note = "a handler is an async function or closure, `Send + Sync + 'static`, with a `Send` future",
    note = "each argument implements `Extract` (`Json<T>`, `Event`, `Key`, `Meta`, `State<T>`, ...)",
    note = "it returns `()`, `Outcome`, or a `Result` of either whose error is a `HandlerError`"
)]
pub trait Handler<Args>: Send + Sync + 'static {
    /// Makes the arguments and calls the handler.
    fn call(&self, context: &Context<'_>) -> BoxFuture<'static, Outcome>;

    /// Checks, before the worker starts, that the setup has what the arguments need.
    fn check(&self, setup: &Setup) -> Result<()>;

    /// Returns the time limit of a call; `None` for the group's `timeout`.
    fn timeout(&self) -> Option<Duration> {
        None
    }
}

macro_rules! handler {
    ($($arg:ident),*) => {
        impl<F, Fut, $($arg,)*> Handler<($($arg,)*)> for F
        where
            F: Fn($($arg),*) -> Fut + Send + Sync + 'static,
            Fut: Future + Send + 'static,
            Fut::Output: IntoOutcome,
            $($arg: Extract,)*
        {
            #[allow(unused_variables)]
            fn call(&self, context: &Context<'_>) -> BoxFuture<'static, Outcome> {
                $(
                    #[allow(non_snake_case)]
                    let $arg = match $arg::extract(context) {
                        Ok(argument) => argument,
                        Err(outcome) => return ready(outcome).boxed(),
                    };
                )*
                let run = self($($arg),*);
                async move { run.await.into_outcome() }.boxed()
            }

            #[allow(unused_variables)]
            fn check(&self, setup: &Setup) -> Result<()> {
                $($arg::check(setup)?;)*
                Ok(())
            }
        }
    };
}

handler!();
handler!(A);
handler!(A, B);
handler!(A, B, C);
handler!(A, B, C, D);
handler!(A, B, C, D, E);
handler!(A, B, C, D, E, G);
handler!(A, B, C, D, E, G, H);
handler!(A, B, C, D, E, G, H, I);

/// Gives a handler its own time limit. A call that takes longer is cancelled at its next await and is
/// a failed attempt.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> aqueduct::Result<()> {
/// use aqueduct::{Client, Event, within};
///
/// # let client = Client::from_toml(
/// #     "[streams.orders]\nurl = \"memory:\"\n[groups.billing]\nstream = \"orders\"\non_reject = \"stop\"",
/// # ).await?;
/// let worker = client.worker("billing").await?
///     .on("report.*", within(std::time::Duration::from_secs(1800), |event: Event| async move {
///         println!("{} may take half an hour", event.kind());
///     }));
/// let outcomes = worker.handle(vec![Event::new("report.monthly").with_source("/shop")]).await?;
/// assert!(outcomes[0].is_ack());
/// # Ok(()) }
/// ```
pub fn within<H>(limit: Duration, handler: H) -> TimedHandler<H> {
    TimedHandler { limit, handler }
}

/// A handler with its own time limit; see [`within`].
#[derive(Clone, Copy, Debug)]
pub struct TimedHandler<H> {
    limit: Duration,
    handler: H,
}

impl<H: Handler<Args>, Args: 'static> Handler<TimedHandler<Args>> for TimedHandler<H> {
    fn call(&self, context: &Context<'_>) -> BoxFuture<'static, Outcome> {
        self.handler.call(context)
    }

    fn check(&self, setup: &Setup) -> Result<()> {
        self.handler.check(setup)
    }

    fn timeout(&self) -> Option<Duration> {
        Some(self.limit)
    }
}

/// A handler with its argument types erased.
pub(crate) trait AnyHandler: Send + Sync {
    fn call(&self, context: &Context<'_>) -> BoxFuture<'static, Outcome>;
    fn check(&self, setup: &Setup) -> Result<()>;
    fn timeout(&self) -> Option<Duration>;
}

pub(crate) struct Erased<H, Args>(pub(crate) H, pub(crate) PhantomData<fn(Args)>);

impl<H: Handler<Args>, Args: 'static> AnyHandler for Erased<H, Args> {
    fn call(&self, context: &Context<'_>) -> BoxFuture<'static, Outcome> {
        self.0.call(context)
    }

    fn check(&self, setup: &Setup) -> Result<()> {
        self.0.check(setup)
    }

    fn timeout(&self) -> Option<Duration> {
        self.0.timeout()
    }
}
