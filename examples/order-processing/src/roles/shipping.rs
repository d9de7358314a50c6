use aqueduct::{Completion, Event, Json, Result, State, Worker};

use super::Shop;
use crate::order::{Label, Payment, kind};

pub(crate) const SOURCE: &str = "/order-processing/shipping";

/// Makes a label for each order that is paid.
pub(crate) fn handlers(worker: Worker, shop: Shop) -> Worker {
    worker.state(shop).on(kind::PAID, label)
}

async fn label(
    State(shop): State<Shop>,
    Json(payment): Json<Payment>,
    cause: Event,
    completion: Completion,
) -> Result<()> {
    shop.once(completion, "shipments", move |_| {
        let Payment {
            order_id, ship_to, ..
        } = payment;
        let parts = [
            ship_to.company,
            ship_to.city,
            ship_to.country,
            format!("order {order_id}"),
        ];
        let lines: Vec<_> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        let label = Label {
            order_id,
            label: lines.join("\n"),
        };
        let event = Event::json(kind::LABELLED, &label)?
            .with_source(SOURCE)
            .caused_by(&cause, 0);
        Ok(vec![event])
    })
    .await
}
