use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use aqueduct_aws::Aws;
use aqueduct_core::{Error, ErrorKind, Result, Runtime, SmallStr, StreamName};
use aws_sdk_sqs::Client;
use aws_sdk_sqs::config::StalledStreamProtectionConfig;
use aws_sdk_sqs::config::timeout::TimeoutConfig;
use aws_sdk_sqs::types::{
    BatchResultErrorEntry, ChangeMessageVisibilityBatchRequestEntry,
    DeleteMessageBatchRequestEntry, Message, MessageSystemAttributeName, QueueAttributeName,
    SendMessageBatchRequestEntry,
};

use crate::config::Config;
use crate::encoding::Encoded;
use crate::error::{entry_failed, failed, unanswered};
use crate::metrics::Metrics;

/// The most entries of one request.
pub(crate) const BATCH: usize = 10;

/// The most bytes of one request, and of one message unless the queue has a lower limit.
pub(crate) const BATCH_BYTES: usize = 1 << 20;

/// A client for one queue. Clones share it.
#[derive(Clone)]
pub(crate) struct Queue(Arc<Inner>);

pub(crate) struct Inner {
    client: Client,
    url: String,
    pub(crate) name: StreamName,
    pub(crate) fifo: bool,
    pub(crate) metrics: Metrics,
    timeout: Duration,
}

impl std::ops::Deref for Queue {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.0
    }
}

/// A message to send.
#[derive(Clone)]
pub(crate) struct Outgoing {
    pub(crate) encoded: Encoded,
    pub(crate) group: Option<String>,
    pub(crate) dedup: Option<String>,
}

/// The parameters of one receive request.
pub(crate) struct Receipt {
    pub(crate) max: usize,
    pub(crate) wait: Duration,
    pub(crate) visibility: Duration,
    /// The receive request attempt id: a FIFO queue returns the same messages for the same id.
    pub(crate) attempt: Option<String>,
}

/// The attributes of a queue, by the service's names.
pub(crate) struct Attributes(HashMap<QueueAttributeName, String>);

impl Queue {
    /// Resolves the URL of the queue, without reading its attributes.
    ///
    /// # Errors
    /// `NotFound` if it does not exist.
    pub(crate) async fn find(aws: &Aws, config: &Config) -> Result<Self> {
        let client = client(aws, config).await?;
        let what = What("GetQueueUrl", &config.queue);
        let url = client
            .get_queue_url()
            .queue_name(config.queue.as_str())
            .set_queue_owner_aws_account_id(config.account.as_ref().map(SmallStr::to_string))
            .send()
            .await
            .map_err(|error| failed(what, error))?
            .queue_url
            .unwrap_or_default();
        Ok(Self::of(client, url, config))
    }

    /// Creates the queue; returns whether it was missing.
    pub(crate) async fn create(
        aws: &Aws,
        config: &Config,
        retention: Option<Duration>,
    ) -> Result<bool> {
        match Self::find(aws, config).await {
            Ok(_) => return Ok(false),
            Err(error) if error.is(ErrorKind::NotFound) => {}
            Err(error) => return Err(error),
        }
        let client = client(aws, config).await?;
        let mut attributes = HashMap::new();
        if config.is_fifo() {
            attributes.insert(QueueAttributeName::FifoQueue, "true".to_owned());
        }
        if let Some(retention) = retention {
            let seconds = retention.as_secs().to_string();
            attributes.insert(QueueAttributeName::MessageRetentionPeriod, seconds);
        }
        client
            .create_queue()
            .queue_name(config.queue.as_str())
            .set_attributes(Some(attributes))
            .send()
            .await
            .map_err(|error| failed(What("CreateQueue", &config.queue), error))?;
        Ok(true)
    }

    /// Finds the queue and reads its attributes. Creates it first if it is missing and `create` allows.
    pub(crate) async fn open(
        aws: &Aws,
        config: &Config,
        runtime: &Runtime,
    ) -> Result<(Self, Attributes)> {
        let found = match Self::find(aws, config).await {
            Err(error) if config.create && error.is(ErrorKind::NotFound) => {
                Self::create(aws, config, config.retention).await?;
                Self::find(aws, config).await
            }
            found => found,
        }?;
        // A queue that was just created may be unknown for a moment.
        for _ in 0..5 {
            match found.attributes().await {
                Err(error) if config.create && error.is(ErrorKind::NotFound) => {
                    runtime.sleep(Duration::from_secs(1)).await;
                }
                answer => return answer.map(|attributes| (found, attributes)),
            }
        }
        let attributes = found.attributes().await?;
        Ok((found, attributes))
    }

    fn of(client: Client, url: String, config: &Config) -> Self {
        Self(Arc::new(Inner {
            client,
            url,
            name: config.queue.clone(),
            fifo: config.is_fifo(),
            metrics: Metrics::new(config.queue.as_str()),
            timeout: config.aws.request_timeout,
        }))
    }

    pub(crate) async fn attributes(&self) -> Result<Attributes> {
        self.metrics.get_queue.increment(1);
        let answer = self
            .client
            .get_queue_attributes()
            .queue_url(&self.url)
            .attribute_names(QueueAttributeName::All)
            .send()
            .await
            .map_err(|error| failed(self.what("GetQueueAttributes"), error))?;
        Ok(Attributes(answer.attributes.unwrap_or_default()))
    }

    pub(crate) async fn delete_queue(&self) -> Result<()> {
        self.client
            .delete_queue()
            .queue_url(&self.url)
            .send()
            .await
            .map(drop)
            .map_err(|error| failed(self.what("DeleteQueue"), error))
    }

    /// Sends up to a batch of messages.
    pub(crate) async fn send(&self, messages: Vec<Outgoing>) -> Vec<Result<()>> {
        let what = self.what("SendMessageBatch");
        let count = messages.len();
        self.metrics.send.increment(1);
        let entries = messages.into_iter().enumerate().map(|(at, message)| {
            let attributes: HashMap<_, _> = message.encoded.attributes.into_iter().collect();
            SendMessageBatchRequestEntry::builder()
                .id(at.to_string())
                .message_body(message.encoded.body)
                .set_message_attributes((!attributes.is_empty()).then_some(attributes))
                .set_message_group_id(message.group)
                .set_message_deduplication_id(message.dedup)
                .build()
        });
        let entries = match built(entries, &what) {
            Ok(entries) => entries,
            Err(error) => return vec![Err(error); count],
        };
        let request = self.client.send_message_batch().queue_url(&self.url);
        match request.set_entries(Some(entries)).send().await {
            Err(error) => vec![Err(failed(what, error)); count],
            Ok(answer) => {
                let stored = answer.successful().iter().map(|it| it.id());
                let outcomes = outcomes(count, stored, answer.failed(), &what);
                let stored = outcomes.iter().filter(|it| it.is_ok()).count();
                self.metrics.sent.increment(stored as u64);
                outcomes
            }
        }
    }

    pub(crate) async fn receive(&self, receipt: Receipt) -> Result<Vec<Message>> {
        self.metrics.receive.increment(1);
        // The time-out must exceed the long poll, or a waiting request would fail.
        let batch_wait = TimeoutConfig::builder()
            .operation_attempt_timeout(self.timeout + receipt.wait)
            .build();
        let mut request = self
            .client
            .receive_message()
            .queue_url(&self.url)
            .max_number_of_messages(i32::try_from(receipt.max.min(BATCH)).unwrap_or(1))
            .wait_time_seconds(as_seconds(receipt.wait))
            .visibility_timeout(as_seconds(receipt.visibility))
            .message_attribute_names("All");
        for name in [
            MessageSystemAttributeName::SentTimestamp,
            MessageSystemAttributeName::ApproximateReceiveCount,
            MessageSystemAttributeName::MessageGroupId,
            MessageSystemAttributeName::SequenceNumber,
            MessageSystemAttributeName::DeadLetterQueueSourceArn,
        ] {
            request = request.message_system_attribute_names(name);
        }
        let answer = request
            .set_receive_request_attempt_id(receipt.attempt.filter(|_| self.fifo))
            .customize()
            .config_override(aws_sdk_sqs::config::Builder::new().timeout_config(batch_wait))
            .send()
            .await
            .map_err(|error| failed(self.what("ReceiveMessage"), error))?;
        let messages = answer.messages.unwrap_or_default();
        match messages.len() {
            0 => self.metrics.receive_empty.increment(1),
            count => self.metrics.received.increment(count as u64),
        }
        Ok(messages)
    }

    /// Deletes up to a batch of messages, by their receipts.
    pub(crate) async fn delete(&self, handles: &[SmallStr]) -> Vec<Result<()>> {
        let what = self.what("DeleteMessageBatch");
        self.metrics.delete.increment(1);
        let entries = handles.iter().enumerate().map(|(at, handle)| {
            DeleteMessageBatchRequestEntry::builder()
                .id(at.to_string())
                .receipt_handle(handle.as_str())
                .build()
        });
        let entries = match built(entries, &what) {
            Ok(entries) => entries,
            Err(error) => return vec![Err(error); handles.len()],
        };
        let request = self.client.delete_message_batch().queue_url(&self.url);
        match request.set_entries(Some(entries)).send().await {
            Err(error) => vec![Err(failed(what, error)); handles.len()],
            Ok(answer) => {
                let done = answer.successful().iter().map(|it| it.id());
                let outcomes = outcomes(handles.len(), done, answer.failed(), &what);
                let done = outcomes.iter().filter(|it| it.is_ok()).count();
                self.metrics.deleted.increment(done as u64);
                outcomes
            }
        }
    }

    /// Hides up to a batch of messages for that long from now.
    pub(crate) async fn hide(&self, messages: &[(SmallStr, Duration)]) -> Vec<Result<()>> {
        let what = self.what("ChangeMessageVisibilityBatch");
        self.metrics.change_visibility.increment(1);
        let entries = messages.iter().enumerate().map(|(at, (handle, time))| {
            ChangeMessageVisibilityBatchRequestEntry::builder()
                .id(at.to_string())
                .receipt_handle(handle.as_str())
                .visibility_timeout(as_seconds(*time))
                .build()
        });
        let entries = match built(entries, &what) {
            Ok(entries) => entries,
            Err(error) => return vec![Err(error); messages.len()],
        };
        let request = self
            .client
            .change_message_visibility_batch()
            .queue_url(&self.url);
        match request.set_entries(Some(entries)).send().await {
            Err(error) => vec![Err(failed(what, error)); messages.len()],
            Ok(answer) => {
                let done = answer.successful().iter().map(|it| it.id());
                outcomes(messages.len(), done, answer.failed(), &what)
            }
        }
    }

    pub(crate) async fn tags(&self) -> Result<HashMap<String, String>> {
        self.metrics.tags.increment(1);
        let answer = self.client.list_queue_tags().queue_url(&self.url).send();
        let answer = answer.await;
        let answer = answer.map_err(|error| failed(self.what("ListQueueTags"), error))?;
        Ok(answer.tags.unwrap_or_default())
    }

    pub(crate) async fn tag(&self, key: &str, value: &str) -> Result<()> {
        let request = self.client.tag_queue().queue_url(&self.url);
        let answer = request.tags(key, value).send().await;
        answer
            .map(drop)
            .map_err(|error| failed(self.what("TagQueue"), error))
    }

    pub(crate) async fn untag(&self, key: &str) -> Result<()> {
        let request = self.client.untag_queue().queue_url(&self.url);
        let answer = request.tag_keys(key).send().await;
        answer
            .map(drop)
            .map_err(|error| failed(self.what("UntagQueue"), error))
    }

    pub(crate) fn what(&self, operation: &'static str) -> What<'_> {
        What(operation, &self.name)
    }
}

async fn client(aws: &Aws, config: &Config) -> Result<Client> {
    // A long poll would trip the stalled-stream protection; every request has a time-out instead.
    let config = aws_sdk_sqs::config::Builder::from(&aws.config(&config.aws).await?)
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        .build();
    Ok(Client::from_conf(config))
}

impl Attributes {
    pub(crate) fn text(&self, name: QueueAttributeName) -> Option<&str> {
        self.0.get(&name).map(String::as_str)
    }

    pub(crate) fn number(&self, name: QueueAttributeName) -> Option<u64> {
        self.text(name)?.parse().ok()
    }

    /// Returns the size limit of a message, in bytes.
    pub(crate) fn largest(&self) -> usize {
        self.number(QueueAttributeName::MaximumMessageSize)
            .map_or(BATCH_BYTES, |it| it as usize)
            .min(BATCH_BYTES)
    }

    /// Returns the receive count of the queue's own redrive policy; `None` without one.
    pub(crate) fn max_receive_count(&self) -> Option<u64> {
        let policy = self.text(QueueAttributeName::RedrivePolicy)?;
        let policy: serde_json::Value = serde_json::from_str(policy).ok()?;
        let count = &policy["maxReceiveCount"];
        count.as_u64().or_else(|| count.as_str()?.parse().ok())
    }
}

/// Describes a request on a queue, for error messages.
#[derive(Clone, Copy)]
pub(crate) struct What<'a>(&'static str, &'a StreamName);

impl fmt::Display for What<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on queue {}", self.0, self.1)
    }
}

fn as_seconds(time: Duration) -> i32 {
    let up = u64::from(time.subsec_nanos() > 0);
    i32::try_from(time.as_secs() + up).unwrap_or(i32::MAX)
}

fn built<T, E: fmt::Display>(
    entries: impl Iterator<Item = Result<T, E>>,
    what: &What<'_>,
) -> Result<Vec<T>> {
    entries
        .collect::<Result<_, E>>()
        .map_err(|error| Error::new(ErrorKind::Internal, format!("{what}: {error}")))
}

/// Returns one outcome for each entry, in order.
fn outcomes<'a>(
    count: usize,
    done: impl Iterator<Item = &'a str>,
    failed: &[BatchResultErrorEntry],
    what: &What<'_>,
) -> Vec<Result<()>> {
    let mut outcomes: Vec<Option<Result<()>>> = vec![None; count];
    let place = |id: &str| id.parse().ok().filter(|at: &usize| *at < count);
    for at in done.filter_map(place) {
        outcomes[at] = Some(Ok(()));
    }
    for entry in failed {
        if let Some(at) = place(entry.id()) {
            outcomes[at] = Some(Err(entry_failed(what, entry)));
        }
    }
    outcomes
        .into_iter()
        .map(|outcome| outcome.unwrap_or_else(|| Err(unanswered(what))))
        .collect()
}
