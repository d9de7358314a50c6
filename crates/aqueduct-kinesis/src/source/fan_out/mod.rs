//! Enhanced fan-out: the service pushes records, over one subscription per shard and consumer that
//! lasts five minutes and is renewed before.

mod consumers;
mod subscription;

pub(super) use self::consumers::Consumers;
pub(super) use self::subscription::FanOut;
