use aqueduct::{Completion, Event, Json, Key, Result, State, Worker};
use serde::Deserialize;

use super::Shop;
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
    let to = match cause.kind() {
        kind::PLACED => Status::Placed,
        kind::PAID => Status::Paid,
        kind::PAYMENT_FAILED => Status::PaymentFailed,
        _ => Status::Shipped,
    };
    shop.once(completion, "order-status", move |tx| {
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
        Ok(vec![event])
    })
    .await
}
