use std::borrow::Cow;
use std::fmt;

use aqueduct_core::{PartitionId, Position};
use aws_sdk_kinesis::error::BoxError;
use aws_sdk_kinesis::operation::put_records::{PutRecordsError, PutRecordsOutput};
use aws_sdk_kinesis::types::PutRecordsResultEntry;
use aws_smithy_types::body::SdkBody;
use serde::Deserialize;
use serde::de::{Deserializer, Visitor};

use crate::direct::Answered;

/// What the service says of one record.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Outcome {
    /// Where it is stored; `None` too where what the answer says cannot be read.
    pub(super) stored: Option<(PartitionId, Position)>,
    pub(super) refusal: Option<Box<Refusal>>,
}

/// Why the service did not store it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) code: String,
    pub(super) message: Option<String>,
}

impl Outcome {
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

/// The answer of one PutRecords, record by record.
pub(super) struct Outcomes(pub(super) Vec<Outcome>);

impl Answered for Outcomes {
    type Output = PutRecordsOutput;

    fn read(body: SdkBody) -> Result<Self, String> {
        let text = body.bytes().unwrap_or_default();
        let answer: WireAnswer = serde_json::from_slice(text).map_err(|error| {
            let (line, column) = (error.line(), error.column());
            format!("not as PutRecords answers at line {line} column {column}")
        })?;
        Ok(Self(answer.records))
    }

    fn nothing_else() -> Result<PutRecordsOutput, BoxError> {
        Ok(PutRecordsOutput::builder()
            .set_records(Some(Vec::new()))
            .build()?)
    }

    fn unreadable(why: BoxError) -> impl std::error::Error + Send + Sync + 'static {
        PutRecordsError::unhandled(why)
    }
}

impl From<PutRecordsOutput> for Outcomes {
    fn from(answer: PutRecordsOutput) -> Self {
        let outcome = |record: &PutRecordsResultEntry| {
            Outcome::new(
                record.sequence_number(),
                record.shard_id(),
                record.error_code(),
                record.error_message(),
            )
        };
        Self(answer.records.iter().map(outcome).collect())
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct WireAnswer {
    records: Vec<Outcome>,
}

impl<'de> Deserialize<'de> for Outcome {
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
    sequence_number: Said<'a>,
    #[serde(borrow, default)]
    shard_id: Said<'a>,
    #[serde(borrow, default)]
    error_code: Said<'a>,
    #[serde(borrow, default)]
    error_message: Said<'a>,
}

/// A text in its place, or nothing: left out, or null.
#[derive(Default)]
struct Said<'a>(Option<Cow<'a, str>>);

impl<'de: 'a, 'a> Deserialize<'de> for Said<'a> {
    #[inline]
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Saying;

        impl<'de> Visitor<'de> for Saying {
            type Value = Said<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text or null")
            }

            #[inline]
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Said<'de>, E> {
                Ok(Said(Some(Cow::Borrowed(text))))
            }

            fn visit_str<E>(self, text: &str) -> Result<Said<'de>, E> {
                Ok(Said(Some(Cow::Owned(text.to_owned()))))
            }

            fn visit_unit<E>(self) -> Result<Said<'de>, E> {
                Ok(Said(None))
            }
        }

        deserializer.deserialize_any(Saying)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Result<Vec<Outcome>, String> {
        Outcomes::read(SdkBody::from(text)).map(|outcomes| outcomes.0)
    }

    #[test]
    fn each_record_is_stored_refused_or_unreadable() {
        let text = r#" {"EncryptionType":"KMS","FailedRecordCount":2,"Records":[
            {"SequenceNumber":"21","ShardId":"shardId-000000000003","ErrorCode":null,"New":[1]},
            {"ErrorCode":"Provisioned\u0054hroughput","ErrorMessage":"slow \"down\""},
            {"SequenceNumber":null,"ShardId":null,"ErrorCode":"InternalFailure"},
            {"SequenceNumber":"x","ShardId":"shardId-000000000003"}, {}]} "#;
        let outcomes = read(text).unwrap();
        let place = ("shardId-000000000003".into(), Position::new(21));
        assert_eq!(outcomes[0].stored, Some(place));
        assert_eq!(outcomes[0].refusal, None);
        let refusal = outcomes[1].refusal.as_deref().unwrap();
        assert_eq!(refusal.code, "ProvisionedThroughput");
        assert_eq!(refusal.message.as_deref(), Some("slow \"down\""));
        let refusal = outcomes[2].refusal.as_deref().unwrap();
        assert_eq!(
            (refusal.code.as_str(), &refusal.message),
            ("InternalFailure", &None)
        );
        for unreadable in &outcomes[3..] {
            assert_eq!((&unreadable.stored, &unreadable.refusal), (&None, &None));
        }
    }

    #[test]
    fn what_is_no_answer_is_told_without_its_text() {
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

    fn said() -> impl Strategy<Value = Option<String>> {
        prop_oneof![
            Just(None),
            "[0-9]{1,56}".prop_map(Some),
            ".{0,40}".prop_map(Some)
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]

        #[test]
        fn the_service_s_client_says_the_same(
            records in prop::collection::vec([said(), said(), said(), said()], 0..20),
            spread: bool,
        ) {
            let names = ["SequenceNumber", "ShardId", "ErrorCode", "ErrorMessage"];
            let list: Vec<_> = records.iter().map(|record| {
                let said = names.iter().zip(record).filter_map(|(name, text)| {
                    text.as_ref().map(|text| (name.to_string(), serde_json::json!(text)))
                });
                serde_json::Value::Object(said.collect())
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
            prop_assert_eq!(read(&text).unwrap(), Outcomes::from(theirs.unwrap()).0);
        }
    }
}
