#![doc = include_str!("../README.md")]

mod arn;
mod clients;
mod clock;
mod codes;
mod connector;
mod credentials;
mod error;
mod http;
mod options;
mod reference;

pub use aws_types::SdkConfig;

pub use self::arn::Arn;
pub use self::clients::Aws;
pub use self::error::{SdkError, error, error_with, first_call, is_signed_anew};
pub use self::http::Transport;
pub use self::options::AwsOptions;
