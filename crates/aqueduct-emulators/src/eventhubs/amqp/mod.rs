//! The encoding of AMQP 1.0: values, frames, and the sections of a message.

mod decode;
mod encode;
mod frame;
mod message;
mod value;

pub(super) use self::decode::{DecodeError, Reader};
pub(super) use self::frame::{Frame, FrameReader, Header, Incoming, Performative, codes};
pub(super) use self::message::{
    Message, ReadError, delivery_annotations, read_batch, read_message,
};
pub(super) use self::value::Value;
