//! AMQP values as attributes and as JSON.

use aqueduct_core::{AttributeValue, Timestamp};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fe2o3_amqp::types::primitives::{SimpleValue, Symbol, Uuid, Value};
use serde_amqp::descriptor::Descriptor;
use serde_json::{Map, Value as Json, json};

/// Returns a property as the value of an attribute: of its type where CloudEvents has it, else as text.
pub(super) fn plain(value: &SimpleValue) -> AttributeValue {
    let integer = |wide: i64| match i32::try_from(wide) {
        Ok(narrow) => AttributeValue::Integer(narrow),
        Err(_) => AttributeValue::String(wide.to_string().into()),
    };
    match value {
        SimpleValue::Bool(it) => AttributeValue::Boolean(*it),
        SimpleValue::Ubyte(it) => integer((*it).into()),
        SimpleValue::Ushort(it) => integer((*it).into()),
        SimpleValue::Uint(it) => integer((*it).into()),
        SimpleValue::Byte(it) => integer((*it).into()),
        SimpleValue::Short(it) => integer((*it).into()),
        SimpleValue::Int(it) => AttributeValue::Integer(*it),
        SimpleValue::Long(it) => integer(*it),
        SimpleValue::String(it) => AttributeValue::String(it.into()),
        SimpleValue::Symbol(Symbol(it)) => AttributeValue::String(it.into()),
        SimpleValue::Binary(it) => AttributeValue::Binary(it.to_vec().into()),
        SimpleValue::Timestamp(it) => {
            AttributeValue::Timestamp(Timestamp::from_millis(it.clone().into_inner()))
        }
        other => AttributeValue::String(text_of(&Value::from(other.clone())).into()),
    }
}

/// Returns a value without its type, as text.
fn text_of(of: &Value) -> String {
    match value(of) {
        Json::String(text) => text,
        other => other.to_string(),
    }
}

/// Returns a property with the name of its type, such as `{"ubyte": 3}`.
pub(super) fn simple(of: &SimpleValue) -> Json {
    let name = match of {
        SimpleValue::Null => return Json::Null,
        SimpleValue::Bool(_) => "boolean",
        SimpleValue::Ubyte(_) => "ubyte",
        SimpleValue::Ushort(_) => "ushort",
        SimpleValue::Uint(_) => "uint",
        SimpleValue::Ulong(_) => "ulong",
        SimpleValue::Byte(_) => "byte",
        SimpleValue::Short(_) => "short",
        SimpleValue::Int(_) => "int",
        SimpleValue::Long(_) => "long",
        SimpleValue::Float(_) => "float",
        SimpleValue::Double(_) => "double",
        SimpleValue::Decimal32(_) => "decimal32",
        SimpleValue::Decimal64(_) => "decimal64",
        SimpleValue::Decimal128(_) => "decimal128",
        SimpleValue::Char(_) => "char",
        SimpleValue::Timestamp(_) => "timestamp",
        SimpleValue::Uuid(_) => "uuid",
        SimpleValue::Binary(_) => "binary",
        SimpleValue::String(_) => "string",
        SimpleValue::Symbol(_) => "symbol",
        SimpleValue::Described(_) => "described",
    };
    json!({ name: value(&Value::from(of.clone())) })
}

/// Returns any value as JSON: bytes as Base64, times as RFC 3339, decimals as their bytes in
/// hexadecimal digits, a map with other keys than text as a list of pairs.
pub(super) fn value(of: &Value) -> Json {
    nested(of, 0)
}

/// The deepest nesting that is shown.
const DEEPEST: usize = 64;

fn nested(of: &Value, depth: usize) -> Json {
    if depth > DEEPEST {
        return "nested too deeply".into();
    }
    let list = |list: &[Value]| Json::Array(list.iter().map(|it| nested(it, depth + 1)).collect());
    match of {
        Value::Null => Json::Null,
        Value::Bool(it) => (*it).into(),
        Value::Ubyte(it) => (*it).into(),
        Value::Ushort(it) => (*it).into(),
        Value::Uint(it) => (*it).into(),
        Value::Ulong(it) => (*it).into(),
        Value::Byte(it) => (*it).into(),
        Value::Short(it) => (*it).into(),
        Value::Int(it) => (*it).into(),
        Value::Long(it) => (*it).into(),
        Value::Float(it) => float(f64::from(it.0)),
        Value::Double(it) => float(it.0),
        Value::Decimal32(it) => hexadecimal(it.as_inner()).into(),
        Value::Decimal64(it) => hexadecimal(it.as_inner()).into(),
        Value::Decimal128(it) => hexadecimal(it.as_inner()).into(),
        Value::Char(it) => it.to_string().into(),
        Value::Timestamp(it) => Timestamp::from_millis(it.clone().into_inner())
            .to_string()
            .into(),
        Value::Uuid(it) => uuid(it).into(),
        Value::Binary(it) => binary(it),
        Value::String(it) => it.as_str().into(),
        Value::Symbol(it) => it.as_str().into(),
        Value::List(it) => list(it),
        Value::Array(it) => list(&it.0),
        Value::Map(map) => {
            let named: Option<Map<String, Json>> = map
                .iter()
                .map(|(name, value)| Some((name_of(name)?.to_owned(), nested(value, depth + 1))))
                .collect();
            match named {
                Some(named) => Json::Object(named),
                None => map
                    .iter()
                    .map(|(name, value)| json!([nested(name, depth + 1), nested(value, depth + 1)]))
                    .collect(),
            }
        }
        Value::Described(it) => {
            let descriptor = match &it.descriptor {
                Descriptor::Name(name) => Json::from(name.as_str()),
                Descriptor::Code(code) => Json::from(*code),
            };
            json!({ "descriptor": descriptor, "value": nested(&it.value, depth + 1) })
        }
    }
}

/// Returns bytes as Base64.
pub(super) fn binary(bytes: &[u8]) -> Json {
    STANDARD.encode(bytes).into()
}

fn name_of(value: &Value) -> Option<&str> {
    match value {
        Value::String(it) => Some(it),
        Value::Symbol(it) => Some(it.as_str()),
        _ => None,
    }
}

/// JSON has no infinities and no NaN.
fn float(value: f64) -> Json {
    match serde_json::Number::from_f64(value) {
        Some(number) => Json::Number(number),
        None => value.to_string().into(),
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn uuid(uuid: &Uuid) -> String {
    let digits = hexadecimal(uuid.as_inner());
    let [a, b, c, d, e] = [0..8, 8..12, 12..16, 16..20, 20..32].map(|range| &digits[range]);
    format!("{a}-{b}-{c}-{d}-{e}")
}
