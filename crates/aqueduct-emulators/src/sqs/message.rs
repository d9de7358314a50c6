use std::collections::BTreeMap;

use aqueduct_core::Instant;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::digest;
use super::fault::Fault;

/// A message stored in a queue.
#[derive(Clone, Debug)]
pub(super) struct Message {
    pub(super) id: String,
    pub(super) body: String,
    pub(super) attributes: BTreeMap<String, MessageAttribute>,
    pub(super) sent: i64,
    pub(super) group: Option<String>,
    pub(super) dedup: Option<String>,
    /// The end of its visibility time-out or delay; `None` while it can be received.
    pub(super) hidden_until: Option<Instant>,
    pub(super) in_flight: bool,
    pub(super) received: u32,
    pub(super) first_received: Option<i64>,
    pub(super) received_at: Instant,
    pub(super) handle: Option<String>,
    pub(super) moved_from: Option<String>,
}

#[derive(Clone, Debug)]
pub(super) struct MessageAttribute {
    pub(super) data_type: String,
    pub(super) data: AttributeData,
}

#[derive(Clone, Debug)]
pub(super) enum AttributeData {
    Text(String),
    Binary(Vec<u8>),
}

/// A message to store, parsed from a send request.
pub(super) struct NewMessage {
    pub(super) body: String,
    pub(super) attributes: BTreeMap<String, MessageAttribute>,
    pub(super) group: Option<String>,
    pub(super) dedup: Option<String>,
    pub(super) delay: Option<u64>,
}

impl NewMessage {
    pub(super) fn read(entry: &Value) -> Result<Self, Fault> {
        let text = |name: &str| entry[name].as_str().map(str::to_owned);
        let body = text("MessageBody").ok_or_else(|| Fault::missing("MessageBody"))?;
        if body.is_empty() {
            return Err(Fault::missing("MessageBody"));
        }
        check_characters(&body)?;
        let delay = entry["DelaySeconds"].as_u64();
        if delay.is_some_and(|delay| delay > 900) {
            return Err(Fault::invalid(
                "Value for parameter DelaySeconds is invalid. Reason: DelaySeconds must be >= 0 \
                 and <= 900.",
            ));
        }
        Ok(Self {
            attributes: read_attributes(&entry["MessageAttributes"])?,
            group: id_of(text("MessageGroupId"), "MessageGroupId")?,
            dedup: id_of(text("MessageDeduplicationId"), "MessageDeduplicationId")?,
            body,
            delay,
        })
    }

    /// Returns the size that counts towards the limits, in bytes.
    pub(super) fn size(&self) -> usize {
        let attributes: usize = self
            .attributes
            .iter()
            .map(|(name, attribute)| {
                let value = match &attribute.data {
                    AttributeData::Text(text) => text.len(),
                    AttributeData::Binary(bytes) => bytes.len(),
                };
                name.len() + attribute.data_type.len() + value
            })
            .sum();
        self.body.len() + attributes
    }
}

impl Message {
    /// Returns the message in the format of a `ReceiveMessage` response.
    pub(super) fn shown(&self, sequence: u64, request: &Value) -> Value {
        let mut system = Map::new();
        let wants = |name: &str| {
            ["AttributeNames", "MessageSystemAttributeNames"]
                .iter()
                .filter_map(|list| request[*list].as_array())
                .flatten()
                .any(|asked| asked == "All" || asked == name)
        };
        let number = |n: i64| Some(n.to_string());
        for (name, value) in [
            ("SenderId", Some("AIDAEMULATOR".to_owned())),
            ("SentTimestamp", number(self.sent)),
            ("ApproximateReceiveCount", number(i64::from(self.received))),
            (
                "ApproximateFirstReceiveTimestamp",
                self.first_received.and_then(number),
            ),
            ("MessageGroupId", self.group.clone()),
            ("MessageDeduplicationId", self.dedup.clone()),
            (
                "SequenceNumber",
                self.dedup.as_ref().map(|_| sequence_text(sequence)),
            ),
            ("DeadLetterQueueSourceArn", self.moved_from.clone()),
        ] {
            if let Some(value) = value.filter(|_| wants(name)) {
                system.insert(name.to_owned(), value.into());
            }
        }
        let asked = |name: &str| {
            let names = request["MessageAttributeNames"].as_array();
            names.into_iter().flatten().any(|asked| {
                let asked = asked.as_str().unwrap_or_default();
                let prefix = asked.strip_suffix('*').map(|it| it.trim_end_matches('.'));
                asked == "All" || asked == name || prefix.is_some_and(|it| name.starts_with(it))
            })
        };
        let shown: BTreeMap<_, _> = self
            .attributes
            .iter()
            .filter(|(name, _)| asked(name))
            .map(|(name, attribute)| (name.clone(), attribute.clone()))
            .collect();
        let mut message = json!({
            "MessageId": self.id,
            "ReceiptHandle": self.handle,
            "MD5OfBody": digest::of_body(&self.body),
            "Body": self.body,
        });
        if !system.is_empty() {
            message["Attributes"] = system.into();
        }
        if let Some(md5) = digest::of_attributes(&shown) {
            message["MD5OfMessageAttributes"] = md5.into();
            let shown = shown.iter().map(|(name, it)| (name.clone(), it.shown()));
            message["MessageAttributes"] = shown.collect::<Map<_, _>>().into();
        }
        message
    }
}

impl MessageAttribute {
    fn shown(&self) -> Value {
        match &self.data {
            AttributeData::Text(text) => {
                json!({ "DataType": self.data_type, "StringValue": text })
            }
            AttributeData::Binary(bytes) => {
                json!({ "DataType": self.data_type, "BinaryValue": STANDARD.encode(bytes) })
            }
        }
    }
}

/// Formats a sequence number with 20 digits, as the service does.
pub(super) fn sequence_text(sequence: u64) -> String {
    format!("188700{sequence:014}")
}

fn read_attributes(value: &Value) -> Result<BTreeMap<String, MessageAttribute>, Fault> {
    let mut read = BTreeMap::new();
    let Some(given) = value.as_object() else {
        return Ok(read);
    };
    if given.len() > 10 {
        return Err(Fault::invalid(
            "Number of message attributes [11] exceeds the allowed maximum [10].",
        ));
    }
    for (name, attribute) in given {
        let named = |why: &str| Fault::invalid(format!("The message attribute '{name}' {why}"));
        let valid = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
        if name.is_empty() || name.len() > 256 || !name.chars().all(valid) {
            return Err(named("has an invalid name."));
        }
        let data_type = attribute["DataType"].as_str().unwrap_or_default();
        let base = data_type.split('.').next().unwrap_or_default();
        let text = attribute["StringValue"].as_str();
        let data = match (base, text, attribute["BinaryValue"].as_str()) {
            ("String", Some(text), _) if !text.is_empty() => {
                check_characters(text)?;
                AttributeData::Text(text.to_owned())
            }
            ("Number", Some(text), _) if text.parse::<f64>().is_ok() => {
                AttributeData::Text(text.to_owned())
            }
            ("Binary", _, Some(binary)) if !binary.is_empty() => {
                let bytes = STANDARD.decode(binary);
                AttributeData::Binary(bytes.map_err(|_| named("is not Base64."))?)
            }
            ("String" | "Number" | "Binary", _, _) => {
                return Err(named("must contain a non-empty value of its type."));
            }
            _ => return Err(named("has an invalid message attribute type.")),
        };
        let attribute = MessageAttribute {
            data_type: data_type.to_owned(),
            data,
        };
        read.insert(name.clone(), attribute);
    }
    Ok(read)
}

fn check_characters(text: &str) -> Result<(), Fault> {
    let allowed = |c: char| matches!(c, '\t' | '\n' | '\r' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..);
    if text.chars().all(allowed) {
        return Ok(());
    }
    Err(Fault::new(
        "InvalidMessageContents",
        "Invalid characters found. Valid unicode characters are #x9 | #xA | #xD | #x20 to #xD7FF \
         | #xE000 to #xFFFD | #x10000 to #x10FFFF.",
    ))
}

fn id_of(id: Option<String>, name: &str) -> Result<Option<String>, Fault> {
    let valid = |c: char| c.is_ascii_graphic();
    match id {
        Some(id) if id.is_empty() || id.len() > 128 || !id.chars().all(valid) => {
            Err(Fault::invalid(format!(
                "Value {id} for parameter {name} is invalid. Reason: {name} can only include \
                 alphanumeric and punctuation characters. 1 to 128 in length."
            )))
        }
        id => Ok(id),
    }
}
