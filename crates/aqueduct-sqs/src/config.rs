use std::time::Duration;

use aqueduct_aws::AwsOptions;
use aqueduct_core::{AttemptCount, Options, QueueSettings, Result, SmallStr, StreamName, Url};

use crate::address::Address;

/// The settings parsed from a URL and its options.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) queue: StreamName,
    pub(crate) account: Option<SmallStr>,
    pub(crate) aws: AwsOptions,
    /// Whether a missing queue is created. Default: no, since queues are provisioned elsewhere.
    pub(crate) create: bool,
    /// The retention of a queue that is created; `None` for the service's default of 4 days.
    pub(crate) retention: Option<Duration>,
    pub(crate) sending: Sending,
    pub(crate) reading: Reading,
}

/// The settings of a producer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sending {
    /// Whether a standard queue gets the key as message group, for fairness among keys. Default: no,
    /// because it costs money.
    pub(crate) fair: bool,
    /// How long each message is hidden first; `None` for the queue's own delay.
    pub(crate) delay: Option<Duration>,
}

/// The settings of a consumer.
#[derive(Clone, Debug)]
pub(crate) struct Reading {
    /// The visibility time-out of a message, renewed while it is unsettled. Default 60 s: messages
    /// of a dead consumer are redelivered within a minute, and one that is handled within 20 s is
    /// never renewed.
    pub(crate) visibility: Duration,
    /// How long one request waits for messages. Default 20 s, the longest and cheapest.
    pub(crate) wait: Duration,
    /// The most receive requests at once while they return 10 messages each; up to twice as many while
    /// they return fewer. Default 4; an idle queue gets only one.
    pub(crate) receivers: usize,
    /// The most messages in flight, in any state. Default 1,000; the service allows 120,000 of all
    /// consumers together.
    pub(crate) max_unsettled: usize,
    /// The most bytes in flight. Default 64 MiB.
    pub(crate) max_unsettled_bytes: usize,
    /// The longest nack delay that a message and its followers spend in this process. Default
    /// 15 min. With a longer delay they return to the queue.
    pub(crate) hold: Duration,
    /// Whether a FIFO queue may have its own redrive policy, which can move messages that only waited.
    pub(crate) native_redrive: bool,
    /// Whether attempts count receipts, including those of other consumers and of messages that
    /// only waited.
    pub(crate) count_receipts: bool,
}

impl Default for Reading {
    fn default() -> Self {
        Self {
            visibility: Duration::from_secs(60),
            wait: Duration::from_secs(20),
            receivers: 4,
            max_unsettled: 1_000,
            max_unsettled_bytes: 64 << 20,
            hold: Duration::from_secs(900),
            native_redrive: false,
            count_receipts: false,
        }
    }
}

impl Config {
    pub(crate) fn parse(name: &str, url: &Url, mut options: Options) -> Result<Self> {
        options.join_query(url);
        let fifo = options.boolean("fifo")?;
        let address = Address::parse(name, url, fifo, options.place())?;
        let mut aws = AwsOptions::read(&mut options)?;
        if aws.region.is_none() {
            aws.region = address.region;
        }
        let create = options.choice("create", &["missing", "never"])? == Some("missing");
        let day = Duration::from_secs(86_400);
        let minute = Duration::from_secs(60);
        let retention = seconds(&mut options, "retention", minute, 14 * day)?;
        if retention.is_some() && !create {
            let why = "it says how a missing queue is made, which needs create = \"missing\"";
            return Err(options.refuse("retention", why));
        }
        let fair = options.boolean("fair")?.unwrap_or(false);
        let delay = seconds(&mut options, "delay", Duration::ZERO, 15 * minute)?;
        if delay.is_some() && address.queue.as_str().ends_with(".fifo") {
            let why = "a FIFO queue takes no delay of a message: set DelaySeconds of the queue";
            return Err(options.refuse("delay", why));
        }
        let reading = Reading::read(&mut options)?;
        options.finish()?;
        Ok(Self {
            queue: address.queue,
            account: address.account,
            aws,
            create,
            retention,
            sending: Sending { fair, delay },
            reading,
        })
    }

    pub(crate) fn is_fifo(&self) -> bool {
        self.queue.as_str().ends_with(".fifo")
    }
}

impl Reading {
    /// Returns the settings for the queue consumer of `aqueduct-queue`.
    pub(crate) fn settings(&self, fifo: bool) -> QueueSettings {
        let mut settings = QueueSettings::new(fifo);
        settings.wait = self.wait;
        settings.lease = self.visibility;
        settings.hold = self.hold;
        settings.receivers = self.receivers;
        settings.max_unsettled = self.max_unsettled;
        settings.max_unsettled_bytes = self.max_unsettled_bytes;
        settings.attempts = match self.count_receipts {
            true => AttemptCount::Receipts,
            false => AttemptCount::Runs,
        };
        settings
    }

    fn read(options: &mut Options) -> Result<Self> {
        let mut read = Self::default();
        let second = Duration::from_secs(1);
        let longest = Duration::from_secs(12 * 3600);
        if let Some(visibility) = seconds(options, "visibility", 2 * second, longest)? {
            read.visibility = visibility;
        }
        if let Some(wait) = seconds(options, "wait", second, 20 * second)? {
            read.wait = wait;
        }
        // A message that arrives late in a long poll must still have most of its visibility left.
        read.wait = read.wait.min(read.visibility / 3).max(second);
        read.wait = Duration::from_secs(read.wait.as_secs());
        if let Some(receivers) = options.number("receivers", 1..=64)? {
            read.receivers = receivers;
        }
        if let Some(most) = options.number("max_unsettled", 10..=120_000)? {
            read.max_unsettled = most;
        }
        if let Some(most) = options.bytes("max_unsettled_bytes")? {
            if most < 1 << 20 {
                return Err(options.refuse("max_unsettled_bytes", "at least 1MiB, one message"));
            }
            read.max_unsettled_bytes = usize::try_from(most).unwrap_or(usize::MAX);
        }
        if let Some(hold) = options.duration("hold")? {
            if hold.is_zero() || hold > longest {
                let why = "more than zero, and at most 12h: no message is hidden longer";
                return Err(options.refuse("hold", why));
            }
            read.hold = hold;
        }
        let redrive = options.choice("native_redrive", &["refuse", "accept"])?;
        read.native_redrive = redrive == Some("accept");
        let attempts = options.choice("attempts", &["runs", "receipts"])?;
        read.count_receipts = attempts == Some("receipts");
        Ok(read)
    }
}

/// Takes a duration in whole seconds, within a range of the service.
fn seconds(
    options: &mut Options,
    name: &'static str,
    least: Duration,
    most: Duration,
) -> Result<Option<Duration>> {
    match options.duration(name)? {
        Some(it) if it < least || it > most || it.subsec_nanos() > 0 => {
            let why = format!("whole seconds, from {least:?} to {most:?}");
            Err(options.refuse(name, why))
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
        let url = Url::parse("sqs://o.fifo?visibility=30s").unwrap();
        let options = Options::new("streams.orders").with("region", "eu-west-1");
        let config = Config::parse("orders", &url, options).unwrap();
        assert!(config.is_fifo() && !config.create);
        assert_eq!(config.reading.visibility, Duration::from_secs(30));
        assert_eq!(config.reading.wait, Duration::from_secs(10));
        assert_eq!(config.aws.region.as_deref(), Some("eu-west-1"));
        let arn = parse("sqs:arn:aws:sqs:eu-west-1:123456789012:o").unwrap();
        assert_eq!(arn.aws.region.as_deref(), Some("eu-west-1"));
    }

    #[test]
    fn what_cannot_be_is_refused_by_name() {
        for (query, expected) in [
            ("visibility=1s", "from 2s to"),
            ("visibility=2500ms", "whole seconds"),
            ("visibility=13h", "from 2s to"),
            ("wait=21s", "from 1s to 20s"),
            ("receivers=0", "from 1 to 64"),
            ("max_unsettled=1", "from 10"),
            ("max_unsettled_bytes=1KiB", "1MiB"),
            ("hold=13h", "12h"),
            ("wait=0s", "from 1s to 20s"),
            ("visibility=0s", "from 2s to"),
            ("hold=0s", "more than zero"),
            ("redelivery_first=2s", "valid: "),
            ("native_redrive=maybe", "refuse, accept"),
            ("attempts=some", "runs, receipts"),
            ("retention=1d", "create"),
            ("create=missing&retention=15d", "whole seconds"),
            ("delay=16m", "whole seconds"),
            ("fifo=true&delay=5s", "DelaySeconds"),
            ("fifo=yes", "true or false"),
            ("colour=red", "valid: "),
        ] {
            let error = parse(&format!("sqs://orders?{query}")).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config, "{query}");
            let said = error.to_string();
            assert!(said.starts_with("streams.orders"), "{said}");
            assert!(said.contains(expected), "{query}: {said}");
        }
    }
}
