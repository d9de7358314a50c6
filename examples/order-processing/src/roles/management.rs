use aqueduct::{Completion, Event, Json, Key, Result, State, Worker};
use rusqlite::Transaction;
use serde::Deserialize;

use super::Shop;
use crate::audit::Seen;
use crate::ledger;
use crate::order::{Status, StatusChange, kind};

pub(crate) const SOURCE: &str = "/order-processing/management";

/// The part of any event of the flow that this role needs.
#[derive(Deserialize)]
struct AboutOrder {
    order_id: String,
}

/// Follows every stream of the flow and keeps each order's state.
pub(crate) fn handlers(worker: Worker, shop: Shop) -> Worker {
    worker
        .state(shop)
        .on(kind::PLACED, follow)
        .on(kind::PAID, follow)
        .on(kind::PAYMENT_FAILED, follow)
        .on(kind::LABELLED, follow)
}

async fn follow(
    State(shop): State<Shop>,
    Json(about): Json<AboutOrder>,
    Key(customer): Key,
    cause: Event,
    completion: Completion,
) -> Result<()> {
    let (stream, to) = match cause.kind() {
        kind::PLACED => ("orders", Status::Placed),
        kind::PAID => ("payments", Status::Paid),
        kind::PAYMENT_FAILED => ("payments", Status::PaymentFailed),
        _ => ("shipments", Status::Shipped),
    };
    let notes = !shop.journal.is_empty();
    let note = move |tx: &Transaction<'_>, stream: &str, event: &Event| match notes {
        true => ledger::note(tx, stream, &Seen::read(event)?),
        false => Ok(()),
    };
    shop.once(completion, "order-status", move |tx| {
        note(tx, stream, &cause)?;
        let Some(from) = ledger::advance(tx, &about.order_id, &customer, to)? else {
            return Ok(Vec::new());
        };
        let change = StatusChange {
            order_id: about.order_id,
            from,
            to,
        };
        let event = Event::json(kind::STATUS, &change)?
            .with_source(SOURCE)
            .caused_by(&cause, 0);
        note(tx, "order-status", &event)?;
        Ok(vec![event])
    })
    .await
}
