//! The HTTP client of the AWS clients. The SDK's own client sends no HTTP/2 pings, keeps a connection
//! after a time-out, and puts all requests to a host on one connection.

mod client;
mod dial;
mod exchange;
mod failure;
mod lanes;
mod life;
mod pool;
mod tls;
mod wire;

pub use self::client::Transport;
pub(crate) use self::failure::{BadCertificate, DialError};
