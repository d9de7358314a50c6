//! Clients that do it wrong: the protocol without a socket.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use tokio::sync::Notify;

use super::amqp::{Frame, FrameReader, Header, Incoming, Performative, Value, codes};
use super::connection::Connection;
use super::options::EventHubsOptions;
use super::shared::Shared;

/// A client that sends what a test says, frame by frame.
struct Peer {
    connection: Connection,
    shared: Arc<Shared>,
    next_outgoing: u32,
}

const WINDOW: u32 = 8;
const CREDIT: u32 = 4;

impl Peer {
    /// Opens a connection with a session on channel 0 and a sender link with handle 0.
    fn attached(snd_settle_mode: u8) -> Self {
        let options = EventHubsOptions::new()
            .with_hub("orders", 1)
            .with_session_window(WINDOW)
            .with_link_credit(CREDIT)
            .with_max_frame_size(1024)
            .with_max_message_size(3000);
        let shared = Arc::new(Shared::new(&options));
        let wake = Arc::new(Notify::new());
        let id = shared.connect(&wake).unwrap();
        let mut peer = Self {
            connection: Connection::new(id, Arc::clone(&shared), wake),
            shared,
            next_outgoing: 100,
        };
        peer.connection.take(Incoming::Header(Header::Amqp));
        peer.send(
            codes::OPEN,
            vec![Value::string("peer"), Value::Null, Value::U32(1024)],
        );
        peer.send(
            codes::BEGIN,
            vec![Value::Null, Value::U32(100), Value::U32(10), Value::U32(10)],
        );
        let target = Value::described(0x29, Value::List(vec![Value::string("orders")]));
        let fields = vec![
            Value::string("link"),
            Value::U32(0),
            Value::Bool(false),
            Value::U8(snd_settle_mode),
            Value::U8(0),
            Value::described(0x28, Value::List(Vec::new())),
            target,
        ];
        peer.send(codes::ATTACH, fields);
        let attached = peer.received();
        assert!(
            attached.iter().any(|it| it.code == codes::FLOW),
            "{attached:?}"
        );
        peer
    }

    fn send(&mut self, code: u64, fields: Vec<Value>) {
        self.frame(Frame::new(0, code, fields));
    }

    fn frame(&mut self, frame: Frame) {
        let mut bytes = BytesMut::new();
        frame.encode(&mut bytes);
        let size = bytes.len();
        self.connection.take(Incoming::Frame { frame, size });
    }

    fn transfer(&mut self, id: Option<u32>, settled: bool, more: bool, payload: &[u8]) {
        let mut fields = vec![Value::U32(0)];
        if let Some(id) = id {
            let tag = Bytes::copy_from_slice(&id.to_be_bytes());
            fields.extend([Value::U32(id), Value::Binary(tag), Value::U32(0)]);
        } else {
            fields.extend([Value::Null, Value::Null, Value::Null]);
        }
        fields.extend([Value::Bool(settled), Value::Bool(more)]);
        let mut frame = Frame::new(0, codes::TRANSFER, fields);
        frame.body.as_mut().unwrap().payload = Bytes::copy_from_slice(payload);
        self.next_outgoing += 1;
        self.frame(frame);
    }

    fn flow(&mut self, next_outgoing: u32) {
        let fields = vec![
            Value::U32(1),
            Value::U32(10),
            Value::U32(next_outgoing),
            Value::U32(10),
        ];
        self.send(codes::FLOW, fields);
    }

    /// Returns the performatives of the service since the last call.
    fn received(&mut self) -> Vec<Performative> {
        self.connection.pump();
        let mut bytes = self.connection.context.output.ready().split();
        self.connection.context.output.wrote(bytes.len());
        let mut reader = FrameReader::default();
        if !bytes.starts_with(b"AMQP") {
            // Already past the protocol header.
            let mut header = BytesMut::from(&Header::Amqp.bytes()[..]);
            reader.next(&mut header).unwrap();
        }
        let mut performatives = Vec::new();
        while let Some(incoming) = reader.next(&mut bytes).unwrap() {
            if let Incoming::Frame { frame, .. } = incoming {
                performatives.extend(frame.body);
            }
        }
        performatives
    }

    fn rules(&self) -> Vec<&'static str> {
        self.shared.violations().iter().map(|it| it.rule).collect()
    }
}

/// A message with an empty data body.
const MESSAGE: &[u8] = b"\x00\x53\x75\xa0\x00";

#[test]
fn a_client_that_does_it_right_is_not_reported() {
    let mut peer = Peer::attached(0);
    peer.transfer(Some(0), false, true, &MESSAGE[..2]);
    peer.transfer(None, false, false, &MESSAGE[2..]);
    peer.transfer(Some(1), false, false, MESSAGE);
    peer.flow(103);
    assert_eq!(peer.shared.violations(), []);
    let settled = peer.received();
    let settled = settled.iter().filter(|it| it.code == codes::DISPOSITION);
    let ids: Vec<_> = settled.map(|it| it.field(1).as_u32().unwrap()).collect();
    assert_eq!(ids, [0, 1]);
}

#[test]
fn delivery_ids_that_skip_or_change_are_reported() {
    let mut peer = Peer::attached(0);
    peer.transfer(Some(0), false, false, MESSAGE);
    peer.transfer(Some(2), false, false, MESSAGE);
    assert_eq!(peer.rules(), ["delivery-id"]);
    peer.transfer(Some(3), false, true, &MESSAGE[..2]);
    peer.transfer(Some(4), false, false, &MESSAGE[2..]);
    assert_eq!(peer.rules(), ["delivery-id"; 2]);
    peer.transfer(None, false, false, MESSAGE);
    assert!(
        peer.rules()[2..].contains(&"delivery-id"),
        "{:?}",
        peer.rules()
    );
}

#[test]
fn a_transfer_count_that_drifts_is_reported() {
    let mut peer = Peer::attached(0);
    peer.transfer(Some(0), false, true, &MESSAGE[..2]);
    peer.transfer(None, false, false, &MESSAGE[2..]);
    // A client that counts deliveries instead of frames.
    peer.flow(101);
    assert_eq!(peer.rules(), ["transfer-id"]);
}

#[test]
fn frames_over_the_window_are_reported() {
    let mut peer = Peer::attached(0);
    for _ in 0..WINDOW {
        peer.transfer(Some(0), false, true, b"");
    }
    assert!(peer.rules().is_empty(), "{:?}", peer.rules());
    peer.transfer(Some(0), false, true, b"");
    assert_eq!(peer.rules(), ["session-window"]);
    // Once the flow is written, the window is open.
    peer.received();
    peer.transfer(Some(0), false, true, b"");
    assert_eq!(peer.rules(), ["session-window"]);
}

#[test]
fn deliveries_over_the_credit_are_reported() {
    let mut peer = Peer::attached(0);
    peer.received();
    for id in 0..=CREDIT {
        peer.transfer(Some(id), false, false, MESSAGE);
    }
    assert_eq!(peer.rules(), ["link-credit"]);
    peer.received();
    peer.transfer(Some(CREDIT + 1), false, false, MESSAGE);
    assert_eq!(peer.rules(), ["link-credit"]);
}

#[test]
fn sizes_over_the_limits_are_reported_or_refused() {
    let mut peer = Peer::attached(0);
    peer.transfer(Some(0), false, true, &[0; 1100]);
    assert_eq!(peer.rules(), ["frame-size"]);
    peer.received();
    peer.transfer(None, false, true, &[0; 1000]);
    peer.transfer(None, false, true, &[0; 1000]);
    let detach = peer.received();
    let detach = detach.iter().find(|it| it.code == codes::DETACH).unwrap();
    let condition = detach.field(2).field(0).as_str();
    assert_eq!(condition, Some("amqp:link:message-size-exceeded"));
}

#[test]
fn settle_modes_are_kept() {
    let mut peer = Peer::attached(0);
    peer.transfer(Some(0), true, false, MESSAGE);
    assert_eq!(peer.rules(), ["settle-mode"]);
    let mut peer = Peer::attached(1);
    peer.transfer(Some(0), false, false, MESSAGE);
    assert_eq!(peer.rules(), ["settle-mode"]);
}

#[test]
fn tags_and_handles_are_checked() {
    let mut peer = Peer::attached(0);
    let fields = vec![Value::U32(0), Value::U32(0), Value::Null, Value::U32(0)];
    let mut frame = Frame::new(0, codes::TRANSFER, fields);
    frame.body.as_mut().unwrap().payload = Bytes::from_static(MESSAGE);
    peer.frame(frame);
    assert_eq!(peer.rules(), ["delivery-tag"]);
    peer.received();
    peer.send(codes::TRANSFER, vec![Value::U32(7), Value::U32(1)]);
    assert_eq!(peer.rules(), ["delivery-tag", "handle"]);
    let end = peer.received();
    let end = end.iter().find(|it| it.code == codes::END).unwrap();
    let condition = end.field(0).field(0).as_str();
    assert_eq!(condition, Some("amqp:session:unattached-handle"));
}

#[test]
fn settling_what_was_never_sent_is_reported() {
    let mut peer = Peer::attached(0);
    let fields = vec![
        Value::Bool(true),
        Value::U32(5),
        Value::U32(5),
        Value::Bool(true),
    ];
    peer.send(codes::DISPOSITION, fields);
    assert_eq!(peer.rules(), ["disposition"]);
}

#[test]
fn a_frame_out_of_place_closes_the_connection() {
    let mut peer = Peer::attached(0);
    peer.send(codes::OPEN, vec![Value::string("again")]);
    assert_eq!(peer.rules(), ["protocol"]);
    assert!(peer.connection.is_closed());
}

#[test]
fn bytes_that_are_not_amqp_are_refused_without_a_panic() {
    let mut seed = 1_u64;
    for length in 0..2000 {
        let mut bytes = BytesMut::from(&Header::Amqp.bytes()[..]);
        let mut body = Vec::new();
        for _ in 0..length % 97 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            body.push((seed >> 33) as u8);
        }
        let size = (body.len() + 8) as u32;
        bytes.extend_from_slice(&size.to_be_bytes());
        bytes.extend_from_slice(&[2, 0, 0, 0]);
        bytes.extend_from_slice(&body);
        let mut reader = FrameReader::default();
        while let Ok(Some(_)) = reader.next(&mut bytes) {}
    }
}
