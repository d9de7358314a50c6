//! Topics, subscriptions and their deliveries as a state machine: time and randomness come in as arguments.

mod admin;
mod backlog;
mod broker;
mod checks;
mod consumers;
mod dead_letters;
mod entry;
mod filter;
mod keys;
mod message;
mod patch;
mod replay;
#[cfg(test)]
mod tests;

pub(super) use self::admin::Settings;
pub(super) use self::backlog::Limits;
pub(super) use self::broker::{Broker, Properties};
pub(super) use self::message::{Time, duration, proto_duration, time};
