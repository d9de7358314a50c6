//! Replay: a group that does not run is moved to an earlier time or to a snapshot. Labels of the
//! subscription hold the replay generation, and the members that live.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use aqueduct_core::{
    Error, ErrorKind, GroupName, Options, Result, Runtime, Start, Task, Timestamp, Url,
};
use google_cloud_auth::credentials::Credentials;
use google_cloud_pubsub::model::Subscription;

use crate::config::Config;
use crate::connection::Connection;
use crate::names::invalid_name;
use crate::service::{Service, missing};

/// The label of the replay generation.
const REPLAY: &str = "aqueduct-replay";

/// The prefix of a member's label; its value changes with each renewal.
const MEMBER: &str = "aqueduct-member-";

/// How often a member renews its label.
const RENEWAL: Duration = Duration::from_secs(20);

/// How long a member's label stands still before the member counts as dead: three renewals.
const DEAD: Duration = Duration::from_secs(60);

/// How often a replay looks at the labels of members.
const LOOK: Duration = Duration::from_secs(5);

/// Moves the groups of one topic. A snapshot keeps what is unacknowledged at a moment, so that a
/// deployment can be undone.
///
/// All of it is refused with `Conflict` while members of the group live, except taking a snapshot.
pub struct PubSubReplay {
    config: Config,
    service: Service,
    runtime: Runtime,
}

impl PubSubReplay {
    /// Opens the topic of `url`, with the options of its stream.
    ///
    /// # Errors
    /// `Config` for the URL or an option; `Denied` without credentials.
    pub async fn open(name: &str, url: &Url, options: Options, runtime: &Runtime) -> Result<Self> {
        let config = Config::parse(name, url, options)?;
        Self::of(config, None, runtime).await
    }

    pub(crate) async fn of(
        config: Config,
        credentials: Option<&Credentials>,
        runtime: &Runtime,
    ) -> Result<Self> {
        let connection = Connection::open(&config, credentials, runtime).await?;
        let service = Service::new(&connection, &config, runtime).await?;
        Ok(Self {
            config,
            service,
            runtime: runtime.clone(),
        })
    }

    /// Takes a snapshot of what `group` has not acknowledged. The service keeps it for up to seven
    /// days.
    ///
    /// # Errors
    /// `NotFound` without the subscription; `AlreadyExists`; `Denied`; `Unavailable` or `TimedOut`.
    pub async fn take_snapshot(&self, group: &GroupName, snapshot: &str) -> Result<()> {
        check_snapshot(snapshot)?;
        let name = self.config.subscription_of(group)?;
        self.service.create_snapshot(&name, snapshot).await
    }

    /// Deletes a snapshot.
    ///
    /// # Errors
    /// `NotFound` if it does not exist or has expired; `Denied`; `Unavailable` or `TimedOut`.
    pub async fn delete_snapshot(&self, snapshot: &str) -> Result<()> {
        check_snapshot(snapshot)?;
        self.service.delete_snapshot(snapshot).await
    }

    /// Lets `group` receive again what was unacknowledged when the snapshot was taken, and all that
    /// came later. Returns the new replay generation.
    ///
    /// # Errors
    /// `NotFound` if the snapshot does not exist or has expired; `Conflict` while members live; `Denied`;
    /// `Unavailable` or `TimedOut`.
    pub async fn to_snapshot(&self, group: &GroupName, snapshot: &str) -> Result<u64> {
        check_snapshot(snapshot)?;
        let name = self.config.subscription_of(group)?;
        let replay = self.begin(&name).await?;
        let sought = self.service.seek_to_snapshot(&name, snapshot).await;
        sought.map_err(|error| match error.is(ErrorKind::NotFound) {
            true => {
                let text = format!("{error}: it does not exist or has expired");
                error.with_message(text)
            }
            false => error,
        })?;
        Ok(replay)
    }

    /// Lets `group` receive again what came from `start` on. Returns the new replay generation.
    ///
    /// # Errors
    /// `Unsupported` if the subscription keeps nothing that was acknowledged, and for positions; `NotFound`
    /// without the subscription; `Conflict` while members live; `Denied`; `Unavailable` or `TimedOut`.
    pub async fn to_start(&self, group: &GroupName, start: &Start) -> Result<u64> {
        let name = self.config.subscription_of(group)?;
        let time = match start {
            Start::Earliest => Timestamp::EPOCH,
            Start::Latest => self.runtime.wall(),
            Start::Time(time) => *time,
            _ => {
                return Err(Error::unsupported(format!(
                    "subscription {name}: a replay begins at a time or a snapshot, not at positions"
                )));
            }
        };
        if !matches!(start, Start::Latest) {
            let subscription = self.service.subscription(&name).await?;
            let topic = self.service.topic(self.config.topic.as_str()).await;
            let topic_keeps = topic.is_ok_and(|it| it.message_retention_duration.is_some());
            if let Some(why) = keeps_nothing(&subscription, topic_keeps) {
                return Err(Error::unsupported(format!("subscription {name}: {why}")));
            }
        }
        let replay = self.begin(&name).await?;
        self.service.seek_to_time(&name, time).await?;
        Ok(replay)
    }

    /// Makes sure that no member lives, and raises the replay generation. It is raised first: a replay
    /// in the old generation would be suppressed by idempotency records.
    async fn begin(&self, name: &str) -> Result<u64> {
        let what = format!("subscription {name}");
        let found = self.service.subscription(name).await;
        let mut subscription = found.map_err(|error| missing(error, &what))?;
        let mut still = self.runtime.now();
        let mut members = members_of(&subscription);
        while !members.is_empty() && self.runtime.now().since(still) < DEAD {
            self.runtime.sleep(LOOK).await;
            subscription = self.service.subscription(name).await?;
            let now = members_of(&subscription);
            let moved = now
                .iter()
                .any(|(member, beat)| members.get(member) != Some(beat));
            if moved {
                return Err(Error::new(
                    ErrorKind::Conflict,
                    format!("subscription {name}: members of the group live; close them first"),
                ));
            }
            if now.len() < members.len() {
                still = self.runtime.now();
            }
            members = now;
        }
        let replay = generation_of(&subscription) + 1;
        let mut labels = subscription.labels;
        labels.retain(|name, _| !name.starts_with(MEMBER));
        labels.insert(REPLAY.to_owned(), replay.to_string());
        let raised = self.service.set_labels(name, labels).await;
        raised.map_err(|error| match error.is(ErrorKind::Invalid) {
            // Google's emulator stores no labels.
            true => Error::unsupported(format!(
                "subscription {name}: the endpoint does not change its labels, which hold the replay \
                 generation"
            ))
            .with_source(error),
            false => error,
        })?;
        Ok(replay)
    }
}

impl std::fmt::Debug for PubSubReplay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PubSubReplay")
            .field("topic", &self.config.topic)
            .finish_non_exhaustive()
    }
}

/// Returns why acknowledged messages cannot be received again; `None` if they can.
pub(crate) fn keeps_nothing(
    subscription: &Subscription,
    topic_keeps: bool,
) -> Option<&'static str> {
    let keeps = topic_keeps
        || subscription.retain_acked_messages
        || subscription.topic_message_retention_duration.is_some();
    (!keeps).then_some(
        "it keeps no acknowledged message: give its topic a retention, or let it retain acknowledged \
         messages",
    )
}

/// Returns the replay generation of a group.
pub(crate) fn generation_of(subscription: &Subscription) -> u64 {
    let label = subscription.labels.get(REPLAY);
    label.and_then(|text| text.parse().ok()).unwrap_or_default()
}

fn members_of(subscription: &Subscription) -> BTreeMap<String, String> {
    let labels = subscription.labels.iter();
    let members = labels.filter(|(name, _)| name.starts_with(MEMBER));
    members
        .map(|(name, beat)| (name.clone(), beat.clone()))
        .collect()
}

fn check_snapshot(snapshot: &str) -> Result<()> {
    match invalid_name(snapshot) {
        None => Ok(()),
        Some(why) => Err(Error::new(
            ErrorKind::Invalid,
            format!("invalid snapshot name `{snapshot}`: {why}"),
        )),
    }
}

/// A member that lives, as a label of its subscription says.
pub(crate) struct Presence {
    service: Service,
    subscription: String,
    label: String,
    renewing: std::sync::Mutex<Option<Task<()>>>,
}

impl Presence {
    pub(crate) fn begin(service: Service, subscription: &str, runtime: &Runtime) -> Self {
        let label = format!("{MEMBER}{:016x}", runtime.random());
        let renewing = renew(
            service.clone(),
            subscription.to_owned(),
            label.clone(),
            runtime.clone(),
        );
        Self {
            service,
            subscription: subscription.to_owned(),
            label,
            renewing: std::sync::Mutex::new(Some(runtime.spawn(renewing))),
        }
    }

    /// Takes the label away, so that a replay need not wait for it to stand still.
    pub(crate) async fn end(&self) {
        let task = self
            .renewing
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .take();
        if task.is_none() {
            return;
        }
        drop(task);
        let change = |labels: &mut HashMap<String, String>| {
            labels.remove(&self.label);
        };
        if let Err(error) = change_labels(&self.service, &self.subscription, change).await {
            tracing::debug!(%error, "the label of a member that has ended stays");
        }
    }
}

async fn renew(service: Service, subscription: String, label: String, runtime: Runtime) {
    for beat in 1_u64.. {
        let change = |labels: &mut HashMap<String, String>| {
            labels.insert(label.clone(), beat.to_string());
        };
        match change_labels(&service, &subscription, change).await {
            Ok(()) => {}
            Err(error) if error.is(ErrorKind::Denied) => {
                tracing::warn!(
                    %subscription,
                    %error,
                    "a replay cannot notice this member: allow pubsub.subscriptions.update, or set \
                     presence = \"off\""
                );
                return;
            }
            Err(error) => tracing::debug!(%error, "the label of a member is not renewed"),
        }
        // Members that started together must not change the labels at once.
        runtime
            .sleep(RENEWAL / 2 + runtime.jitter(RENEWAL / 2))
            .await;
    }
}

async fn change_labels(
    service: &Service,
    subscription: &str,
    change: impl FnOnce(&mut HashMap<String, String>),
) -> Result<()> {
    let mut labels = service.subscription(subscription).await?.labels;
    change(&mut labels);
    service.set_labels(subscription, labels).await.map(drop)
}
