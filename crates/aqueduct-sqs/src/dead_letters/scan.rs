use std::collections::HashSet;
use std::time::Duration;

use aqueduct_core::{Result, Runtime, SmallStr};
use aqueduct_queue::dead_letters::{Scan, Scanned, ScannedQueue};
use async_trait::async_trait;

use super::stored;
use crate::ids;
use crate::queue::{BATCH, Queue, Receipt};

/// How long a scan hides dead letters from other consumers: reading 1,000 takes some seconds.
const HIDDEN: Duration = Duration::from_secs(300);

/// How long a receive waits. Long polling asks all servers of the queue, so an empty response means
/// that the queue is empty.
const WAIT: Duration = Duration::from_secs(1);

/// The queue that scans read.
pub(super) struct Letters {
    pub(super) queue: Queue,
    pub(super) runtime: Runtime,
}

/// One scan: what it receives is invisible to others for a while.
pub(super) struct QueueScan {
    queue: Queue,
    runtime: Runtime,
    source: SmallStr,
    seen: HashSet<SmallStr>,
    ended: bool,
}

#[async_trait]
impl ScannedQueue for Letters {
    type Scan = QueueScan;
    /// The number that 2,000 requests return while the first stay hidden; the service lets 120,000 be in flight.
    const MOST: usize = 20_000;

    fn describe(&self) -> String {
        format!("queue {}", self.queue.name)
    }

    async fn scan(&self) -> Result<QueueScan> {
        Ok(QueueScan {
            queue: self.queue.clone(),
            runtime: self.runtime.clone(),
            source: format!("sqs://{}", self.queue.name).into(),
            seen: HashSet::new(),
            ended: false,
        })
    }
}

#[async_trait]
impl Scan for QueueScan {
    type Handle = SmallStr;

    async fn receive(&mut self) -> Result<Vec<Scanned<SmallStr>>> {
        if self.ended {
            return Ok(Vec::new());
        }
        let receipt = Receipt {
            max: BATCH,
            wait: WAIT,
            visibility: HIDDEN,
            attempt: Some(ids::random(&self.runtime)),
        };
        let messages = self.queue.receive(receipt).await?;
        let messages = messages.into_iter();
        let received: Vec<_> = messages
            .filter_map(|message| stored::read(message, &self.source))
            .collect();
        let mut new = false;
        for scanned in &received {
            new |= self.seen.insert(scanned.place.message.clone());
        }
        // Messages that are visible again mean that all were received.
        self.ended = !new;
        Ok(received)
    }

    async fn delete(&mut self, handles: Vec<SmallStr>) -> Vec<Result<()>> {
        let mut outcomes = Vec::with_capacity(handles.len());
        for batch in handles.chunks(BATCH) {
            outcomes.extend(self.queue.delete(batch).await);
        }
        outcomes
    }

    async fn end(self, handles: Vec<SmallStr>) {
        give_back(&self.queue, handles).await;
    }

    fn abandon(self, handles: Vec<SmallStr>) {
        if !handles.is_empty() {
            let queue = self.queue;
            let giving = async move { give_back(&queue, handles).await };
            self.runtime.spawn(giving).detach();
        }
    }
}

/// Makes messages visible to others again.
async fn give_back(queue: &Queue, handles: Vec<SmallStr>) {
    let handles: Vec<(SmallStr, Duration)> = handles
        .into_iter()
        .map(|handle| (handle, Duration::ZERO))
        .collect();
    for batch in handles.chunks(BATCH) {
        for outcome in queue.hide(batch).await {
            if let Err(error) = outcome {
                tracing::debug!(%error, "a dead letter stays hidden for up to 5 minutes");
            }
        }
    }
}
