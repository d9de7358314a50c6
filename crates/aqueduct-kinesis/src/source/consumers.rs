use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use aqueduct_core::sync::lock;
use aqueduct_core::{Error, ErrorKind, Instant, PartitionId, Result, Runtime, SmallStr};
use aws_sdk_kinesis::types::ConsumerStatus;
use futures::lock::Mutex as AsyncMutex;

use crate::error;
use crate::stream::Kinesis;

/// The limit of the wait for a new consumer to become active; the service takes a few seconds.
const REGISTRATION: Duration = Duration::from_secs(60);

/// The number of throttled registrations after which the stream counts as full.
const REFUSALS: u32 = 3;

/// The service rejects a subscription within this time of the last one of the same shard and consumer.
const BETWEEN: Duration = Duration::from_secs(5);

/// The registered consumers of enhanced fan-out, shared by the subscriptions of one process.
#[derive(Default)]
pub(super) struct Consumers {
    /// The ARNs of the consumers by name; held while one of them is registered.
    arns: AsyncMutex<BTreeMap<SmallStr, SmallStr>>,
    /// When the last subscription of a consumer's ARN and a shard began.
    begun: Mutex<BTreeMap<(SmallStr, PartitionId), Instant>>,
}

impl Consumers {
    /// Returns the ARN of the consumer `name`, which is registered if it is missing.
    pub(super) async fn arn(
        &self,
        kinesis: &Kinesis,
        runtime: &Runtime,
        name: &SmallStr,
    ) -> Result<SmallStr> {
        let mut arns = self.arns.lock().await;
        if let Some(arn) = arns.get(name) {
            return Ok(arn.clone());
        }
        let arn = ready(kinesis, runtime, name).await?;
        arns.insert(name.clone(), arn.clone());
        Ok(arn)
    }

    /// Forgets a consumer that the service no longer knows.
    pub(super) async fn forget(&self, name: &SmallStr) {
        self.arns.lock().await.remove(name);
    }

    /// Returns when a shard may be subscribed to again.
    pub(super) fn due(&self, arn: &SmallStr, shard: &PartitionId) -> Instant {
        let begun = lock(&self.begun);
        let last = begun.get(&(arn.clone(), shard.clone())).copied();
        last.map_or(Instant::default(), |last| last + BETWEEN)
    }

    /// Notes that a subscription began, or may have begun.
    pub(super) fn begins(&self, arn: &SmallStr, shard: &PartitionId, now: Instant) {
        lock(&self.begun).insert((arn.clone(), shard.clone()), now);
    }
}

async fn ready(kinesis: &Kinesis, runtime: &Runtime, name: &SmallStr) -> Result<SmallStr> {
    let stream = match &kinesis.arn {
        Some(arn) => arn.clone(),
        None => kinesis.describe().await?.stream_arn.into(),
    };
    let deadline = runtime.now() + REGISTRATION;
    let mut refused = 0;
    let mut pause = Duration::from_millis(100);
    loop {
        match describe(kinesis, &stream, name).await {
            Ok((arn, ConsumerStatus::Active)) => return Ok(arn),
            // Being created, or being deleted: then it is registered again.
            Ok(_) => {}
            Err(error) if error.is(ErrorKind::NotFound) => {
                match register(kinesis, &stream, name).await {
                    Ok(()) => {}
                    // One error code means either: too many this second, or no further one at all.
                    Err(error) if error.is(ErrorKind::Throttled) && refused < REFUSALS => {
                        refused += 1;
                    }
                    Err(error) if error.is(ErrorKind::Throttled) => {
                        let message =
                            format!("the stream has no room for consumer {name}: {error}");
                        return Err(Error::new(ErrorKind::Full, message).with_source(error));
                    }
                    Err(error) => return Err(error),
                }
            }
            Err(error) => return Err(error),
        }
        if runtime.now() >= deadline {
            return Err(Error::new(
                ErrorKind::TimedOut,
                format!(
                    "stream {}: consumer {name} did not become active within {REGISTRATION:?}",
                    kinesis.shown
                ),
            ));
        }
        runtime.sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(2));
    }
}

async fn describe(
    kinesis: &Kinesis,
    stream: &SmallStr,
    name: &SmallStr,
) -> Result<(SmallStr, ConsumerStatus)> {
    let what = || kinesis.what("DescribeStreamConsumer");
    let response = kinesis
        .client
        .describe_stream_consumer()
        .stream_arn(stream.as_str())
        .consumer_name(name.as_str())
        .send()
        .await
        .map_err(|failed| error::request(what(), failed))?;
    let consumer = response.consumer_description.ok_or_else(|| {
        Error::new(
            ErrorKind::Unavailable,
            format!("{}: the response is empty", what()),
        )
    })?;
    Ok((consumer.consumer_arn.into(), consumer.consumer_status))
}

async fn register(kinesis: &Kinesis, stream: &SmallStr, name: &SmallStr) -> Result<()> {
    let response = kinesis
        .client
        .register_stream_consumer()
        .stream_arn(stream.as_str())
        .consumer_name(name.as_str())
        .send()
        .await
        .map_err(|failed| error::request(kinesis.what("RegisterStreamConsumer"), failed));
    match response {
        Ok(_) => {
            tracing::info!(stream = %kinesis.shown, consumer = %name, "consumer registered");
            Ok(())
        }
        // Another process registered it, or it is being deleted: the next look decides.
        Err(error) if error.is(ErrorKind::Conflict) => Ok(()),
        Err(error) => Err(error),
    }
}
