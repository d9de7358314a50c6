use std::sync::Arc;

use aqueduct_core::{
    Capabilities, Capability, Claim, Error, ErrorKind, GroupName, OpenedSubscription, Queue,
    QueueSettings, Result, Runtime, SmallStr, Start, StreamName, Timestamp,
};
use async_trait::async_trait;
use google_cloud_auth::credentials::Credentials;
use google_cloud_pubsub::model::Subscription;

use crate::backend::no;
use crate::config::Config;
use crate::connection::Connection;
use crate::metrics::Metrics;
use crate::names::short_name;
use crate::replay::{Presence, PubSubReplay, generation_of, keeps_nothing};
use crate::service::{Service, group_subscription, missing};
use crate::subscription::{Opening, PubSubSubscription};
use crate::transforms;

/// The topic that the service names as that of a subscription whose topic was deleted.
const DELETED: &str = "_deleted-topic_";

/// Opens the subscriptions of one topic's groups.
pub(crate) struct PubSubSource {
    pub(crate) connection: Connection,
    pub(crate) service: Service,
    pub(crate) config: Config,
    pub(crate) credentials: Option<Credentials>,
    pub(crate) capabilities: Capabilities,
    /// Whether the topic keeps messages by itself. Some emulators do not say so in a subscription.
    pub(crate) topic_keeps: bool,
    pub(crate) runtime: Runtime,
}

impl PubSubSource {
    /// Reads the subscription, or creates it where that is allowed.
    async fn find(&self, name: &str) -> Result<Subscription> {
        match self.service.subscription(name).await {
            Err(error) if error.is(ErrorKind::NotFound) && self.config.create => {}
            Err(error) => {
                let what = format!("subscription {name} of topic {}", self.config.topic);
                return Err(missing(error, &what));
            }
            found => return found,
        }
        if let Some(topic) = &self.config.subscriptions.dead_letter_topic {
            self.service.create_topic(short_name(topic), None).await?;
        }
        let spec = group_subscription(&self.config, &self.service, name);
        let is_new = self.service.create_subscription(spec).await?;
        let created = self.service.subscription(name).await?;
        if is_new && self.topic_keeps {
            // A new subscription begins with the next message: let it begin with the oldest kept.
            match self.service.seek_to_time(name, Timestamp::EPOCH).await {
                Err(error) if error.is(ErrorKind::Unsupported) => tracing::warn!(
                    subscription = name,
                    %error,
                    "the endpoint cannot seek: the group begins with the next message"
                ),
                sought => sought?,
            }
        }
        Ok(created)
    }

    /// Refuses a subscription that cannot be read as this stream.
    fn check(&self, name: &str, subscription: &Subscription) -> Result<()> {
        let refuse = |why: String| Err(Error::config(format!("subscription {name}: {why}")));
        let topic = self.config.topic.as_str();
        if subscription.topic == DELETED {
            return refuse(format!(
                "its topic was deleted; delete it and create it again on topic {topic}"
            ));
        }
        if subscription.topic != self.service.topic_path(topic) {
            let of = short_name(&subscription.topic);
            return refuse(format!(
                "it belongs to topic {of}, not to {topic}; name another by `subscription`"
            ));
        }
        if subscription.detached {
            return refuse("it is detached from its topic; delete it and create it again".into());
        }
        let push = subscription.push_config.as_ref();
        if push.is_some_and(|push| !push.push_endpoint.is_empty()) {
            return refuse(
                "the service pushes its messages to an endpoint; change it to pull, or use another"
                    .into(),
            );
        }
        let exports = [
            ("BigQuery", subscription.bigquery_config.is_some()),
            ("Cloud Storage", subscription.cloud_storage_config.is_some()),
            ("Bigtable", subscription.bigtable_config.is_some()),
        ];
        if let Some((to, _)) = exports.iter().find(|(_, exports)| *exports) {
            return refuse(format!(
                "it exports to {to} and cannot be pulled; use another"
            ));
        }
        self.check_policy(name, subscription)
    }

    fn check_policy(&self, name: &str, subscription: &Subscription) -> Result<()> {
        let Some(policy) = &subscription.dead_letter_policy else {
            return Ok(());
        };
        let most = policy.max_delivery_attempts;
        if subscription.enable_message_ordering && !self.config.reading.native_dead_letters {
            return Err(Error::config(format!(
                "subscription {name}: its dead letter policy moves a message away after {most} deliveries, \
                 which includes messages that only waited behind a failing one of their key; remove the \
                 policy and set `dead_letters`, or accept it with native_dead_letters = \"accept\""
            )));
        }
        tracing::warn!(
            subscription = name,
            max_delivery_attempts = most,
            "the subscription's own dead letter policy counts every delivery, including those of messages \
             that only waited"
        );
        Ok(())
    }

    fn opened(&self, subscription: &Subscription) -> OpenedSubscription {
        let ordered = subscription.enable_message_ordering;
        let exactly_once = subscription.enable_exactly_once_delivery;
        let settings = self.config.reading.settings(ordered, exactly_once);
        let mut capabilities = self.capabilities.clone();
        let order = match ordered && self.config.sending.ordering {
            true => Claim::Yes,
            false => no("the subscription does not keep order: create one with message ordering"),
        };
        let replay = match keeps_nothing(subscription, self.topic_keeps) {
            None => Claim::Yes,
            Some(why) => no(why),
        };
        capabilities.claims = capabilities
            .claims
            .with(Capability::KeyOrder, order)
            .with(Capability::Replay, replay);
        let mut opened = OpenedSubscription::new(settings, capabilities);
        opened.replay = generation_of(subscription);
        opened
    }
}

#[async_trait]
impl Queue for PubSubSource {
    fn stream(&self) -> &StreamName {
        &self.config.topic
    }

    fn capabilities(&self) -> Capabilities {
        self.capabilities.clone()
    }

    fn settings(&self) -> QueueSettings {
        let exactly_once = self.config.subscriptions.exactly_once;
        self.config
            .reading
            .settings(self.config.sending.ordering, exactly_once)
    }

    async fn subscribe(&self, group: &GroupName) -> Result<Arc<dyn aqueduct_core::Subscription>> {
        let name = self.config.subscription_of(group)?;
        let subscription = self.find(&name).await?;
        self.check(&name, &subscription)?;
        let inflates = transforms::check(&name, &subscription, self.config.reading.compressed)?;
        let presence = self.config.reading.presence;
        let opening = Opening {
            connection: self.connection.clone(),
            path: self.service.subscription_path(&name),
            event_source: event_source(&self.config),
            reading: self.config.reading.clone(),
            inflates,
            opened: self.opened(&subscription),
            presence: presence.then(|| Presence::begin(self.service.clone(), &name, &self.runtime)),
            metrics: Metrics::new(self.config.topic.as_str()),
            name,
        };
        Ok(Arc::new(PubSubSubscription::open(opening, &self.runtime)))
    }

    async fn replay(&self, group: &GroupName, start: &Start) -> Result<u64> {
        let credentials = self.credentials.as_ref();
        let replay = PubSubReplay::of(self.config.clone(), credentials, &self.runtime).await?;
        replay.to_start(group, start).await
    }
}

/// Returns the source of events that were not sent as CloudEvents.
pub(crate) fn event_source(config: &Config) -> SmallStr {
    format!("pubsub://{}/{}", config.project, config.topic).into()
}
