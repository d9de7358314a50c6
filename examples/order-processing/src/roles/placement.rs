use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

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

/// The group of the dead letters of invalid lines.
pub(crate) const GROUP: &str = "placement";

/// The most lines of one transaction.
const BATCH: usize = 256;

/// The orders under way at which placement waits: enough to keep every role busy.
pub(crate) const BACKLOG: u64 = 2 * BATCH as u64;

/// The interval at which placement that waits looks for room.
const LOOK: Duration = Duration::from_millis(20);

/// How long placement waits before it retries a transaction.
const RETRY: Duration = Duration::from_millis(500);

/// Reads the input to its end: validates each line and publishes `OrderPlaced`. An invalid line becomes
/// a dead letter, and the rest goes on. Reading the same input again changes nothing: an order is taken
/// in once, by its id, in one transaction with its event. Returns the ids of the valid orders, which the
/// audit looks for.
pub(crate) async fn run(
    shop: &Shop,
    mut input: Input,
    dead_letters: &dyn DeadLetterQueue,
) -> Result<BTreeSet<String>, String> {
    let say = |e: aqueduct::Error| format!("placing orders from {}: {e}", input.name);
    patiently(|| shop.store.transaction(|tx| ledger::input_begun(tx)))
        .await
        .map_err(say)?;
    let mut valid = BTreeSet::new();
    let mut read = 0;
    let mut lines = Vec::with_capacity(BATCH);
    while input.lines.recv_many(&mut lines, BATCH).await > 0 {
        patiently(|| has_room(shop)).await.map_err(say)?;
        let batch: Vec<Line> = lines
            .drain(..)
            .collect::<std::io::Result<_>>()
            .map_err(|e| format!("reading {}: {e}", input.name))?;
        read += batch.len() as u64;
        let batch = Arc::new(batch);
        let (orders, refused) = patiently(|| {
            let (name, store, batch) = (input.name.clone(), shop.store.clone(), batch.clone());
            shop.store.transaction(move |tx| {
                let taken = take_in(tx, &name, &batch)?;
                ledger::tally_taken_in(tx, taken.placed.len())?;
                store.publish_in(tx, &StreamName::new("orders"), &taken.placed)?;
                Ok((taken.orders, taken.refused))
            })
        })
        .await
        .map_err(say)?;
        valid.extend(orders);
        for outcome in dead_letters.put(&refused).await {
            outcome.map_err(say)?;
        }
    }
    patiently(|| {
        let name = input.name.clone();
        shop.store
            .transaction(move |tx| ledger::input_read(tx, &name, read))
    })
    .await
    .map_err(say)?;
    Ok(valid)
}

/// Waits until fewer than [`BACKLOG`] orders are under way: they would wait in the streams instead, and
/// each would take longer.
async fn has_room(shop: &Shop) -> Result<()> {
    while shop.store.read(ledger::standing).await?.under_way() >= BACKLOG {
        tokio::time::sleep(LOOK).await;
    }
    Ok(())
}

/// Runs a transaction until it succeeds or fails for good. The file may be busy because another process
/// is stopped, or the disk may be full; the stall timeout ends the wait.
async fn patiently<T, F>(mut transaction: impl FnMut() -> F) -> Result<T>
where
    F: Future<Output = Result<T>>,
{
    loop {
        match transaction().await {
            Err(error) if error.is_retryable() => {
                tracing::warn!(%error, "placement waits");
                tokio::time::sleep(RETRY).await;
            }
            done => return done,
        }
    }
}

/// The lines of one batch, sorted.
#[derive(Default)]
struct TakenIn {
    /// The ids of the valid orders, new or known.
    orders: Vec<String>,
    /// The events of the new ones.
    placed: Vec<Event>,
    refused: Vec<DeadLetter>,
}

fn take_in(tx: &Transaction<'_>, input: &str, lines: &[Line]) -> Result<TakenIn> {
    let mut taken = TakenIn::default();
    for Line { number, text } in lines {
        let (bytes, outcome) = match text {
            Ok(text) if text.trim().is_empty() => continue,
            Ok(text) => (text.as_bytes(), place(tx, text.trim())?),
            Err(bad) => (&bad.start[..], Err(bad.why.clone())),
        };
        match outcome {
            Ok((order, event)) => {
                taken.orders.push(order);
                taken.placed.extend(event);
            }
            Err(why) => taken
                .refused
                .push(dead_letter(input, *number, bytes.to_vec(), &why)),
        }
    }
    Ok(taken)
}

/// The id of an order and, unless it was taken in before, its event.
type Placed = (String, Option<Event>);

/// Takes in the order of a line, or returns why the line is not a valid order.
fn place(tx: &Transaction<'_>, line: &str) -> Result<Result<Placed, String>> {
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
        Taken::New => Ok((order.order_id, Some(event))),
        Taken::Already => Ok((order.order_id, None)),
        Taken::OtherContent => Err(format!(
            "order {} was placed before, with other content",
            order.order_id
        )),
    })
}

/// Makes the dead letter of a line. The same text at the same place of the same input is the same dead
/// letter.
fn dead_letter(input: &str, number: u64, bytes: Vec<u8>, why: &str) -> DeadLetter {
    let id = format!("{input}:{number}:{:016x}", fingerprint(&bytes));
    let event = Event::bytes("OrderLine", "text/plain", bytes)
        .with_id(id)
        .with_source(SOURCE);
    let mut dead_letter = DeadLetter::new(
        event,
        StreamName::new(input),
        GroupName::new(GROUP),
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
