//! The JSON of the REST interface, as protocol buffers map to it.

mod fields;
mod requests;
mod settings;

pub(super) use self::fields::{ack_ids, number};
pub(super) use self::requests::{
    create_snapshot, from_snapshot, messages, pull, pulled, seek_target, snapshot,
};
pub(super) use self::settings::{from_subscription, from_topic, push_config, subscription, topic};
