use std::collections::{BTreeMap, BTreeSet};

use aqueduct::{Event, Result};
use rust_decimal::{Decimal, RoundingStrategy};
use serde::{Deserialize, Serialize, Serializer};

use crate::ledger::Books;
use crate::order::{Status, kind};

/// The result of the audit, which compares the input with what is stored: the streams, event by event, and
/// the tables.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Summary {
    pub(crate) orders: u64,
    pub(crate) shipped: u64,
    pub(crate) payment_failed: u64,
    pub(crate) dead_lettered: u64,
    pub(crate) charged_twice: u64,
    /// Orders of the input or the tables that lack an event or a final state.
    pub(crate) lost: u64,
    /// Events stored before one that they should follow.
    pub(crate) out_of_order: u64,
    #[serde(serialize_with = "cents")]
    pub(crate) gross: Decimal,
    pub(crate) seconds: f64,
    pub(crate) events_per_second: f64,
}

/// The parts of a stored event that the audit compares.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Seen {
    pub(crate) id: String,
    pub(crate) kind: String,
    pub(crate) customer: String,
    pub(crate) order: String,
    pub(crate) status: Option<Status>,
}

impl Seen {
    pub(crate) fn read(event: &Event) -> Result<Self> {
        #[derive(Deserialize)]
        struct Data {
            order_id: String,
            to: Option<Status>,
        }
        let data: Data = event.decode_json()?;
        Ok(Self {
            id: event.id().to_string(),
            kind: event.kind().to_owned(),
            customer: event.key().unwrap_or_default().to_owned(),
            order: data.order_id,
            status: data.to,
        })
    }
}

/// The events of every stream of the flow, each in the order of its partitions.
#[derive(Clone, Debug, Default)]
pub(crate) struct Streams {
    pub(crate) orders: Vec<Seen>,
    pub(crate) payments: Vec<Seen>,
    pub(crate) shipments: Vec<Seen>,
    pub(crate) statuses: Vec<Seen>,
}

impl Streams {
    /// Returns the number of events.
    pub(crate) fn len(&self) -> usize {
        self.orders.len() + self.payments.len() + self.shipments.len() + self.statuses.len()
    }

    /// Keeps the first event of each id: an event may be published again.
    fn deduplicate(&mut self) {
        for stream in [
            &mut self.orders,
            &mut self.payments,
            &mut self.shipments,
            &mut self.statuses,
        ] {
            let mut known = BTreeSet::new();
            stream.retain(|event| known.insert(event.id.clone()));
        }
    }
}

/// Compares the streams with the tables and, if this process read it, with the input: a file that lost
/// half of the orders would still agree with itself.
pub(crate) fn audit(
    mut streams: Streams,
    books: &Books,
    input: Option<&BTreeSet<String>>,
    dead_lettered: u64,
) -> Summary {
    streams.deduplicate();
    let mut out_of_order = 0;
    let intake = books
        .intake
        .iter()
        .map(|(order, customer, _)| (customer, order));
    out_of_order += misplaced(&ranks(intake), &streams.orders);
    let placed = streams
        .orders
        .iter()
        .map(|event| (&event.customer, &event.order));
    out_of_order += misplaced(&ranks(placed), &streams.payments);
    let paid = streams
        .payments
        .iter()
        .map(|event| (&event.customer, &event.order));
    out_of_order += misplaced(&ranks(paid), &streams.shipments);
    out_of_order += receding(&streams.statuses);

    let orders = |stream: &[Seen]| -> BTreeSet<String> {
        stream.iter().map(|event| event.order.clone()).collect()
    };
    let (placed, labelled) = (orders(&streams.orders), orders(&streams.shipments));
    let (declined, paid): (Vec<_>, Vec<_>) = streams
        .payments
        .into_iter()
        .partition(|event| event.kind == kind::PAYMENT_FAILED);
    let (declined, paid) = (orders(&declined), orders(&paid));
    let ended: BTreeSet<_> = streams
        .statuses
        .iter()
        .filter(|event| event.status >= Some(Status::PaymentFailed))
        .map(|event| event.order.clone())
        .collect();
    let whole = |order: &String| {
        let delivered =
            declined.contains(order) || paid.contains(order) && labelled.contains(order);
        placed.contains(order) && delivered && ended.contains(order)
    };
    let incomplete = books
        .intake
        .iter()
        .filter(|(order, ..)| !whole(order))
        .count() as u64;
    let taken_in: BTreeSet<&String> = books.intake.iter().map(|(order, ..)| order).collect();
    let missing = input.into_iter().flatten();
    let missing = missing.filter(|order| !taken_in.contains(order)).count() as u64;
    Summary {
        orders: books.intake.len() as u64,
        shipped: labelled.len() as u64,
        payment_failed: declined.len() as u64,
        dead_lettered,
        charged_twice: books.charged_twice,
        lost: incomplete.max(books.unfinished) + missing,
        out_of_order,
        gross: books.gross,
        seconds: 0.0,
        events_per_second: 0.0,
    }
}

type Ranks = BTreeMap<(String, String), usize>;

/// Returns the place of each order among those of its customer.
fn ranks<'a>(orders: impl Iterator<Item = (&'a String, &'a String)>) -> Ranks {
    let mut next = BTreeMap::new();
    orders
        .map(|(customer, order)| {
            let place = next.entry(customer.clone()).or_insert(0);
            *place += 1;
            ((customer.clone(), order.clone()), *place)
        })
        .collect()
}

/// Counts the events stored after one of the same customer that should follow them.
fn misplaced(ranks: &Ranks, stream: &[Seen]) -> u64 {
    let mut highest: BTreeMap<&String, usize> = BTreeMap::new();
    let mut misplaced = 0;
    for event in stream {
        let Some(rank) = ranks.get(&(event.customer.clone(), event.order.clone())) else {
            misplaced += 1;
            continue;
        };
        let highest = highest.entry(&event.customer).or_insert(0);
        misplaced += u64::from(rank < highest);
        *highest = (*rank).max(*highest);
    }
    misplaced
}

/// Counts the changes of state that do not move forward.
fn receding(statuses: &[Seen]) -> u64 {
    let mut last: BTreeMap<&String, Option<Status>> = BTreeMap::new();
    statuses
        .iter()
        .filter(|event| last.insert(&event.order, event.status).flatten() >= event.status)
        .count() as u64
}

fn cents<S: Serializer>(amount: &Decimal, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&format!("{:.2}", to_cents(*amount)))
}

/// Rounds the amount to the cent, half a cent away from zero.
pub(crate) fn to_cents(amount: Decimal) -> Decimal {
    amount.round_dp_with_strategy(2, RoundingStrategy::MidpointAwayFromZero)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(kind: &str, customer: &str, order: &str, status: Option<Status>) -> Seen {
        let id = format!("{kind}/{order}/{status:?}");
        let [kind, customer, order] = [kind, customer, order].map(String::from);
        Seen {
            id,
            kind,
            customer,
            order,
            status,
        }
    }

    fn whole_flow() -> (Streams, Books) {
        let mut streams = Streams::default();
        let mut books = Books {
            intake: Vec::new(),
            gross: "10.005".parse().unwrap(),
            charged_twice: 0,
            unfinished: 0,
        };
        for (customer, order) in [("A", "1"), ("B", "2"), ("A", "3")] {
            books
                .intake
                .push((order.into(), customer.into(), order.into()));
            streams
                .orders
                .push(seen(kind::PLACED, customer, order, None));
            streams
                .payments
                .push(seen(kind::PAID, customer, order, None));
            streams
                .shipments
                .push(seen(kind::LABELLED, customer, order, None));
            for status in [Status::Placed, Status::Paid, Status::Shipped] {
                streams
                    .statuses
                    .push(seen(kind::STATUS, customer, order, Some(status)));
            }
        }
        (streams, books)
    }

    #[test]
    fn a_whole_flow_has_nothing_to_complain_of() {
        let (mut streams, books) = whole_flow();
        let again = streams.payments[0].clone();
        streams.payments.push(again);
        let summary = audit(streams, &books, None, 2);
        assert_eq!(
            (summary.orders, summary.shipped, summary.dead_lettered),
            (3, 3, 2)
        );
        assert_eq!((summary.lost, summary.out_of_order), (0, 0));
        let json = serde_json::to_string(&summary).unwrap();
        assert!(json.contains(r#""gross":"10.01""#), "{json}");
    }

    #[test]
    fn it_finds_what_is_missing_and_what_is_misplaced() {
        let (mut streams, books) = whole_flow();
        streams.shipments.remove(1);
        assert_eq!(audit(streams, &books, None, 0).lost, 1);

        let (mut streams, books) = whole_flow();
        streams.payments.swap(0, 2);
        assert!(audit(streams, &books, None, 0).out_of_order > 0);

        let (mut streams, books) = whole_flow();
        streams.statuses.swap(0, 1);
        assert_eq!(audit(streams, &books, None, 0).out_of_order, 1);

        let (streams, books) = whole_flow();
        let input = ["1", "2", "3", "4", "5"].map(String::from).into();
        assert_eq!(audit(streams, &books, Some(&input), 0).lost, 2);

        let (mut streams, mut books) = whole_flow();
        books.unfinished = 2;
        streams.orders.remove(0);
        assert_eq!(audit(streams, &books, None, 0).lost, 2);
    }
}
