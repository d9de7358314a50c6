use std::collections::HashMap;

use aqueduct_core::{SmallStr, Timestamp};
use aws_sdk_sqs::types::{Message, MessageSystemAttributeName};

use super::machine::Arrival;
use crate::encoding::{Incoming, decode};

/// What a message of the service is; `None` where it lacks what every message has.
pub(super) fn arrival(message: Message, source: &SmallStr) -> Option<Arrival> {
    let id = message.message_id?;
    let handle = message.receipt_handle?;
    let attributes = message.message_attributes.unwrap_or_default();
    let system = message.attributes.unwrap_or_default();
    let said = |name: MessageSystemAttributeName| system.get(&name).map(String::as_str);
    let number = |name| said(name)?.parse::<i64>().ok();
    let group = said(MessageSystemAttributeName::MessageGroupId);
    let body = message.body.unwrap_or_default();
    let bytes = body.len() + size_of(&attributes) + 256;
    let event = decode(Incoming {
        id: &id,
        body,
        attributes: &attributes,
        group,
        source,
    });
    Some(Arrival {
        message: id.into(),
        handle: handle.into(),
        group: group.map(SmallStr::from),
        event,
        bytes,
        stored_at: number(MessageSystemAttributeName::SentTimestamp).map(Timestamp::from_millis),
        receipts: number(MessageSystemAttributeName::ApproximateReceiveCount)
            .and_then(|count| u32::try_from(count).ok())
            .unwrap_or(1),
    })
}

fn size_of(attributes: &HashMap<String, aws_sdk_sqs::types::MessageAttributeValue>) -> usize {
    let sizes = attributes.iter().map(|(name, value)| {
        let text = value.string_value().map_or(0, str::len);
        name.len() + text + value.binary_value().map_or(0, |it| it.as_ref().len())
    });
    sizes.sum()
}
