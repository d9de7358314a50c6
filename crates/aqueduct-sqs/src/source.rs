use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use aqueduct_core::{
    Capabilities, GroupName, QueueMessage, QueueSettings, ReceiveRequest, Result, SmallStr,
    StreamName, Subscription, Timestamp,
};
use async_trait::async_trait;
use aws_sdk_sqs::types::{Message, MessageSystemAttributeName};

use crate::encoding::{Incoming, decode};
use crate::queue::{Queue, Receipt};

/// Receives from one queue. Clones share it.
#[derive(Clone)]
pub(crate) struct SqsSource {
    queue: Queue,
    /// The event source of messages that are not CloudEvents.
    event_source: SmallStr,
    settings: QueueSettings,
    capabilities: Capabilities,
    /// Whether it warned of messages without a group.
    warned: Arc<AtomicBool>,
}

impl SqsSource {
    pub(crate) fn new(queue: Queue, settings: QueueSettings, capabilities: Capabilities) -> Self {
        Self {
            event_source: format!("sqs://{}", queue.name).into(),
            queue,
            settings,
            capabilities,
            warned: Arc::default(),
        }
    }

    /// Converts a message; `None` if it has no id or receipt handle.
    fn read(&self, message: Message) -> Option<QueueMessage> {
        let attributes = message.message_attributes.unwrap_or_default();
        let system = message.attributes.unwrap_or_default();
        let text = |name: MessageSystemAttributeName| system.get(&name).map(String::as_str);
        let number = |name| text(name)?.parse::<i64>().ok();
        let group = text(MessageSystemAttributeName::MessageGroupId);
        let id = message.message_id?;
        let body = message.body.unwrap_or_default();
        let bytes = body.len() + size_of(&attributes) + 256;
        let event = decode(Incoming {
            id: &id,
            body,
            attributes: &attributes,
            group,
            source: &self.event_source,
        });
        // Some compatible services omit the group; the key orders the messages as well. Messages of
        // others without either are kept in order among themselves.
        let alone = self.queue.fifo && event.is_foreign();
        let order_key = group.or(event.key()).or(alone.then_some(""));
        if self.queue.fifo && group.is_none() && !self.warned.swap(true, Ordering::Relaxed) {
            tracing::warn!(queue = %self.queue.name, "a FIFO queue returned a message without its group: the order is that of the event's key");
        }
        let order_key = order_key.map(SmallStr::from);
        let mut read = QueueMessage::new(id.into(), message.receipt_handle?.into(), event);
        read.order_key = order_key;
        read.bytes = bytes;
        read.stored_at =
            number(MessageSystemAttributeName::SentTimestamp).map(Timestamp::from_millis);
        read.receipts = number(MessageSystemAttributeName::ApproximateReceiveCount)
            .and_then(|count| u32::try_from(count).ok())
            .unwrap_or(1);
        Some(read)
    }
}

#[async_trait]
impl aqueduct_core::Queue for SqsSource {
    fn stream(&self) -> &StreamName {
        &self.queue.name
    }

    fn capabilities(&self) -> Capabilities {
        self.capabilities.clone()
    }

    fn settings(&self) -> QueueSettings {
        self.settings.clone()
    }

    async fn subscribe(&self, _: &GroupName) -> Result<Arc<dyn Subscription>> {
        Ok(Arc::new(self.clone()))
    }
}

#[async_trait]
impl Subscription for SqsSource {
    async fn receive(&self, request: ReceiveRequest) -> Result<Vec<QueueMessage>> {
        let receipt = Receipt {
            max: request.max,
            wait: request.wait,
            visibility: request.lease,
            attempt: Some(request.token.to_string()),
        };
        let messages = self.queue.receive(receipt).await?;
        Ok(messages
            .into_iter()
            .filter_map(|it| self.read(it))
            .collect())
    }

    async fn ack(&self, receipts: &[SmallStr]) -> Vec<Result<()>> {
        self.queue.delete(receipts).await
    }

    async fn release(&self, messages: &[(SmallStr, Duration)]) -> Vec<Result<()>> {
        self.queue.hide(messages).await
    }

    async fn extend(&self, messages: &[(SmallStr, Duration)]) -> Vec<Result<()>> {
        self.queue.hide(messages).await
    }

    async fn close(&self) -> Result<()> {
        Ok(())
    }
}

fn size_of(attributes: &HashMap<String, aws_sdk_sqs::types::MessageAttributeValue>) -> usize {
    let sizes = attributes.iter().map(|(name, value)| {
        let text = value.string_value().map_or(0, str::len);
        name.len() + text + value.binary_value().map_or(0, |it| it.as_ref().len())
    });
    sizes.sum()
}
