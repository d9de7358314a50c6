use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{Buf, BufMut, BytesMut};
use ring::digest;

use super::output::Output;

/// How AMQP travels on a connection: as it is, or in the binary messages of a WebSocket.
#[derive(Debug, Default)]
pub(super) struct Transport {
    mode: Mode,
    /// What goes out in frames of a WebSocket.
    wrapped: BytesMut,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Mode {
    /// Nothing came yet.
    #[default]
    Unknown,
    Plain,
    WebSocket,
}

/// The longest request that opens a WebSocket.
const LONGEST_REQUEST: usize = 16 << 10;
/// The longest frame of a WebSocket.
const LONGEST_FRAME: u64 = 16 << 20;
/// What RFC 6455 appends to the key of the client.
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

impl Transport {
    /// Returns true once it is known that AMQP comes as it is: then it can be read without
    /// [`unwrap`](Self::unwrap).
    pub(super) fn is_plain(&self) -> bool {
        self.mode == Mode::Plain
    }

    /// Moves the AMQP of `input` to `amqp`, as far as it is there. Returns false at the end of the WebSocket.
    ///
    /// # Errors
    /// A description, if it is neither AMQP nor a WebSocket.
    pub(super) fn unwrap(
        &mut self,
        input: &mut BytesMut,
        amqp: &mut BytesMut,
    ) -> Result<bool, String> {
        if self.mode == Mode::Unknown && !self.recognise(input)? {
            return Ok(true);
        }
        if self.mode == Mode::Plain {
            amqp.unsplit(input.split());
            return Ok(true);
        }
        while let Some((opcode, mut payload)) = frame(input)? {
            match opcode {
                0..=2 => amqp.put(&mut payload),
                8 => {
                    put_frame(&mut self.wrapped, 8, &payload);
                    return Ok(false);
                }
                9 => put_frame(&mut self.wrapped, 10, &payload),
                10 => {}
                other => return Err(format!("WebSocket frame with opcode {other}")),
            }
        }
        Ok(true)
    }

    /// Returns the bytes to write next.
    pub(super) fn wrap<'a>(&'a mut self, output: &'a mut Output) -> &'a mut BytesMut {
        if self.mode != Mode::WebSocket {
            return output.ready();
        }
        if !output.ready().is_empty() {
            let bytes = output.ready().split();
            // Counted a little early: no client can have read it yet.
            output.wrote(bytes.len());
            put_frame(&mut self.wrapped, 2, &bytes);
        }
        &mut self.wrapped
    }

    /// Counts what was written of [`wrap`](Self::wrap).
    pub(super) fn wrote(&self, bytes: usize, output: &mut Output) {
        if self.mode != Mode::WebSocket {
            output.wrote(bytes);
        }
    }

    /// Decides by the first bytes; returns false while they are too few.
    fn recognise(&mut self, input: &mut BytesMut) -> Result<bool, String> {
        if input.len() < 4 {
            return Ok(false);
        }
        if !input.starts_with(b"GET ") {
            self.mode = Mode::Plain;
            return Ok(true);
        }
        let end = input.windows(4).position(|it| it == b"\r\n\r\n");
        let Some(end) = end else {
            if input.len() > LONGEST_REQUEST {
                return Err("an HTTP request without an end".to_owned());
            }
            return Ok(false);
        };
        let request = input.split_to(end + 4);
        let request = String::from_utf8_lossy(&request);
        let response = accept(&request)?;
        self.wrapped.put_slice(response.as_bytes());
        self.mode = Mode::WebSocket;
        Ok(true)
    }
}

/// Returns the response that opens a WebSocket.
fn accept(request: &str) -> Result<String, String> {
    let header = |name: &str| {
        let mut lines = request.lines().filter_map(|line| line.split_once(':'));
        let found = lines.find(|(of, _)| of.trim().eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.trim())
    };
    let key = header("Sec-WebSocket-Key");
    let key = key.ok_or_else(|| "an HTTP request that opens no WebSocket".to_owned())?;
    let signed = format!("{key}{GUID}");
    let hash = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, signed.as_bytes());
    let protocols = header("Sec-WebSocket-Protocol").unwrap_or_default();
    let protocol = protocols
        .split(',')
        .map(str::trim)
        .find(|it| !it.is_empty());
    let protocol = protocol.map(|it| format!("Sec-WebSocket-Protocol: {it}\r\n"));
    Ok(format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {}\r\n{}\r\n",
        STANDARD.encode(hash),
        protocol.unwrap_or_default()
    ))
}

fn put_frame(out: &mut BytesMut, opcode: u8, payload: &[u8]) {
    out.put_u8(0x80 | opcode);
    match payload.len() {
        short @ 0..126 => out.put_u8(short as u8),
        medium @ 126..65_536 => {
            out.put_u8(126);
            out.put_u16(medium as u16);
        }
        long => {
            out.put_u8(127);
            out.put_u64(long as u64);
        }
    }
    out.put_slice(payload);
}

/// Takes a whole frame: its opcode and unmasked payload.
fn frame(input: &mut BytesMut) -> Result<Option<(u8, BytesMut)>, String> {
    let Some((first, second)) = input.first().zip(input.get(1)) else {
        return Ok(None);
    };
    let (opcode, masked) = (first & 0x0f, second & 0x80 != 0);
    if !masked {
        return Err("a frame of a WebSocket client without a mask".to_owned());
    }
    let (length, at) = match second & 0x7f {
        126 => (number(input, 2), 4),
        127 => (number(input, 8), 10),
        short => (Some(u64::from(short)), 2),
    };
    let Some(length) = length else {
        return Ok(None);
    };
    if length > LONGEST_FRAME {
        return Err(format!("a WebSocket frame of {length} bytes"));
    }
    let length = length as usize;
    if input.len() < at + 4 + length {
        return Ok(None);
    }
    input.advance(at);
    let mask = input.split_to(4);
    let mut payload = input.split_to(length);
    for (byte, mask) in payload.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= mask;
    }
    Ok(Some((opcode, payload)))
}

/// Reads a length of `width` bytes after the first two.
fn number(input: &BytesMut, width: usize) -> Option<u64> {
    let bytes = input.get(2..2 + width)?;
    Some(
        bytes
            .iter()
            .fold(0, |sum, byte| sum << 8 | u64::from(*byte)),
    )
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// The example of RFC 6455, sections 1.3 and 5.7.
    #[test]
    fn a_websocket_is_opened_and_unmasked() {
        let mut transport = Transport::default();
        let mut input = BytesMut::new();
        input.put_slice(
            b"GET /$servicebus/websocket HTTP/1.1\r\nUpgrade: websocket\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: AMQPWSB10, other\r\n\r\n",
        );
        let frame = [
            0x82, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58,
        ];
        let (early, late) = frame.split_at(7);
        input.put_slice(early);
        let mut amqp = BytesMut::new();
        assert_eq!(transport.unwrap(&mut input, &mut amqp), Ok(true));
        assert!(amqp.is_empty());
        input.put_slice(late);
        assert_eq!(transport.unwrap(&mut input, &mut amqp), Ok(true));
        assert_eq!(&amqp[..], b"Hello");
        let mut output = Output::new(Duration::ZERO);
        output.bytes(b"AMQP");
        let written = transport.wrap(&mut output).split();
        let text = String::from_utf8_lossy(&written);
        assert!(
            text.contains("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"),
            "{text}"
        );
        assert!(
            text.contains("Sec-WebSocket-Protocol: AMQPWSB10\r\n"),
            "{text}"
        );
        assert!(written.ends_with(b"\r\n\r\n\x82\x04AMQP"), "{text}");
    }

    #[test]
    fn plain_amqp_passes_and_other_things_do_not() {
        let mut transport = Transport::default();
        let mut input = BytesMut::new();
        let mut amqp = BytesMut::new();
        for part in [&b"AM"[..], b"QP", b"\x00\x01"] {
            input.put_slice(part);
            assert_eq!(transport.unwrap(&mut input, &mut amqp), Ok(true));
        }
        assert_eq!(&amqp[..], b"AMQP\x00\x01");
        let mut transport = Transport::default();
        let mut input = BytesMut::new();
        input.put_slice(b"GET / HTTP/1.1\r\n\r\n");
        assert!(transport.unwrap(&mut input, &mut amqp).is_err());
    }
}
