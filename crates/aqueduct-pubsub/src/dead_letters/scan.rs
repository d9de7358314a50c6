use std::time::Duration;

use aqueduct_core::{Result, Runtime, SmallStr};
use aqueduct_queue::dead_letters::{Scan, Scanned, ScannedQueue};
use async_trait::async_trait;
use futures::future::{Either, join_all, select};
use google_cloud_pubsub::subscriber::MessageStream;
use google_cloud_pubsub::subscriber::handler::Handler;

use super::stored;
use crate::connection::{CALL, Connection};
use crate::error::{failed, not_confirmed, timed_out};
use crate::subscription::nack_all;

/// The most dead letters of one scan.
const MOST: usize = 50_000;

/// How much longer than for a further dead letter a scan waits for the first: its stream opens
/// meanwhile.
const OPENING: u32 = 4;

/// The subscription that scans read.
pub(super) struct Reader {
    pub(super) connection: Connection,
    /// The resource name.
    pub(super) path: String,
    /// The short name.
    pub(super) name: SmallStr,
    pub(super) event_source: SmallStr,
    /// How long a scan waits for a further dead letter.
    pub(super) wait: Duration,
    pub(super) runtime: Runtime,
}

/// One scan: a stream, whose messages are renewed until they are settled.
pub(super) struct TopicScan {
    stream: MessageStream,
    name: SmallStr,
    event_source: SmallStr,
    wait: Duration,
    further_wait: Duration,
    runtime: Runtime,
}

#[async_trait]
impl ScannedQueue for Reader {
    type Scan = TopicScan;
    const MOST: usize = MOST;

    fn describe(&self) -> String {
        format!("subscription {}", self.name)
    }

    async fn scan(&self) -> Result<TopicScan> {
        let subscriber = self.connection.subscriber().await?;
        let most = i64::try_from(MOST).unwrap_or(i64::MAX);
        let _tokio = self.connection.enter();
        let stream = subscriber
            .subscribe(self.path.as_str())
            .set_max_outstanding_messages(most)
            .set_max_outstanding_bytes(1_i64 << 30)
            .build();
        Ok(TopicScan {
            stream,
            name: self.name.clone(),
            event_source: self.event_source.clone(),
            wait: self.wait * OPENING,
            further_wait: self.wait,
            runtime: self.runtime.clone(),
        })
    }
}

impl TopicScan {
    async fn confirm(&self, handler: Handler) -> Result<()> {
        let what = || format!("deleting a dead letter of subscription {}", self.name);
        let Handler::ExactlyOnce(handler) = handler else {
            handler.ack();
            return Ok(());
        };
        let confirmed = handler.confirmed_ack();
        match self.runtime.timeout(CALL, "ack", confirmed).await {
            Ok(outcome) => outcome.map_err(|error| not_confirmed(what(), error)),
            Err(_) => Err(timed_out(what(), CALL)),
        }
    }
}

#[async_trait]
impl Scan for TopicScan {
    type Handle = Handler;

    async fn receive(&mut self) -> Result<Vec<Scanned<Handler>>> {
        let next = self.stream.next();
        futures::pin_mut!(next);
        let (message, handler) = match select(next, self.runtime.sleep(self.wait)).await {
            Either::Left((Some(Ok(next)), _)) => next,
            Either::Left((Some(Err(error)), _)) => {
                return Err(failed(format_args!("subscription {}", self.name), error));
            }
            Either::Left((None, _)) | Either::Right(_) => return Ok(Vec::new()),
        };
        self.wait = self.further_wait;
        Ok(vec![stored::read(message, &self.event_source, handler)])
    }

    async fn delete(&mut self, handles: Vec<Handler>) -> Vec<Result<()>> {
        let this = &*self;
        join_all(handles.into_iter().map(|handler| this.confirm(handler))).await
    }

    /// Waits until the service knows.
    async fn end(self, handles: Vec<Handler>) {
        let token = self.stream.shutdown_token();
        // The stream ends first: it would receive what is given back.
        drop(self.stream);
        let ended = async {
            nack_all(handles.into_iter()).await;
            token.shutdown().await;
        };
        if self.runtime.timeout(CALL, "end", ended).await.is_err() {
            tracing::debug!("dead letters stay hidden until their deadline");
        }
    }

    fn abandon(self, handles: Vec<Handler>) {
        drop(self.stream);
        // A handler that is dropped gives its message back.
        drop(handles);
    }
}
