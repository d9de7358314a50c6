use std::future::{Future, ready};
use std::marker::PhantomData;
use std::ops::Deref;
use std::time::Duration;

use aqueduct_core::{Error, Result};
use futures::FutureExt as _;
use futures::future::BoxFuture;

use super::extract::{Context, Extract, ExtractShared, Setup};
use super::outcome::{HandlerError, IntoOutcome, Outcome};

/// Events that are handled together; those of one key are in order.
///
/// An event from which `T` cannot be made has its own outcome and is left out.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> aqueduct::Result<()> {
/// use aqueduct::{Batch, BatchOptions, Client, Event, Json};
///
/// # let client = Client::from_toml(
/// #     "[streams.orders]\nurl = \"memory:\"\n[groups.billing]\nstream = \"orders\"\non_reject = \"stop\"",
/// # ).await?;
/// let worker = client.worker("billing").await?
///     .on_batch("order.placed", BatchOptions::new(500, std::time::Duration::from_millis(50)),
///         |batch: Batch<Json<u32>>| async move { println!("{} in one statement", batch.len()) });
/// let outcomes = worker.handle(vec![Event::json("order.placed", &5)?]).await?;
/// assert!(outcomes[0].is_ack());
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch<T>(pub Vec<T>);

impl<T> Deref for Batch<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<T> IntoIterator for Batch<T> {
    type Item = T;
    type IntoIter = std::vec::IntoIter<T>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

/// Options for collecting events for a batch handler.
///
/// ```
/// use std::time::Duration;
/// use aqueduct::BatchOptions;
///
/// let mut options = BatchOptions::new(500, Duration::from_millis(50));
/// options.timeout = Some(Duration::from_secs(10));
/// assert_eq!(BatchOptions::default().max, 100);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchOptions {
    /// The maximum number of events of one batch.
    pub max: usize,
    /// The time that the first event waits for others.
    pub max_wait: Duration,
    /// The time limit of a call; `None` for the group's `timeout`.
    pub timeout: Option<Duration>,
}

impl BatchOptions {
    /// Creates options for up to `max` events, of which the first waits for at most `max_wait`.
    pub const fn new(max: usize, max_wait: Duration) -> Self {
        Self {
            max,
            max_wait,
            timeout: None,
        }
    }

    pub(crate) fn validate(&self, pattern: &str) -> Result<()> {
        match self.max {
            0 => Err(Error::config(format!(
                "the batch handler of `{pattern}` has max = 0: expected at least 1"
            ))),
            _ => Ok(()),
        }
    }
}

impl Default for BatchOptions {
    /// Returns up to 100 events within 100 ms: a good size for one database statement, and a delay that
    /// people do not notice.
    fn default() -> Self {
        Self::new(100, Duration::from_millis(100))
    }
}

/// The return type of a batch handler: one outcome for all events, or one for each.
#[diagnostic::on_unimplemented(
    message = "a batch handler cannot return `{Self}`",
    label = "returned by a batch handler",
    note = "a batch handler returns `()`, `Outcome` or `Result<(), E>` for all events, or `Vec<Outcome>`, one for each"
)]
pub trait IntoOutcomes {
    /// Converts it to `count` outcomes.
    fn into_outcomes(self, count: usize) -> Vec<Outcome>;
}

impl<T: IntoOutcome> IntoOutcomes for T {
    fn into_outcomes(self, count: usize) -> Vec<Outcome> {
        vec![self.into_outcome(); count]
    }
}

impl IntoOutcomes for Vec<Outcome> {
    fn into_outcomes(self, count: usize) -> Vec<Outcome> {
        if self.len() == count {
            return self;
        }
        let said = format!(
            "a batch handler returned {} outcomes for {count} events",
            self.len()
        );
        vec![Outcome::failed(said); count]
    }
}

impl<E: HandlerError> IntoOutcomes for Result<Vec<Outcome>, E> {
    fn into_outcomes(self, count: usize) -> Vec<Outcome> {
        match self {
            Ok(outcomes) => outcomes.into_outcomes(count),
            Err(error) => vec![error.into_outcome(); count],
        }
    }
}

/// Handles several events in one call: an async function of [`Batch<T>`] and up to four states.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a batch handler",
    label = "not a batch handler of these arguments",
    note = "its first argument is `Batch<T>` where `T` is `Json<_>`, `Event` or another `Extract`, the others are `State<_>`",
    note = "it returns `()`, `Outcome` or `Result<(), E>` for all events, or `Vec<Outcome>`, one for each"
)]
pub trait BatchHandler<Args>: Send + Sync + 'static {
    /// Makes the arguments and calls the handler; resolves to one outcome per context, in order.
    fn call(&self, contexts: &[Context<'_>], setup: &Setup) -> BoxFuture<'static, Vec<Outcome>>;

    /// Checks, before the worker starts, that what the arguments need is there.
    fn check(&self, setup: &Setup) -> Result<()>;
}

macro_rules! batch_handler {
    ($($arg:ident),*) => {
        impl<F, Fut, T, $($arg,)*> BatchHandler<(T, $($arg,)*)> for F
        where
            F: Fn(Batch<T>, $($arg),*) -> Fut + Send + Sync + 'static,
            Fut: Future + Send + 'static,
            Fut::Output: IntoOutcomes,
            T: Extract,
            $($arg: ExtractShared,)*
        {
            fn call(
                &self,
                contexts: &[Context<'_>],
                #[allow(unused_variables)] setup: &Setup,
            ) -> BoxFuture<'static, Vec<Outcome>> {
                $(
                    #[allow(non_snake_case)]
                    let $arg = match $arg::extract_shared(setup) {
                        Ok(argument) => argument,
                        Err(outcome) => return ready(vec![outcome; contexts.len()]).boxed(),
                    };
                )*
                let (items, early) = extract_each(contexts);
                if items.is_empty() {
                    return ready(fill(early, Vec::new())).boxed();
                }
                let count = items.len();
                let run = self(Batch(items), $($arg),*);
                async move { fill(early, run.await.into_outcomes(count)) }.boxed()
            }

            fn check(&self, setup: &Setup) -> Result<()> {
                $($arg::check_shared(setup)?;)*
                T::check(setup)
            }
        }
    };
}

batch_handler!();
batch_handler!(A);
batch_handler!(A, B);
batch_handler!(A, B, C);
batch_handler!(A, B, C, D);

/// Makes the items, and the outcomes of those that cannot be made, in order.
fn extract_each<T: Extract>(contexts: &[Context<'_>]) -> (Vec<T>, Vec<Option<Outcome>>) {
    let mut items = Vec::with_capacity(contexts.len());
    let early = contexts
        .iter()
        .map(|context| match T::extract(context) {
            Ok(item) => {
                items.push(item);
                None
            }
            Err(outcome) => Some(outcome),
        })
        .collect();
    (items, early)
}

fn fill(early: Vec<Option<Outcome>>, outcomes: Vec<Outcome>) -> Vec<Outcome> {
    let mut outcomes = outcomes.into_iter();
    early
        .into_iter()
        .map(|known| {
            known
                .or_else(|| outcomes.next())
                .unwrap_or(Outcome::retry())
        })
        .collect()
}

/// A batch handler with its argument types erased.
pub(crate) trait AnyBatchHandler: Send + Sync {
    fn call(&self, contexts: &[Context<'_>], setup: &Setup) -> BoxFuture<'static, Vec<Outcome>>;
    fn check(&self, setup: &Setup) -> Result<()>;
}

pub(crate) struct ErasedBatch<H, Args>(pub(crate) H, pub(crate) PhantomData<fn(Args)>);

impl<H: BatchHandler<Args>, Args: 'static> AnyBatchHandler for ErasedBatch<H, Args> {
    fn call(&self, contexts: &[Context<'_>], setup: &Setup) -> BoxFuture<'static, Vec<Outcome>> {
        self.0.call(contexts, setup)
    }

    fn check(&self, setup: &Setup) -> Result<()> {
        self.0.check(setup)
    }
}
