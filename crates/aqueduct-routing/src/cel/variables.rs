use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use aqueduct_core::{AttributeValue, Event};
use cel::Value;
use cel::common::types::{CelNull, CelString};
use cel::common::value::{CowVal, Val};
use cel::context::VariableResolver;
use cel::objects::{Key, Map};

/// The names that an expression can use.
pub(super) const NAMES: [&str; 10] = [
    "attributes",
    "content_type",
    "data",
    "id",
    "key",
    "schema",
    "source",
    "subject",
    "time",
    "type",
];

/// The fields of one event. Data is decoded when an expression first reads it.
pub(super) struct Variables<'a> {
    event: &'a Event,
    data: OnceLock<Result<Box<dyn Val>, serde_json::Error>>,
}

impl<'a> Variables<'a> {
    pub(super) fn new(event: &'a Event) -> Self {
        Self {
            event,
            data: OnceLock::new(),
        }
    }

    /// Returns why the data could not be read, if it was asked for.
    pub(super) fn into_error(self) -> Option<serde_json::Error> {
        self.data.into_inner()?.err()
    }

    fn data(&self) -> Option<CowVal<'_, '_>> {
        let decoded = self.data.get_or_init(|| {
            let value = match self.event.data() {
                Some(data) => value(serde_json::from_slice(data)?),
                None => Value::Null,
            };
            Ok(boxed(value))
        });
        decoded.as_ref().ok().map(|data| CowVal::Borrowed(&**data))
    }

    fn attributes(&self) -> Value {
        let entries = self.event.attributes().iter().map(|(name, attribute)| {
            let name = Key::String(Arc::new(name.to_string()));
            (name, attribute_value(attribute))
        });
        Value::Map(Map {
            map: Arc::new(entries.collect::<HashMap<_, _>>()),
        })
    }

    fn time(&self) -> Value {
        let time = self.event.time().map(|time| time.as_millis());
        let time = time.and_then(chrono::DateTime::from_timestamp_millis);
        time.map_or(Value::Null, |time| Value::Timestamp(time.fixed_offset()))
    }
}

impl VariableResolver for Variables<'_> {
    fn resolve<'b>(&'b self, name: &str) -> Option<CowVal<'b, 'b>> {
        let event = self.event;
        match name {
            "type" => Some(text(Some(event.kind()))),
            "source" => Some(text(Some(event.source()))),
            "key" => Some(text(event.key())),
            "subject" => Some(text(event.subject())),
            "content_type" => Some(text(event.content_type())),
            "schema" => Some(text(event.schema())),
            "id" => Some(CowVal::Owned(boxed(event.id().to_string().into()))),
            "time" => Some(CowVal::Owned(boxed(self.time()))),
            "attributes" => Some(CowVal::Owned(boxed(self.attributes()))),
            "data" => self.data(),
            _ => None,
        }
    }
}

fn text(text: Option<&str>) -> CowVal<'_, '_> {
    match text {
        Some(text) => CowVal::owned(CelString::from(text)),
        None => CowVal::owned(CelNull),
    }
}

/// Every value that is made here has a form in the language; should one not, it is null.
fn boxed(value: Value) -> Box<dyn Val> {
    let boxed: Result<Box<dyn Val>, _> = value.try_into();
    boxed.unwrap_or_else(|_| Box::new(CelNull))
}

fn attribute_value(attribute: &AttributeValue) -> Value {
    match attribute {
        AttributeValue::Boolean(value) => Value::Bool(*value),
        AttributeValue::Integer(value) => Value::Int(i64::from(*value)),
        AttributeValue::Binary(bytes) => Value::Bytes(Arc::new(bytes.to_vec())),
        other => Value::String(Arc::new(other.to_string())),
    }
}

fn value(json: serde_json::Value) -> Value {
    use serde_json::Value as Json;
    match json {
        Json::Null => Value::Null,
        Json::Bool(value) => Value::Bool(value),
        Json::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(value), _) => Value::Int(value),
            (None, Some(value)) => Value::UInt(value),
            (None, None) => number.as_f64().map_or(Value::Null, Value::Float),
        },
        Json::String(value) => Value::String(Arc::new(value)),
        Json::Array(values) => Value::List(Arc::new(values.into_iter().map(value).collect())),
        Json::Object(entries) => {
            let entries = entries
                .into_iter()
                .map(|(name, json)| (Key::String(Arc::new(name)), value(json)));
            Value::Map(Map {
                map: Arc::new(entries.collect()),
            })
        }
    }
}
