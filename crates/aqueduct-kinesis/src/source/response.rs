use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use aqueduct_core::PartitionId;
use aws_sdk_kinesis::error::BoxError;
use aws_sdk_kinesis::operation::get_records::{GetRecordsError, GetRecordsOutput};
use aws_smithy_types::body::SdkBody;
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::convert::{behind, ids};
use super::records::{Builder, InText, Records};
use crate::raw_response::RawResponse;

/// The response of one GetRecords.
pub(super) struct GetRecordsResponse {
    pub(super) records: Records,
    /// The next shard iterator; `None` at the end of a closed shard.
    pub(super) next: Option<String>,
    /// How far the end of the response is behind the tip of the shard.
    pub(super) behind: Option<Duration>,
    /// The children of a closed shard; empty if the response names none.
    pub(super) children: Vec<PartitionId>,
}

impl RawResponse for GetRecordsResponse {
    type Output = GetRecordsOutput;

    /// Parses a response. Each record stays in the text until it is taken.
    fn read(body: SdkBody) -> Result<Self, String> {
        let text = body.bytes().unwrap_or_default();
        let text = std::str::from_utf8(text)
            .map_err(|error| format!("not UTF-8 after byte {}", error.valid_up_to()))?;
        let mut reading = Reading {
            offsets: InText::builder(text),
            around: Around::default(),
        };
        let mut json = serde_json::Deserializer::from_str(text);
        json.deserialize_map(&mut reading)
            .and_then(|()| json.end())
            .map_err(|error| {
                let (line, column) = (error.line(), error.column());
                format!("not a valid GetRecords response at line {line} column {column}")
            })?;
        let Reading { offsets, around } = reading;
        let records = offsets.finish();
        let children = around.children.unwrap_or_default();
        Ok(Self {
            next: around.next,
            behind: behind(around.millis_behind),
            children: children.into_iter().map(|it| it.shard_id.into()).collect(),
            records: Records::InText(records.of(body)),
        })
    }

    fn empty_output() -> Result<GetRecordsOutput, BoxError> {
        Ok(GetRecordsOutput::builder()
            .set_records(Some(Vec::new()))
            .build()?)
    }

    fn unreadable(why: BoxError) -> impl std::error::Error + Send + Sync + 'static {
        GetRecordsError::unhandled(why)
    }
}

impl From<GetRecordsOutput> for GetRecordsResponse {
    fn from(output: GetRecordsOutput) -> Self {
        Self {
            children: ids(output.child_shards()),
            records: output.records.into(),
            next: output.next_shard_iterator,
            behind: behind(output.millis_behind_latest),
        }
    }
}

/// Deserializes a response and notes the offsets of records as they are parsed: an intermediate list
/// would be as large as the text.
struct Reading<'a> {
    offsets: Builder<'a>,
    around: Around,
}

#[derive(Default)]
struct Around {
    next: Option<String>,
    millis_behind: Option<i64>,
    children: Option<Vec<WireChild>>,
}

#[derive(Deserialize)]
enum Name {
    Records,
    NextShardIterator,
    MillisBehindLatest,
    ChildShards,
    #[serde(other)]
    Other,
}

impl<'a> Visitor<'a> for &mut Reading<'a> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an answer")
    }

    fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(name) = map.next_key()? {
            match name {
                Name::Records => map.next_value_seed(Listed(&mut self.offsets))?,
                Name::NextShardIterator => self.around.next = map.next_value()?,
                Name::MillisBehindLatest => self.around.millis_behind = map.next_value()?,
                Name::ChildShards => self.around.children = map.next_value()?,
                Name::Other => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }
}

/// Deserializes the list of records, which may be null.
struct Listed<'b, 'a>(&'b mut Builder<'a>);

impl<'a> DeserializeSeed<'a> for Listed<'_, 'a> {
    type Value = ();

    fn deserialize<D: Deserializer<'a>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'a> Visitor<'a> for Listed<'_, 'a> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of records")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'a>>(self, mut list: A) -> Result<(), A::Error> {
        while let Some(record) = list.next_element::<WireRecord<'a>>()? {
            self.0.push(
                record.sequence_number,
                record.partition_key,
                record.data,
                record.approximate_arrival_timestamp,
            );
        }
        Ok(())
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct WireRecord<'a> {
    #[serde(borrow)]
    sequence_number: Cow<'a, str>,
    /// Empty if the response has none.
    #[serde(borrow, default)]
    partition_key: Cow<'a, str>,
    #[serde(borrow)]
    data: Cow<'a, str>,
    /// In seconds since 1970.
    approximate_arrival_timestamp: Option<f64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct WireChild {
    shard_id: String,
}

#[cfg(test)]
mod tests {
    use aqueduct_core::Timestamp;
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Result<GetRecordsResponse, String> {
        GetRecordsResponse::read(SdkBody::from(text))
    }

    #[derive(Clone, Debug, PartialEq)]
    struct Seen {
        sequence: String,
        key: String,
        data: Vec<u8>,
        millis: Option<i64>,
    }

    fn all(records: &mut Records) -> Vec<Seen> {
        let mut seen = Vec::new();
        while let Some(raw) = records.next() {
            let raw = raw.unwrap();
            seen.push(Seen {
                sequence: raw.sequence.into_owned(),
                key: raw.partition_key.into_owned(),
                data: raw.data.to_vec(),
                millis: raw.stored_at.map(Timestamp::as_millis),
            });
        }
        seen
    }

    #[test]
    fn what_surrounds_the_records_is_told() {
        let answer = read(
            r#" {"MillisBehindLatest":1500,"Later":{"a":[1]},"NextShardIterator":"AAA=",
                "Records":[],"ChildShards":null} "#,
        );
        let answer = answer.unwrap();
        assert_eq!(answer.behind, Some(Duration::from_millis(1500)));
        assert_eq!(answer.next.as_deref(), Some("AAA="));
        assert!(answer.records.is_empty() && answer.children.is_empty());
        let child = r#"{"ShardId":"shardId-000000000001","ParentShards":["shardId-000000000000"],
            "HashKeyRange":{"StartingHashKey":"0","EndingHashKey":"9"}}"#;
        let text = format!(r#"{{"NextShardIterator":null,"ChildShards":[{child}]}}"#);
        let end = read(&text).unwrap();
        assert_eq!((end.next, end.behind), (None, None));
        assert_eq!(end.children, ["shardId-000000000001".into()]);
    }

    #[test]
    fn times_are_exact_to_the_millisecond_in_every_way_to_write_them() {
        let times = ["1763719200.129", "1.763719200129E9", "1763719200129e-3"];
        for time in times {
            let record = format!(
                r#"{{"SequenceNumber":"7","PartitionKey":"k","Data":"","ApproximateArrivalTimestamp":{time}}}"#
            );
            let mut answer = read(&format!(r#"{{"Records":[{record}]}}"#)).unwrap();
            assert_eq!(all(&mut answer.records)[0].millis, Some(1_763_719_200_129));
        }
    }

    #[test]
    fn what_is_no_answer_is_told_without_its_text() {
        for text in [
            "",
            "<html>secret</html>",
            r#"{"Records":"secret"}"#,
            r#"{"Records":[{"Data":"secret"}]}"#,
            r#"{"Records":[]} secret"#,
        ] {
            let error = read(text).err().unwrap();
            assert!(!error.contains("secret"), "{error}");
        }
        let body = SdkBody::from(&b"{\"Records\xff"[..]);
        assert!(GetRecordsResponse::read(body).is_err());
        let record = r#"{"SequenceNumber":"7","PartitionKey":"k","Data":"secret!"}"#;
        let mut answer = read(&format!(r#"{{"Records":[{record}]}}"#)).unwrap();
        let error = answer.records.next().unwrap().err().unwrap();
        assert!(!format!("{error:?}").contains("secret"), "{error:?}");
    }

    fn seen() -> impl Strategy<Value = Seen> {
        let data = (prop::collection::vec(any::<u8>(), 0..30), 1..50usize);
        let data = data.prop_map(|(part, times)| part.repeat(times));
        ("[1-9][0-9]{0,55}", ".{1,40}", data, any::<u32>()).prop_map(|(sequence, key, data, at)| {
            let millis = Some(1_700_000_000_000 + i64::from(at));
            Seen {
                sequence,
                key,
                data,
                millis,
            }
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]

        #[test]
        fn records_come_back_as_they_were_stored(
            mut stored in prop::collection::vec(seen(), 0..20),
            spread: bool,
        ) {
            let records: Vec<_> = stored.iter().map(|it| serde_json::json!({
                "SequenceNumber": it.sequence,
                "PartitionKey": it.key,
                "Data": STANDARD.encode(&it.data),
                "ApproximateArrivalTimestamp": it.millis.unwrap() as f64 / 1000.0,
                "EncryptionType": "KMS",
            })).collect();
            let body = serde_json::json!({ "Records": records, "NextShardIterator": "A" });
            let text = match spread {
                true => serde_json::to_string_pretty(&body).unwrap(),
                false => body.to_string(),
            };
            let mut answer = read(&text).unwrap();
            let records = &mut answer.records;
            prop_assert_eq!(records.len(), stored.len());
            let bytes: usize = stored.iter().map(|it| it.data.len() + it.key.len()).sum();
            prop_assert_eq!(records.bytes(), bytes);
            prop_assert_eq!(records.first(), stored.first().map(|it| it.sequence.as_str()));
            prop_assert_eq!(records.last(), stored.last().map(|it| it.sequence.as_str()));
            prop_assert_eq!(&all(records), &stored);
            stored.clear();
            prop_assert_eq!(records.len(), 0);
        }
    }
}
