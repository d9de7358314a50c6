mod address;
mod publishing;
mod reading;

use std::time::Duration;

use aqueduct_aws::AwsOptions;
use aqueduct_core::{Options, Result, SmallStr, StreamName, Url};

use self::address::Address;
pub(crate) use self::publishing::{Aggregation, Publishing};
pub(crate) use self::reading::{OnBroken, ReadMode, Reading, is_consumer_name};

/// The parsed URL and options of a stream.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    /// The stream's name in Kinesis.
    pub(crate) stream: StreamName,
    /// The ARN, if the URL gave one. Requests then name the stream by it, across accounts too.
    pub(crate) arn: Option<SmallStr>,
    pub(crate) aws: AwsOptions,
    /// How to create a missing stream; `None` if a missing stream is an error.
    pub(crate) create: Option<Creation>,
    pub(crate) encoding: Encoding,
    /// Whether responses of PutRecords and GetRecords are read beside the SDK.
    pub(crate) direct: bool,
    pub(crate) publishing: Publishing,
    pub(crate) reading: Reading,
}

/// The settings of a new stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Creation {
    /// The number of shards; `None` for an on-demand stream.
    pub(crate) partitions: Option<u32>,
    /// The retention; `None` for the service's default of 24 hours.
    pub(crate) retention: Option<Duration>,
}

/// The encoding of an event as the data of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// The JSON event format of CloudEvents.
    CloudEventsJson,
    /// The Protobuf event format of CloudEvents.
    CloudEventsProtobuf,
    /// The data alone; every attribute but the key is lost.
    Raw,
}

impl Config {
    pub(crate) fn parse(name: &str, url: &Url, mut options: Options) -> Result<Self> {
        options.join_query(url);
        let Address {
            stream,
            arn,
            region,
        } = Address::parse(name, url, options.place())?;
        let mut aws = AwsOptions::read(&mut options)?;
        if aws.region.is_none() {
            aws.region = region;
        }
        let create = read_creation(&mut options)?;
        let encoding = read_encoding(&mut options)?;
        let direct = options.choice("responses", &["direct", "sdk"])? != Some("sdk");
        let publishing = Publishing::read(&mut options)?;
        let reading = Reading::read(&mut options)?;
        options.finish()?;
        Ok(Self {
            stream,
            arn,
            aws,
            create,
            encoding,
            direct,
            publishing,
            reading,
        })
    }
}

fn read_creation(options: &mut Options) -> Result<Option<Creation>> {
    let create = options.choice("create", &["missing", "never"])?;
    let creation = Creation {
        partitions: options.number("partitions", 1..=10_000)?,
        retention: options.duration("retention")?,
    };
    if let Some(retention) = creation.retention {
        let hours = Duration::from_secs(3600);
        if !(24 * hours..=8760 * hours).contains(&retention) {
            return Err(options.refuse("retention", "from 24h to 365d"));
        }
    }
    if create == Some("missing") {
        return Ok(Some(creation));
    }
    for name in ["partitions", "retention"] {
        if options.contains(name) {
            return Err(options.refuse(
                name,
                "it applies only to streams created with create = \"missing\"",
            ));
        }
    }
    Ok(None)
}

fn read_encoding(options: &mut Options) -> Result<Encoding> {
    let choices = &["cloudevents-json", "cloudevents-protobuf", "raw"];
    Ok(match options.choice("encoding", choices)? {
        Some("cloudevents-protobuf") => Encoding::CloudEventsProtobuf,
        Some("raw") => Encoding::Raw,
        _ => Encoding::CloudEventsJson,
    })
}

#[cfg(test)]
mod tests;
