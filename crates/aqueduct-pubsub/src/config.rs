use std::time::Duration;

use aqueduct_core::{
    AttemptCount, Error, GroupName, Options, QueueSettings, Result, SmallStr, StreamName, Url,
};

use crate::names::{Address, invalid_name};
use crate::transforms::Compressed;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(86_400);

/// The settings parsed from a URL and its options.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) project: SmallStr,
    pub(crate) topic: StreamName,
    /// The service's endpoint; `None` for `PUBSUB_EMULATOR_HOST`, or the service itself.
    pub(crate) endpoint: Option<SmallStr>,
    /// Whether a missing topic or subscription is created. Default: no, since they are provisioned
    /// elsewhere and cost money.
    pub(crate) create: bool,
    /// The retention of a topic that is created; `None` for none, the service's default.
    pub(crate) retention: Option<Duration>,
    /// The names of subscriptions: `{topic}` and `{group}` are replaced.
    pub(crate) subscription: SmallStr,
    /// The settings of a subscription that is created.
    pub(crate) subscriptions: SubscriptionSpec,
    pub(crate) sending: Sending,
    pub(crate) reading: Reading,
}

/// How a missing subscription is created.
#[derive(Clone, Debug, Default)]
pub(crate) struct SubscriptionSpec {
    pub(crate) filter: Option<SmallStr>,
    pub(crate) exactly_once: bool,
    /// How long an unacknowledged message is kept; `None` for the service's 7 days.
    pub(crate) retention: Option<Duration>,
    /// Whether acknowledged messages are kept too, for a replay.
    pub(crate) retain_acked: bool,
    pub(crate) dead_letter_topic: Option<SmallStr>,
    pub(crate) max_delivery_attempts: Option<u32>,
}

/// The format of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// The CloudEvents binding for Pub/Sub.
    CloudEvents,
    /// The data alone.
    Raw,
}

/// The settings of a producer.
#[derive(Clone, Debug)]
pub(crate) struct Sending {
    pub(crate) encoding: Encoding,
    /// Whether the key is the ordering key. Default: yes. Without it one request holds events of many
    /// keys, which is faster, and consumers receive them in any order.
    pub(crate) ordering: bool,
    /// The time limit of one publish request. Default 20 s, within the 30 s of the producer engine.
    pub(crate) publish_timeout: Duration,
    /// The number of gRPC connections. Default 2: one carries about 100 requests at once.
    pub(crate) channels: usize,
}

/// The settings of a consumer.
#[derive(Clone, Debug)]
pub(crate) struct Reading {
    /// The number of streams. Default 8: one stream receives a fraction of what the service sends to
    /// several.
    pub(crate) streams: usize,
    /// The acknowledgement deadline, renewed by the client. Default 60 s: the messages of a dead
    /// consumer come again within a minute.
    pub(crate) ack_deadline: Duration,
    /// How long the client renews the deadline of a message. Default 1 h.
    pub(crate) max_lease: Duration,
    /// The time without a message after which a stream is opened anew. Default 2 min.
    pub(crate) silence: Duration,
    /// The most messages in flight. Default 10,000.
    pub(crate) max_unsettled: usize,
    /// The most bytes in flight. Default 100 MiB, as the client's.
    pub(crate) max_unsettled_bytes: usize,
    /// Whether attempts begin at the service's count of deliveries.
    pub(crate) count_receipts: bool,
    /// Whether an ordered subscription may have its own dead letter policy, which can move messages
    /// that only waited.
    pub(crate) native_dead_letters: bool,
    /// Whether a subscription may compress data, and who decompresses it.
    pub(crate) compressed: Compressed,
    /// Whether a member is noted in a label of its subscription, so that a replay notices it.
    pub(crate) presence: bool,
    /// How long a listing of dead letters waits for another one.
    pub(crate) scan_wait: Duration,
}

impl Config {
    pub(crate) fn parse(name: &str, url: &Url, mut options: Options) -> Result<Self> {
        options.join_query(url);
        let address = Address::parse(name, url, &options)?;
        let endpoint = options.text("endpoint")?;
        if endpoint.as_ref().is_some_and(|it| !is_endpoint(it)) {
            return Err(options.refuse("endpoint", "expected http://HOST:PORT or https://HOST"));
        }
        let create = options.choice("create", &["missing", "never"])? == Some("missing");
        let retention = between(&mut options, "retention", 10 * MINUTE, 31 * DAY)?;
        let subscriptions = SubscriptionSpec::read(&mut options)?;
        let of_creation = [
            "retention",
            "filter",
            "exactly_once",
            "subscription_retention",
            "retain_acked",
            "dead_letter_topic",
            "max_delivery_attempts",
        ];
        if let Some(name) = of_creation
            .into_iter()
            .find(|it| options.contains(it) && !create)
        {
            let why = "it says how a missing topic or subscription is made, which needs create = \
                       \"missing\"";
            return Err(options.refuse(name, why));
        }
        let template = options.text("subscription")?;
        let subscription = template.unwrap_or(SmallStr::literal("{topic}.{group}"));
        let sample = subscription_name(&subscription, address.topic.as_str(), "group");
        if let Some(why) = invalid_name(&sample) {
            return Err(options.refuse("subscription", why));
        }
        let sending = Sending::read(&mut options)?;
        let reading = Reading::read(&mut options)?;
        options.finish()?;
        Ok(Self {
            project: address.project,
            topic: address.topic,
            endpoint,
            create,
            retention,
            subscription,
            subscriptions,
            sending,
            reading,
        })
    }

    /// Returns the short name of the subscription of a group.
    ///
    /// # Errors
    /// `Config` if the service does not take the name.
    pub(crate) fn subscription_of(&self, group: &GroupName) -> Result<String> {
        let name = subscription_name(&self.subscription, self.topic.as_str(), group.as_str());
        match invalid_name(&name) {
            None => Ok(name),
            Some(why) => Err(Error::config(format!(
                "group {group}: its subscription would be `{name}`: {why}; rename the group or set \
                 `subscription`"
            ))),
        }
    }

    /// Returns the short name of the subscription that reads this topic as a dead letter store.
    pub(crate) fn dead_letter_subscription(&self) -> String {
        format!("{}.dead-letters", self.topic)
    }

    /// Returns whether each group has a subscription of its own.
    pub(crate) fn has_groups(&self) -> bool {
        self.subscription.contains("{group}")
    }
}

impl Reading {
    /// Returns the settings for the queue consumer of `aqueduct-queue`.
    pub(crate) fn settings(&self, ordered: bool, exactly_once: bool) -> QueueSettings {
        let mut settings = QueueSettings::new(ordered);
        settings.batch = 1_000;
        settings.receivers = 1;
        settings.wait = Duration::from_secs(60);
        settings.lease = self.max_lease;
        settings.longest_lease = self.max_lease;
        settings.longest_delay = Duration::ZERO;
        settings.hold = self.max_lease;
        settings.max_unsettled = self.max_unsettled;
        settings.max_unsettled_bytes = self.max_unsettled_bytes;
        settings.client_leases = true;
        settings.locks_keys = false;
        settings.acks_in_order = ordered && exactly_once;
        settings.repeats = !exactly_once;
        settings.attempts = match self.count_receipts {
            true => AttemptCount::Receipts,
            false => AttemptCount::Runs,
        };
        settings
    }

    fn read(options: &mut Options) -> Result<Self> {
        let mut read = Self {
            streams: 8,
            ack_deadline: MINUTE,
            max_lease: 60 * MINUTE,
            silence: 2 * MINUTE,
            max_unsettled: 10_000,
            max_unsettled_bytes: 100 << 20,
            count_receipts: false,
            native_dead_letters: false,
            compressed: Compressed::Refuse,
            presence: true,
            scan_wait: SECOND,
        };
        if let Some(streams) = options.number("streams", 1..=64)? {
            read.streams = streams;
        }
        if let Some(deadline) = between(options, "ack_deadline", 10 * SECOND, 10 * MINUTE)? {
            read.ack_deadline = deadline;
        }
        if let Some(lease) = between(options, "max_lease", 10 * SECOND, 7 * DAY)? {
            read.max_lease = lease;
        }
        if read.max_lease < read.ack_deadline {
            return Err(options.refuse("max_lease", "at least `ack_deadline`"));
        }
        if let Some(silence) = between(options, "silence", SECOND, DAY)? {
            read.silence = silence;
        }
        if let Some(most) = options.number("max_unsettled", 10..=1_000_000)? {
            read.max_unsettled = most;
        }
        if let Some(most) = options.bytes("max_unsettled_bytes")? {
            if most < 10 << 20 {
                return Err(options.refuse("max_unsettled_bytes", "at least 10MiB, one message"));
            }
            read.max_unsettled_bytes = usize::try_from(most).unwrap_or(usize::MAX);
        }
        let attempts = options.choice("attempts", &["runs", "receipts"])?;
        read.count_receipts = attempts == Some("receipts");
        let native = options.choice("native_dead_letters", &["refuse", "accept"])?;
        read.native_dead_letters = native == Some("accept");
        read.compressed = match options.choice("compressed", &["refuse", "zlib", "accept"])? {
            Some("zlib") => Compressed::Zlib,
            Some("accept") => Compressed::Accept,
            _ => Compressed::Refuse,
        };
        let presence = options.choice("presence", &["label", "off"])?;
        read.presence = presence != Some("off");
        if let Some(wait) = between(options, "scan_wait", SECOND / 10, MINUTE)? {
            read.scan_wait = wait;
        }
        Ok(read)
    }
}

impl Sending {
    fn read(options: &mut Options) -> Result<Self> {
        let encoding = match options.choice("encoding", &["cloudevents", "raw"])? {
            Some("raw") => Encoding::Raw,
            _ => Encoding::CloudEvents,
        };
        let timeout = between(options, "publish_timeout", SECOND, 10 * MINUTE)?;
        Ok(Self {
            encoding,
            ordering: options.boolean("ordering")?.unwrap_or(true),
            publish_timeout: timeout.unwrap_or(20 * SECOND),
            channels: options.number("channels", 1..=64)?.unwrap_or(2),
        })
    }
}

impl SubscriptionSpec {
    fn read(options: &mut Options) -> Result<Self> {
        let read = Self {
            filter: options.text("filter")?,
            exactly_once: options.boolean("exactly_once")?.unwrap_or(false),
            retention: between(options, "subscription_retention", 10 * MINUTE, 31 * DAY)?,
            retain_acked: options.boolean("retain_acked")?.unwrap_or(false),
            dead_letter_topic: options.text("dead_letter_topic")?,
            max_delivery_attempts: options.number("max_delivery_attempts", 5..=100)?,
        };
        if read.filter.as_ref().is_some_and(|it| it.len() > 256) {
            return Err(options.refuse("filter", "at most 256 bytes"));
        }
        if let Some(topic) = &read.dead_letter_topic
            && !topic.starts_with("projects/")
            && let Some(why) = invalid_name(topic)
        {
            return Err(options.refuse("dead_letter_topic", why));
        }
        if read.max_delivery_attempts.is_some() && read.dead_letter_topic.is_none() {
            let why = "it belongs to a dead letter policy: set `dead_letter_topic`";
            return Err(options.refuse("max_delivery_attempts", why));
        }
        Ok(read)
    }
}

fn subscription_name(template: &str, topic: &str, group: &str) -> String {
    template.replace("{topic}", topic).replace("{group}", group)
}

fn is_endpoint(text: &str) -> bool {
    let rest = text
        .strip_prefix("http://")
        .or_else(|| text.strip_prefix("https://"));
    rest.is_some_and(|host| !host.is_empty() && !host.contains([' ', '@', '?', '#']))
}

fn between(
    options: &mut Options,
    name: &'static str,
    least: Duration,
    most: Duration,
) -> Result<Option<Duration>> {
    match options.duration(name)? {
        Some(it) if it < least || it > most => {
            Err(options.refuse(name, format!("from {least:?} to {most:?}")))
        }
        duration => Ok(duration),
    }
}

#[cfg(test)]
mod tests {
    use aqueduct_core::ErrorKind;

    use super::*;

    fn parse(url: &str) -> Result<Config> {
        let options = Options::new("streams.orders");
        Config::parse("orders", &Url::parse(url).unwrap(), options)
    }

    #[test]
    fn the_table_and_the_query_are_one_set() {
        let url = Url::parse("pubsub://shop/paid?streams=2").unwrap();
        let options = Options::new("streams.orders").with("encoding", "raw");
        let config = Config::parse("orders", &url, options).unwrap();
        assert_eq!(config.topic.as_str(), "paid");
        assert_eq!(config.reading.streams, 2);
        assert_eq!(config.sending.encoding, Encoding::Raw);
        assert!(!config.create && config.sending.ordering);
    }

    #[test]
    fn a_group_has_a_subscription() {
        let name = |url: &str, group: &str| parse(url).unwrap().subscription_of(&group.into());
        assert_eq!(
            name("pubsub://shop/paid", "billing").unwrap(),
            "paid.billing"
        );
        let of = |it: &str| format!("pubsub://shop/paid?subscription={it}");
        assert_eq!(name(&of("{group}-sub"), "billing").unwrap(), "billing-sub");
        assert!(!parse(&of("all-of-them")).unwrap().has_groups());
        let error = name("pubsub://shop/paid", "billing eu").unwrap_err();
        assert!(error.to_string().contains("`paid.billing eu`"), "{error}");
    }

    #[test]
    fn what_cannot_be_is_refused_by_name() {
        for (query, expected) in [
            ("endpoint=localhost", "http://"),
            ("create=always", "missing, never"),
            ("retention=1d", "create"),
            ("filter=attributes:a", "create"),
            ("create=missing&retention=32d", "from 600s to"),
            (
                "create=missing&max_delivery_attempts=5",
                "dead_letter_topic",
            ),
            ("create=missing&dead_letter_topic=x", "3 to 255"),
            (
                "create=missing&dead_letter_topic=late&max_delivery_attempts=4",
                "from 5 to 100",
            ),
            ("create=missing&subscription_retention=1m", "from 600s"),
            ("subscription=a b", "3 to 255"),
            ("streams=0", "from 1 to 64"),
            ("ack_deadline=5s", "from 10s to 600s"),
            ("max_lease=1s", "from 10s"),
            ("max_lease=30s", "ack_deadline"),
            ("silence=0s", "from 1s"),
            ("max_unsettled=1", "from 10"),
            ("max_unsettled_bytes=1MiB", "10MiB"),
            ("attempts=some", "runs, receipts"),
            ("native_dead_letters=maybe", "refuse, accept"),
            ("compressed=yes", "refuse, zlib, accept"),
            ("presence=maybe", "label, off"),
            ("encoding=json", "cloudevents, raw"),
            ("publish_timeout=0s", "from 1s"),
            ("channels=0", "from 1 to 64"),
            ("ordering=yes", "true or false"),
            ("colour=red", "valid: "),
        ] {
            let error = parse(&format!("pubsub://shop/paid?{query}")).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config, "{query}");
            let said = error.to_string();
            assert!(said.starts_with("streams.orders"), "{said}");
            assert!(said.contains(expected), "{query}: {said}");
        }
    }
}
