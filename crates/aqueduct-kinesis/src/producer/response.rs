use std::borrow::Cow;
use std::fmt;

use aqueduct_core::{PartitionId, Position};
use aws_sdk_kinesis::error::BoxError;
use aws_sdk_kinesis::operation::put_records::{PutRecordsError, PutRecordsOutput};
use aws_sdk_kinesis::types::PutRecordsResultEntry;
use aws_smithy_types::body::SdkBody;
use serde::Deserialize;
use serde::de::{Deserializer, Visitor};

use crate::raw_response::RawResponse;

/// The result of one record.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct RecordResult {
    /// Where it is stored; also `None` if the response cannot be read.
    pub(super) stored: Option<(PartitionId, Position)>,
    pub(super) refusal: Option<Box<Refusal>>,
}

/// The service's reason for not storing a record.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) code: String,
    pub(super) message: Option<String>,
}

impl RecordResult {
    fn new(
        sequence: Option<&str>,
        shard: Option<&str>,
        code: Option<&str>,
        message: Option<&str>,
    ) -> Self {
        let place = || {
            let position = Position::from_sequence_text(sequence?).ok()?;
            Some((PartitionId::from(shard?), position))
        };
        Self {
            stored: place(),
            refusal: code.map(|code| {
                Box::new(Refusal {
                    code: code.to_owned(),
                    message: message.map(str::to_owned),
                })
            }),
        }
    }
}

/// The response of one PutRecords, record by record.
pub(super) struct PutRecordsResponse(pub(super) Vec<RecordResult>);

impl RawResponse for PutRecordsResponse {
    type Output = PutRecordsOutput;

    fn read(body: SdkBody) -> Result<Self, String> {
        let text = body.bytes().unwrap_or_default();
        let response: WireResponse = serde_json::from_slice(text).map_err(|error| {
            let (line, column) = (error.line(), error.column());
            format!("invalid PutRecords response at line {line} column {column}")
        })?;
        Ok(Self(response.records))
    }

    fn empty_output() -> Result<PutRecordsOutput, BoxError> {
        Ok(PutRecordsOutput::builder()
            .set_records(Some(Vec::new()))
            .build()?)
    }

    fn unreadable(why: BoxError) -> impl std::error::Error + Send + Sync + 'static {
        PutRecordsError::unhandled(why)
    }
}

impl From<PutRecordsOutput> for PutRecordsResponse {
    fn from(output: PutRecordsOutput) -> Self {
        let result = |record: &PutRecordsResultEntry| {
            RecordResult::new(
                record.sequence_number(),
                record.shard_id(),
                record.error_code(),
                record.error_message(),
            )
        };
        Self(output.records.iter().map(result).collect())
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct WireResponse {
    records: Vec<RecordResult>,
}

impl<'de> Deserialize<'de> for RecordResult {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let record = WireRecord::deserialize(deserializer)?;
        Ok(Self::new(
            record.sequence_number.0.as_deref(),
            record.shard_id.0.as_deref(),
            record.error_code.0.as_deref(),
            record.error_message.0.as_deref(),
        ))
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct WireRecord<'a> {
    #[serde(borrow, default)]
    sequence_number: Text<'a>,
    #[serde(borrow, default)]
    shard_id: Text<'a>,
    #[serde(borrow, default)]
    error_code: Text<'a>,
    #[serde(borrow, default)]
    error_message: Text<'a>,
}

/// A string, borrowed if it has no escapes; `None` if it is missing or null.
#[derive(Default)]
struct Text<'a>(Option<Cow<'a, str>>);

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    #[inline]
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;

        impl<'de> Visitor<'de> for TextVisitor {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string or null")
            }

            #[inline]
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Text<'de>, E> {
                Ok(Text(Some(Cow::Borrowed(text))))
            }

            fn visit_str<E>(self, text: &str) -> Result<Text<'de>, E> {
                Ok(Text(Some(Cow::Owned(text.to_owned()))))
            }

            fn visit_unit<E>(self) -> Result<Text<'de>, E> {
                Ok(Text(None))
            }
        }

        deserializer.deserialize_any(TextVisitor)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Result<Vec<RecordResult>, String> {
        PutRecordsResponse::read(SdkBody::from(text)).map(|response| response.0)
    }

    #[test]
    fn each_record_is_stored_refused_or_unreadable() {
        let text = r#" {"EncryptionType":"KMS","FailedRecordCount":2,"Records":[
            {"SequenceNumber":"21","ShardId":"shardId-000000000003","ErrorCode":null,"New":[1]},
            {"ErrorCode":"Provisioned\u0054hroughput","ErrorMessage":"slow \"down\""},
            {"SequenceNumber":null,"ShardId":null,"ErrorCode":"InternalFailure"},
            {"SequenceNumber":"x","ShardId":"shardId-000000000003"}, {}]} "#;
        let results = read(text).unwrap();
        let place = ("shardId-000000000003".into(), Position::new(21));
        assert_eq!(results[0].stored, Some(place));
        assert_eq!(results[0].refusal, None);
        let refusal = results[1].refusal.as_deref().unwrap();
        assert_eq!(refusal.code, "ProvisionedThroughput");
        assert_eq!(refusal.message.as_deref(), Some("slow \"down\""));
        let refusal = results[2].refusal.as_deref().unwrap();
        assert_eq!(
            (refusal.code.as_str(), &refusal.message),
            ("InternalFailure", &None)
        );
        for unreadable in &results[3..] {
            assert_eq!((&unreadable.stored, &unreadable.refusal), (&None, &None));
        }
    }

    #[test]
    fn an_invalid_response_is_reported_without_its_content() {
        for text in [
            "",
            "<html>secret</html>",
            "{}",
            r#"{"Records":"secret"}"#,
            r#"{"Records":null}"#,
            r#"{"Records":[{"ShardId":7}]}"#,
            r#"{"Records":[]} secret"#,
        ] {
            let error = read(text).unwrap_err();
            assert!(!error.contains("secret"), "{error}");
        }
    }

    fn any_text() -> impl Strategy<Value = Option<String>> {
        prop_oneof![
            Just(None),
            "[0-9]{1,56}".prop_map(Some),
            ".{0,40}".prop_map(Some)
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]

        #[test]
        fn the_sdk_reads_the_same(
            records in prop::collection::vec([any_text(), any_text(), any_text(), any_text()], 0..20),
            spread: bool,
        ) {
            let names = ["SequenceNumber", "ShardId", "ErrorCode", "ErrorMessage"];
            let list: Vec<_> = records.iter().map(|record| {
                let fields = names.iter().zip(record).filter_map(|(name, text)| {
                    text.as_ref().map(|text| (name.to_string(), serde_json::json!(text)))
                });
                serde_json::Value::Object(fields.collect())
            }).collect();
            let body = serde_json::json!({ "Records": list, "FailedRecordCount": 0 });
            let text = match spread {
                true => serde_json::to_string_pretty(&body).unwrap(),
                false => body.to_string(),
            };
            let theirs = records.into_iter().map(|[sequence, shard, code, message]| {
                PutRecordsResultEntry::builder()
                    .set_sequence_number(sequence)
                    .set_shard_id(shard)
                    .set_error_code(code)
                    .set_error_message(message)
                    .build()
            });
            let theirs = PutRecordsOutput::builder().set_records(Some(theirs.collect())).build();
            prop_assert_eq!(read(&text).unwrap(), PutRecordsResponse::from(theirs.unwrap()).0);
        }
    }
}
