mod gap;
mod log;
mod place;
mod reader;

pub(crate) use self::log::EventHubsLog;
