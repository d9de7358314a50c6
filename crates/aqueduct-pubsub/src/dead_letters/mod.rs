//! Stores dead letters in a topic, and reads them by a subscription of its own. The README lists the
//! limits.

mod keys;
mod scan;
mod stored;

use aqueduct_core::outcomes::no_outcome;
use aqueduct_core::{
    DeadLetter, DeadLetterId, DeadLetterQuery, DeadLetterQueue, DeadLetterStore, Error, ErrorKind,
    GroupName, Limits, Result, Runtime, SmallStr, StoredDeadLetter, StreamName,
};
use aqueduct_queue::dead_letters::ScanningStore;
use async_trait::async_trait;
use google_cloud_pubsub::model::Message;

use self::scan::Reader;
use self::stored::ORDER;
use crate::codec::{size_of, structured};
use crate::config::Config;
use crate::connection::Connection;
use crate::names::short_name;
use crate::producer::{LARGEST, Publisher, REQUEST};
use crate::service::{LABEL, Service, duration, missing, plain_subscription};
use crate::source::event_source;

/// The filter of a subscription that stands for a held key: no message has this attribute.
const NOTHING: &str = "attributes:aqueduct-nothing";

/// The dead letters of one topic.
pub(crate) struct PubSubDeadLetters {
    scanned: ScanningStore<Reader>,
    publisher: Publisher,
    service: Service,
    topic: StreamName,
}

impl PubSubDeadLetters {
    /// Opens the topic's own subscription, or creates it where that is allowed.
    pub(crate) async fn open(
        connection: Connection,
        service: Service,
        config: Config,
        runtime: &Runtime,
    ) -> Result<Self> {
        let name = config.dead_letter_subscription();
        let subscription = match service.subscription(&name).await {
            Err(error) if error.is(ErrorKind::NotFound) && config.create => {
                // Exactly-once delivery confirms what is removed.
                let retention = config.subscriptions.retention.map(duration);
                let spec = plain_subscription(&service, &name, config.topic.as_str())
                    .set_or_clear_message_retention_duration(retention)
                    .set_enable_exactly_once_delivery(true)
                    .set_ack_deadline_seconds(60)
                    .set_labels([(LABEL, "dead-letters")]);
                service.create_subscription(spec).await?;
                service.subscription(&name).await?
            }
            Err(error) => return Err(missing(error, &format!("subscription {name}"))),
            Ok(subscription) => subscription,
        };
        if let Some(policy) = &subscription.dead_letter_policy {
            return Err(Error::config(format!(
                "subscription {name}: its dead letter policy would move dead letters away after they were \
                 listed {} times; remove the policy",
                policy.max_delivery_attempts
            )));
        }
        if subscription.topic != service.topic_path(config.topic.as_str()) {
            let of = short_name(&subscription.topic);
            return Err(Error::config(format!(
                "subscription {name}: it belongs to topic {of}, not to {}; delete it",
                config.topic
            )));
        }
        let base = connection.publisher(&config.sending).await?;
        let topic_path = service.topic_path(config.topic.as_str());
        let reader = Reader {
            path: service.subscription_path(&name),
            name: name.into(),
            event_source: event_source(&config),
            wait: config.reading.scan_wait,
            connection: connection.clone(),
            runtime: runtime.clone(),
        };
        Ok(Self {
            scanned: ScanningStore::new(reader, runtime),
            publisher: Publisher::new(connection, base, topic_path, &config.sending, runtime),
            service,
            topic: config.topic,
        })
    }

    async fn message(&self, dead_letter: &DeadLetter) -> Result<(Message, usize)> {
        let mut message = structured(&dead_letter.to_event()?);
        let order = format!("{:020}", self.scanned.next_order());
        message.attributes.insert(ORDER.to_owned(), order);
        let size = size_of(&message);
        let limits = Limits {
            event_bytes: Some(LARGEST),
            ..Limits::default()
        };
        limits
            .check_event(&dead_letter.event, size)
            .map_err(|error| {
                error.context(
                    "a dead letter is larger than its event, and this topic does not take it",
                )
            })?;
        if let (true, Some(key)) = (dead_letter.holds_key, dead_letter.event.key()) {
            self.hold(&dead_letter.group, &dead_letter.stream, key)
                .await?;
        }
        Ok((message, size))
    }

    async fn hold(&self, group: &GroupName, stream: &StreamName, key: &str) -> Result<()> {
        let name = keys::name_of(self.topic.as_str(), group, stream, key)?;
        let spec = plain_subscription(&self.service, &name, self.topic.as_str())
            .set_filter(NOTHING)
            .set_ack_deadline_seconds(10)
            .set_labels([(LABEL, "held")]);
        self.service.create_subscription(spec).await.map(drop)
    }
}

#[async_trait]
impl DeadLetterQueue for PubSubDeadLetters {
    async fn put(&self, dead_letters: &[DeadLetter]) -> Vec<Result<()>> {
        let mut outcomes: Vec<Result<()>> = Vec::new();
        outcomes.resize_with(dead_letters.len(), || Err(no_outcome()));
        let mut request = Vec::new();
        let (mut places, mut bytes) = (Vec::new(), 0);
        for (at, dead_letter) in dead_letters.iter().enumerate() {
            let (message, size) = match self.message(dead_letter).await {
                Ok(message) => message,
                Err(error) => {
                    outcomes[at] = Err(error);
                    continue;
                }
            };
            if request.len() == REQUEST || bytes + size > LARGEST {
                let outcome = self.publisher.send(std::mem::take(&mut request)).await;
                for at in places.drain(..) {
                    outcomes[at] = outcome.clone();
                }
                bytes = 0;
            }
            bytes += size;
            request.push(message);
            places.push(at);
        }
        if !request.is_empty() {
            let outcome = self.publisher.send(request).await;
            for at in places {
                outcomes[at] = outcome.clone();
            }
        }
        outcomes
    }
}

#[async_trait]
impl DeadLetterStore for PubSubDeadLetters {
    async fn list(&self, query: &DeadLetterQuery) -> Result<Vec<StoredDeadLetter>> {
        self.scanned.list(query).await
    }

    async fn show(&self, ids: &[DeadLetterId]) -> Vec<Result<StoredDeadLetter>> {
        self.scanned.show(ids).await
    }

    async fn purge(&self, ids: &[DeadLetterId]) -> Vec<Result<()>> {
        self.scanned.purge(ids).await
    }

    async fn held_keys(&self, group: &GroupName, stream: &StreamName) -> Result<Vec<SmallStr>> {
        let topic = self.topic.as_str();
        let paths = self.service.subscriptions_of(topic).await?;
        let keys = paths
            .iter()
            .filter_map(|path| keys::key_of(short_name(path), topic, group, stream));
        let mut held: Vec<SmallStr> = keys.collect();
        held.sort();
        Ok(held)
    }

    async fn release_key(&self, group: &GroupName, stream: &StreamName, key: &str) -> Result<()> {
        let name = keys::name_of(self.topic.as_str(), group, stream, key)?;
        match self.service.delete_subscription(&name).await {
            Err(error) if error.is(ErrorKind::NotFound) => Ok(()),
            outcome => outcome,
        }
    }
}
