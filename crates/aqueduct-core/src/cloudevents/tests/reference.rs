//! The messages by their definition, encoded and decoded by prost as an independent reference.

use std::collections::BTreeMap;

use crate::{AttributeValue, Event};

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct CloudEvent {
    #[prost(string, tag = "1")]
    pub(super) id: String,
    #[prost(string, tag = "2")]
    pub(super) source: String,
    #[prost(string, tag = "3")]
    pub(super) spec_version: String,
    #[prost(string, tag = "4")]
    pub(super) r#type: String,
    #[prost(btree_map = "string, message", tag = "5")]
    pub(super) attributes: BTreeMap<String, CloudEventAttributeValue>,
    #[prost(oneof = "Data", tags = "6, 7, 8")]
    pub(super) data: Option<Data>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
#[allow(clippy::enum_variant_names)]
pub(super) enum Data {
    #[prost(bytes, tag = "6")]
    BinaryData(Vec<u8>),
    #[prost(string, tag = "7")]
    TextData(String),
    #[prost(message, tag = "8")]
    ProtoData(Any),
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct CloudEventAttributeValue {
    #[prost(oneof = "Attr", tags = "1, 2, 3, 4, 5, 6, 7")]
    pub(super) attr: Option<Attr>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
#[allow(clippy::enum_variant_names)]
pub(super) enum Attr {
    #[prost(bool, tag = "1")]
    CeBoolean(bool),
    #[prost(int32, tag = "2")]
    CeInteger(i32),
    #[prost(string, tag = "3")]
    CeString(String),
    #[prost(bytes, tag = "4")]
    CeBytes(Vec<u8>),
    #[prost(string, tag = "5")]
    CeUri(String),
    #[prost(string, tag = "6")]
    CeUriRef(String),
    #[prost(message, tag = "7")]
    CeTimestamp(Timestamp),
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(super) struct Timestamp {
    #[prost(int64, tag = "1")]
    pub(super) seconds: i64,
    #[prost(int32, tag = "2")]
    pub(super) nanos: i32,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Any {
    #[prost(string, tag = "1")]
    pub(super) type_url: String,
    #[prost(bytes, tag = "2")]
    pub(super) value: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct CloudEventBatch {
    #[prost(message, repeated, tag = "1")]
    pub(super) events: Vec<CloudEvent>,
}

fn time(time: crate::Timestamp) -> Attr {
    let (mut seconds, mut nanos) = (time.as_seconds(), time.subsec_nanos());
    if nanos < 0 {
        seconds -= 1;
        nanos += 1_000_000_000;
    }
    Attr::CeTimestamp(Timestamp { seconds, nanos })
}

impl CloudEvent {
    /// Returns the message of `event`, without its data.
    pub(super) fn of(event: &Event) -> Self {
        let string = |text: &str| Attr::CeString(text.to_owned());
        let mut attributes: BTreeMap<String, Option<Attr>> = event
            .attributes()
            .iter()
            .map(|(name, value)| {
                let attr = match value {
                    AttributeValue::Boolean(it) => Attr::CeBoolean(*it),
                    AttributeValue::Integer(it) => Attr::CeInteger(*it),
                    AttributeValue::String(it) => string(it),
                    AttributeValue::Binary(it) => Attr::CeBytes(it.to_vec()),
                    AttributeValue::Uri(it) => Attr::CeUri(it.to_string()),
                    AttributeValue::UriRef(it) => Attr::CeUriRef(it.to_string()),
                    AttributeValue::Timestamp(it) => time(*it),
                };
                (name.to_owned(), Some(attr))
            })
            .collect();
        attributes.extend([
            ("subject".into(), event.subject().map(string)),
            ("partitionkey".into(), event.key().map(string)),
            ("datacontenttype".into(), event.content_type().map(string)),
            (
                "dataschema".into(),
                event.schema().map(|it| Attr::CeUri(it.into())),
            ),
            ("time".into(), event.time().map(time)),
        ]);
        Self {
            id: event.id().to_string(),
            source: event.source().into(),
            spec_version: "1.0".into(),
            r#type: event.kind().into(),
            attributes: attributes
                .into_iter()
                .filter(|(_, attr)| attr.is_some())
                .map(|(name, attr)| (name, CloudEventAttributeValue { attr }))
                .collect(),
            data: None,
        }
    }
}
