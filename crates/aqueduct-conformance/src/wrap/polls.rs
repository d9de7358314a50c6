use std::future::{Future, poll_fn};
use std::task::Poll;

use futures::FutureExt as _;

/// Polls `future` up to `polls` times, each time after it was woken, then drops it. Returns its
/// output if it was ready by then.
///
/// Waits at most `limit` between two polls: a future that is not woken by then is dropped.
pub(crate) async fn cancel_after<T>(
    polls: usize,
    future: impl Future<Output = T>,
    limit: impl Future<Output = ()>,
) -> Option<T> {
    let mut left = polls;
    futures::pin_mut!(future);
    futures::pin_mut!(limit);
    poll_fn(|cx| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        if let Poll::Ready(made) = future.poll_unpin(cx) {
            return Poll::Ready(Some(made));
        }
        match left {
            0 => Poll::Ready(None),
            _ => limit.poll_unpin(cx).map(|()| None),
        }
    })
    .await
}
