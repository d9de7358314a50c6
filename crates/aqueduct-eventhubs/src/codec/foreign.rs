use aqueduct_core::{Event, SmallStr, Timestamp};
use bytes::{Bytes, BytesMut};
use fe2o3_amqp::types::messaging::{
    AmqpSequence, Batch, Body, Data, Message, MessageId, Properties,
};
use fe2o3_amqp::types::primitives::{SimpleValue, Value};
use serde_json::{Map, Value as Json};

use super::FOREIGN;
use super::decode::{Place, Stamps};
use super::json::{binary, plain, simple, value};

/// Returns the event for a message that is not a CloudEvent: its data, its partition key as the key,
/// its properties as attributes, and everything but the data in one attribute as JSON.
pub(super) fn foreign(message: Message<Body<Value>>, stamps: &Stamps, at: Place<'_>) -> Event {
    let mut whole = Map::new();
    let (data, implied) = contents(message.body, &mut whole);
    let mut event = Event::foreign(at.hub.clone(), at.event_id(), data);
    if let Some(key) = &stamps.key {
        event = event.with_key(key.as_str());
    }
    let declared = message
        .properties
        .as_ref()
        .and_then(|it| it.content_type.as_ref())
        .map(|it| SmallStr::from(it.as_str()));
    if let Some(content_type) = declared.or(implied) {
        event = event.with_content_type(content_type);
    }
    if let Some(properties) = message.properties {
        if let Some(subject) = &properties.subject {
            event = event.with_subject(subject.as_str());
        }
        let shown = fields(properties);
        if !shown.is_empty() {
            whole.insert("properties".to_owned(), Json::Object(shown));
        }
    }
    if let Some(application) = message.application_properties {
        let mut shown = Map::new();
        for (name, value) in application.0 {
            // A name that CloudEvents does not allow is in `FOREIGN` alone.
            let _ = event.attributes_mut().set(name.as_str(), plain(&value));
            shown.insert(name, simple(&value));
        }
        if !shown.is_empty() {
            whole.insert("application".to_owned(), Json::Object(shown));
        }
    }
    if !whole.is_empty() {
        // Cannot fail: the name is valid.
        let _ = event
            .attributes_mut()
            .set(FOREIGN, Json::Object(whole).to_string());
    }
    event
}

/// Returns the data of a body, and the content type that follows from its form.
fn contents(body: Body<Value>, whole: &mut Map<String, Json>) -> (Bytes, Option<SmallStr>) {
    let mut note = |form: &str| whole.insert("body".to_owned(), form.into());
    match body {
        Body::Data(sections) => (join(&sections), None),
        Body::Empty => (Bytes::new(), None),
        Body::Value(body) => {
            note("value");
            match body.0 {
                Value::Null => (Bytes::new(), None),
                Value::Binary(bytes) => (bytes.into_vec().into(), None),
                Value::String(text) => (text.into(), Some(SmallStr::literal("text/plain"))),
                other => (value(&other).to_string().into(), Some(Event::JSON)),
            }
        }
        Body::Sequence(sections) => {
            note("sequence");
            let all = sections.into_iter().flat_map(|AmqpSequence(it)| it);
            let all = Json::Array(all.map(|it| value(&it)).collect());
            (all.to_string().into(), Some(Event::JSON))
        }
    }
}

/// Returns the bytes of all data sections.
pub(super) fn join(sections: &Batch<Data>) -> Bytes {
    match &sections[..] {
        [Data(one)] => Bytes::copy_from_slice(one),
        many => {
            let mut all = BytesMut::new();
            for Data(part) in many {
                all.extend_from_slice(part);
            }
            all.freeze()
        }
    }
}

/// Returns the fields of the properties section that are set.
fn fields(properties: Properties) -> Map<String, Json> {
    let id = |id: MessageId| match id {
        MessageId::Ulong(id) => simple(&SimpleValue::Ulong(id)),
        MessageId::Uuid(id) => simple(&SimpleValue::Uuid(id)),
        MessageId::Binary(id) => simple(&SimpleValue::Binary(id)),
        MessageId::String(id) => simple(&SimpleValue::String(id)),
    };
    let time = |time: fe2o3_amqp::types::primitives::Timestamp| {
        Json::from(Timestamp::from_millis(time.into_inner()).to_string())
    };
    let all = [
        ("message-id", properties.message_id.map(id)),
        ("user-id", properties.user_id.map(|it| binary(&it))),
        ("to", properties.to.map(Json::from)),
        ("subject", properties.subject.map(Json::from)),
        ("reply-to", properties.reply_to.map(Json::from)),
        ("correlation-id", properties.correlation_id.map(id)),
        (
            "content-encoding",
            properties.content_encoding.map(|it| Json::from(it.0)),
        ),
        (
            "absolute-expiry-time",
            properties.absolute_expiry_time.map(time),
        ),
        ("creation-time", properties.creation_time.map(time)),
        ("group-id", properties.group_id.map(Json::from)),
        ("group-sequence", properties.group_sequence.map(Json::from)),
        (
            "reply-to-group-id",
            properties.reply_to_group_id.map(Json::from),
        ),
    ];
    let set = all
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?)));
    set.collect()
}
