use aqueduct::{
    DeadLetter, Event, GroupName, Result, StreamName, Timestamp,
    consumer::Position,
    dead_letter::{DeadLetterQueue, DeadLetterReason},
    event::EventId,
};
use rusqlite::Transaction;

use super::Shop;
use crate::input::{Input, Line};
use crate::ledger::{self, Taken};
use crate::order::{Order, kind};

pub(crate) const SOURCE: &str = "/order-processing/placement";

/// The most lines of one transaction.
const BATCH: usize = 256;

/// Reads the input to its end: validates each line and publishes `OrderPlaced`. A line that is no
/// order becomes a dead letter, and the rest goes on. Reading the same input again changes nothing: an
/// order is taken in once, by its id, in one transaction with its event.
pub(crate) async fn run(
    shop: &Shop,
    mut input: Input,
    dead_letters: &dyn DeadLetterQueue,
) -> Result<(), String> {
    let say = |e: aqueduct::Error| format!("placing orders from {}: {e}", input.name);
    shop.store
        .transaction(|tx| ledger::input_begun(tx))
        .await
        .map_err(say)?;
    let mut read = 0;
    let mut lines = Vec::with_capacity(BATCH);
    while input.lines.recv_many(&mut lines, BATCH).await > 0 {
        let batch: Vec<Line> = lines
            .drain(..)
            .collect::<std::io::Result<_>>()
            .map_err(|e| format!("reading {}: {e}", input.name))?;
        read += batch.len() as u64;
        let name = input.name.clone();
        let store = shop.store.clone();
        let refused = shop
            .store
            .transaction(move |tx| {
                let (placed, refused) = take_in(tx, &name, batch)?;
                store.publish_in(tx, &StreamName::new("orders"), &placed)?;
                Ok(refused)
            })
            .await
            .map_err(say)?;
        for outcome in dead_letters.put(&refused).await {
            outcome.map_err(say)?;
        }
    }
    let name = input.name.clone();
    shop.store
        .transaction(move |tx| ledger::input_read(tx, &name, read))
        .await
        .map_err(say)
}

/// The events of the new orders among `lines`, and dead letters for the lines that are no orders.
fn take_in(
    tx: &Transaction<'_>,
    input: &str,
    lines: Vec<Line>,
) -> Result<(Vec<Event>, Vec<DeadLetter>)> {
    let mut placed = Vec::new();
    let mut refused = Vec::new();
    for Line { number, text } in lines {
        let (bytes, outcome) = match text {
            Ok(text) if text.trim().is_empty() => continue,
            Ok(text) => {
                let outcome = place(tx, text.trim())?;
                (text.into_bytes(), outcome)
            }
            Err(bad) => (bad.start, Err(bad.why)),
        };
        match outcome {
            Ok(event) => placed.extend(event),
            Err(why) => refused.push(dead_letter(input, number, bytes, &why)),
        }
    }
    Ok((placed, refused))
}

/// The event of a line: none for an order that was taken in before.
fn place(tx: &Transaction<'_>, line: &str) -> Result<Result<Option<Event>, String>> {
    let order = match Order::from_line(line.trim_start_matches('\u{feff}')) {
        Ok(order) => order,
        Err(why) => return Ok(Err(why)),
    };
    let event = Event::json(kind::PLACED, &order)?
        .with_id(EventId::from(order.order_id.as_str()))
        .with_source(SOURCE)
        .with_key(&order.customer_id);
    let content = String::from_utf8_lossy(event.data().map_or(&[][..], |data| data));
    let gross = order.gross().unwrap_or_default();
    let taken = ledger::take_in(tx, &order, gross, &content, &event.id().to_string())?;
    Ok(match taken {
        Taken::New => Ok(Some(event)),
        Taken::Already => Ok(None),
        Taken::OtherContent => Err(format!(
            "order {} was placed before, with other content",
            order.order_id
        )),
    })
}

/// The dead letter of a line: the same line at the same place of the same input is the same dead letter, and
/// another text there is another.
fn dead_letter(input: &str, number: u64, bytes: Vec<u8>, why: &str) -> DeadLetter {
    let id = format!("{input}:{number}:{:016x}", fingerprint(&bytes));
    let event = Event::bytes("OrderLine", "text/plain", bytes)
        .with_id(id)
        .with_source(SOURCE);
    let mut dead_letter = DeadLetter::new(
        event,
        StreamName::new(input),
        GroupName::new("placement"),
        DeadLetterReason::Undecodable,
        format!("{input}, line {number}: {why}"),
        Timestamp::now(),
    );
    dead_letter.position = Some(Position::new(number));
    dead_letter
}

/// FNV-1a: the same on every machine and in every version.
fn fingerprint(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
