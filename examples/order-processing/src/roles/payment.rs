use aqueduct::{Completion, Event, Json, Result, State, Worker};

use super::Shop;
use crate::ledger;
use crate::order::{Address, Order, Payment, kind};

pub(crate) const SOURCE: &str = "/order-processing/payment";

/// Charges each order that is placed.
pub(crate) fn handlers(worker: Worker, shop: Shop) -> Worker {
    worker.state(shop).on(kind::PLACED, charge)
}

/// The charge, the record that the order was handled and the event about it are one transaction.
async fn charge(
    State(shop): State<Shop>,
    Json(order): Json<Order>,
    cause: Event,
    completion: Completion,
) -> Result<()> {
    let limit = shop.credit_limit;
    shop.once(completion, "payments", move |tx| {
        let amount = order.gross().unwrap_or_default().round_dp(2);
        let declined = (amount > limit).then(|| format!("above the credit limit of {limit}"));
        let kind = match declined {
            None => kind::PAID,
            Some(_) => kind::PAYMENT_FAILED,
        };
        let payment = Payment {
            order_id: order.order_id,
            amount,
            declined,
            ship_to: Address {
                company: order.company,
                city: order.ship_city,
                country: order.ship_country,
            },
        };
        let event = Event::json(kind, &payment)?
            .with_source(SOURCE)
            .caused_by(&cause, 0);
        if payment.declined.is_none() {
            ledger::charge(tx, &payment.order_id, amount, &event.id().to_string())?;
        }
        Ok(vec![event])
    })
    .await
}
