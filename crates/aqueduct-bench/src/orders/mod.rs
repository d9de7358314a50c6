//! The README's main job: placement, payment, shipping and management of orders in one SQLite file, every
//! effect once.

mod bare;
mod flow;

use aqueduct_core::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};

use crate::Contestant;
use crate::aims::{Aim, Bound};
use crate::measure::Figures;

/// Both use `synchronous=FULL` in WAL mode, and keep an effect, the record that its event was handled and
/// the events that it causes in one transaction.
pub(crate) const CONTESTANTS: &[Contestant] = &[
    Contestant {
        name: "rusqlite",
        direction: None,
        batch: 20,
        run: bare::run,
    },
    Contestant {
        name: "aqueduct",
        direction: None,
        batch: 20,
        run: flow::run,
    },
];

pub(crate) const AIMS: &[Aim] = &[
    Aim {
        what: "CPU time of an order, as a multiple of the hand-made program's",
        bound: Bound::AtMost(1.5),
        value: |round| round.cpu_ratio("aqueduct", "rusqlite"),
    },
    Aim {
        what: "bytes written for an order, as a multiple of the hand-made program's",
        bound: Bound::AtMost(1.0),
        value: |round| {
            let of = |name| round.extra(name, WRITTEN);
            Some(of("aqueduct")? / of("rusqlite")?)
        },
    },
    Aim {
        what: "orders per second, as a multiple of the hand-made program's",
        bound: Bound::AtLeast(0.8),
        value: |round| round.rate_ratio("aqueduct", "rusqlite"),
    },
];

/// KiB that the process wrote for an order, whether the system has stored them yet or not.
const WRITTEN: &str = "written_kib_per_order";

/// The state in which all contestants end: an order is placed, paid or declined, and shipped.
const DECLINED_ABOVE: u64 = 8_000;

/// The data of `OrderPlaced`.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Order {
    order_id: String,
    customer_id: String,
    company: String,
    city: String,
    country: String,
    items: Vec<Item>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Item {
    sku: String,
    quantity: u64,
    cents: u64,
}

/// The data of `PaymentSucceeded` and `PaymentFailed`.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Payment {
    order_id: String,
    cents: u64,
    company: String,
    city: String,
    country: String,
}

/// The data of `ShippingLabelGenerated`.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Label {
    order_id: String,
    label: String,
}

/// The data of `OrderStatusUpdated`.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Status {
    order_id: String,
    status: String,
}

/// The part of any event that management needs.
#[derive(Deserialize)]
struct AboutOrder {
    order_id: String,
}

impl Order {
    fn new(number: u64) -> Self {
        let items = (0..=number % 4).map(|item| Item {
            sku: format!("S-{:04}", (number * 7 + item) % 500),
            quantity: number % 11 + 1,
            cents: 120 + number * 37 % 900,
        });
        Self {
            order_id: format!("1-{number:06}"),
            customer_id: format!("C-{:03}", number % 96),
            company: "Åsgatan Livs".into(),
            city: "Göteborg".into(),
            country: "Sweden".into(),
            items: items.collect(),
        }
    }

    fn cents(&self) -> u64 {
        self.items
            .iter()
            .map(|item| item.quantity * item.cents)
            .sum()
    }

    /// Pays the order; returns the type of the event and its data.
    fn pay(self) -> (&'static str, Payment) {
        let cents = self.cents();
        let kind = match cents > DECLINED_ABOVE {
            true => kind::PAYMENT_FAILED,
            false => kind::PAID,
        };
        let payment = Payment {
            order_id: self.order_id,
            cents,
            company: self.company,
            city: self.city,
            country: self.country,
        };
        (kind, payment)
    }
}

impl Payment {
    fn label(self) -> Label {
        let label = [
            self.company,
            self.city,
            self.country,
            format!("order {}", self.order_id),
        ];
        Label {
            order_id: self.order_id,
            label: label.join("\n"),
        }
    }
}

mod kind {
    pub(super) const PLACED: &str = "OrderPlaced";
    pub(super) const PAID: &str = "PaymentSucceeded";
    pub(super) const PAYMENT_FAILED: &str = "PaymentFailed";
    pub(super) const LABELLED: &str = "ShippingLabelGenerated";
    pub(super) const STATUS: &str = "OrderStatusUpdated";
}

/// Returns the state of an order after an event of that type.
fn status_of(kind: &str) -> &'static str {
    match kind {
        kind::PLACED => "placed",
        kind::PAID => "paid",
        kind::PAYMENT_FAILED => "payment_failed",
        _ => "shipped",
    }
}

/// The order of the states; streams are not ordered among each other.
fn rank(status: &str) -> u8 {
    match status {
        "placed" => 1,
        "paid" => 2,
        _ => 3,
    }
}

/// The tables of the roles, the same for every contestant.
const TABLES: &str = "
    CREATE TABLE intake (
        order_id TEXT PRIMARY KEY, customer_id TEXT NOT NULL, cents INTEGER NOT NULL, content TEXT NOT NULL
    );
    CREATE TABLE charges (charge INTEGER PRIMARY KEY, order_id TEXT NOT NULL, cents INTEGER NOT NULL);
    CREATE TABLE order_state (order_id TEXT PRIMARY KEY, customer_id TEXT NOT NULL, status TEXT NOT NULL);
    CREATE TABLE tally (ended INTEGER NOT NULL);
    INSERT INTO tally VALUES (0);
";

/// Returns an error unless every order was charged at most once and has come to its end.
fn audit(file: &rusqlite::Connection, orders: u64) -> Result<()> {
    let one = |sql: &str| {
        file.query_row(sql, [], |row| row.get::<_, i64>(0))
            .map_err(sql_failed)
    };
    let ended =
        one("SELECT count(*) FROM order_state WHERE status IN ('shipped', 'payment_failed')")?;
    let paid = one("SELECT count(*) FROM order_state WHERE status = 'shipped'")?;
    let charged = one("SELECT count(*) FROM charges")?;
    let once = one("SELECT count(DISTINCT order_id) FROM charges")?;
    if (ended as u64, charged, once) == (orders, paid, paid) {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Internal,
        format!(
            "of {orders} orders {ended} ended, {paid} were shipped, {charged} charges for {once}"
        ),
    ))
}

/// Counts the bytes that this process has written.
struct Written(u64);

impl Written {
    fn begin() -> Self {
        Self(written())
    }

    fn per_order(self, figures: Figures, orders: u64) -> Figures {
        let bytes = written().saturating_sub(self.0);
        figures.with(WRITTEN, bytes as f64 / 1024.0 / orders as f64)
    }
}

/// Returns how many bytes this process has written so far; 0 where the system does not tell.
fn written() -> u64 {
    let counters = std::fs::read_to_string("/proc/self/io").unwrap_or_default();
    let line = counters
        .lines()
        .find_map(|line| line.strip_prefix("wchar:"));
    line.and_then(|count| count.trim().parse().ok())
        .unwrap_or_default()
}

fn sql_failed(error: rusqlite::Error) -> Error {
    Error::new(ErrorKind::Unavailable, "the tables of the orders failed").with_source(error)
}

fn json_failed(error: serde_json::Error) -> Error {
    Error::new(ErrorKind::Internal, "an order is not valid JSON").with_source(error)
}
