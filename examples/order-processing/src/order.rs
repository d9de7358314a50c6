use rust_decimal::Decimal;
use serde::{Deserialize, Deserializer, Serialize};

/// The types of the flow's events.
pub(crate) mod kind {
    pub(crate) const PLACED: &str = "OrderPlaced";
    pub(crate) const PAID: &str = "PaymentSucceeded";
    pub(crate) const PAYMENT_FAILED: &str = "PaymentFailed";
    pub(crate) const LABELLED: &str = "ShippingLabelGenerated";
    pub(crate) const STATUS: &str = "OrderStatusUpdated";
}

/// The longest order and customer id, in bytes: every service accepts a key of this length.
const ID_LIMIT: usize = 128;

/// The largest amount of one order, so that the total of all orders cannot overflow.
const AMOUNT_LIMIT: Decimal = Decimal::from_parts(0xd4a5_1000, 0xe8, 0, false, 0);

/// One order, as a line of the input and as the data of `OrderPlaced`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Order {
    pub(crate) order_id: String,
    pub(crate) customer_id: String,
    #[serde(default)]
    pub(crate) company: String,
    pub(crate) placed_at: String,
    #[serde(default)]
    pub(crate) ship_city: String,
    #[serde(default)]
    pub(crate) ship_country: String,
    #[serde(default, deserialize_with = "exact")]
    pub(crate) freight: Decimal,
    pub(crate) items: Vec<Item>,
}

/// One line of an order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Item {
    pub(crate) sku: String,
    #[serde(default)]
    pub(crate) name: String,
    pub(crate) quantity: u32,
    #[serde(deserialize_with = "exact")]
    pub(crate) unit_price: Decimal,
    #[serde(default, deserialize_with = "exact")]
    pub(crate) discount: Decimal,
}

impl Order {
    /// Reads and validates one line of input.
    pub(crate) fn from_line(line: &str) -> Result<Self, String> {
        let order: Self = serde_json::from_str(line).map_err(|e| e.to_string())?;
        order.validate()?;
        Ok(order)
    }

    /// Returns the exact sum of quantity x unit price x (1 - discount); `None` if it overflows.
    pub(crate) fn gross(&self) -> Option<Decimal> {
        self.items.iter().try_fold(Decimal::ZERO, |sum, item| {
            let price = Decimal::from(item.quantity).checked_mul(item.unit_price)?;
            sum.checked_add(price.checked_mul(Decimal::ONE - item.discount)?)
        })
    }

    fn validate(&self) -> Result<(), String> {
        for (name, text) in [
            ("order_id", &self.order_id),
            ("customer_id", &self.customer_id),
        ] {
            if text.trim().is_empty() {
                return Err(format!("{name} is empty"));
            }
            if text.len() > ID_LIMIT {
                return Err(format!("{name} is longer than {ID_LIMIT} bytes"));
            }
        }
        if self.items.is_empty() {
            return Err("items is empty: an order has at least one line".into());
        }
        for (at, item) in self.items.iter().enumerate() {
            let wrong = if item.quantity == 0 {
                "quantity is 0"
            } else if item.unit_price.is_sign_negative() {
                "unit_price is negative"
            } else if item.discount.is_sign_negative() || item.discount > Decimal::ONE {
                "discount is not between 0 and 1"
            } else {
                continue;
            };
            return Err(format!("items[{at}] (sku {}): {wrong}", item.sku));
        }
        match self.gross() {
            Some(gross) if gross <= AMOUNT_LIMIT => Ok(()),
            _ => Err(format!("the sum of its lines is above {AMOUNT_LIMIT}")),
        }
    }
}

/// The data of `PaymentSucceeded` and `PaymentFailed`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Payment {
    pub(crate) order_id: String,
    pub(crate) amount: Decimal,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) declined: Option<String>,
    pub(crate) ship_to: Address,
}

/// The delivery address.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Address {
    pub(crate) company: String,
    pub(crate) city: String,
    pub(crate) country: String,
}

/// The data of `ShippingLabelGenerated`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Label {
    pub(crate) order_id: String,
    pub(crate) label: String,
}

/// The data of `OrderStatusUpdated`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct StatusChange {
    pub(crate) order_id: String,
    pub(crate) from: Option<Status>,
    pub(crate) to: Status,
}

/// The state of an order; it only moves forward. Each stream of the flow keeps its own order, but
/// streams are not ordered among each other, so a label may be seen before its payment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Status {
    Placed,
    Paid,
    PaymentFailed,
    Shipped,
}

impl Status {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Placed => "placed",
            Self::Paid => "paid",
            Self::PaymentFailed => "payment_failed",
            Self::Shipped => "shipped",
        }
    }

    pub(crate) fn from_name(name: &str) -> Option<Self> {
        [Self::Placed, Self::Paid, Self::PaymentFailed, Self::Shipped]
            .into_iter()
            .find(|status| status.as_str() == name)
    }
}

/// Reads a JSON number (or a string) as the decimal that it is written as: `9.8` is 9.8, not the
/// nearest binary fraction.
fn exact<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Decimal, D::Error> {
    #[derive(Deserialize)]
    #[serde(
        untagged,
        expecting = "expected an amount: a number, or a text such as \"9.80\""
    )]
    enum Written {
        Number(serde_json::Number),
        SmallStr(String),
    }
    let text = match Written::deserialize(deserializer)? {
        Written::Number(number) => number.to_string(),
        Written::SmallStr(text) => text,
    };
    Decimal::from_str_exact(&text)
        .or_else(|_| Decimal::from_scientific(&text))
        .map_err(|e| serde::de::Error::custom(format!("invalid amount `{text}`: {e}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = r#"{"order_id":"1","customer_id":"TOMSP","company":"Toms Spezialitäten",
        "placed_at":"1996-07-05","items":[
        {"sku":"14","quantity":9,"unit_price":18.6,"discount":0.15},
        {"sku":"51","quantity":40,"unit_price":42.4}]}"#;

    #[test]
    fn amounts_are_exact() {
        let order = Order::from_line(LINE).unwrap();
        assert_eq!(order.gross(), Some("1838.29".parse().unwrap()));
        let text = serde_json::to_string(&order).unwrap();
        assert_eq!(Order::from_line(&text).unwrap(), order);
    }

    #[test]
    fn a_wrong_line_says_what_is_wrong() {
        for (from, to, says) in [
            (
                r#""order_id":"1""#,
                r#""order_id":" ""#,
                "order_id is empty",
            ),
            (
                r#""quantity":9"#,
                r#""quantity":0"#,
                "items[0] (sku 14): quantity is 0",
            ),
            (
                r#""quantity":9"#,
                r#""quantity":-1"#,
                "invalid value: integer `-1`",
            ),
            ("18.6", "-18.6", "unit_price is negative"),
            ("0.15", "1.5", "discount is not between 0 and 1"),
            ("18.6", r#""cheap""#, "invalid amount `cheap`"),
            ("18.6", "1e28", "above 1000000000000"),
            ("18.6", "1000000000000", "above 1000000000000"),
            ("18.6", "null", "expected an amount"),
            (
                "TOMSP",
                &"T".repeat(129),
                "customer_id is longer than 128 bytes",
            ),
            (
                r#""placed_at":"1996-07-05","#,
                "",
                "missing field `placed_at`",
            ),
        ] {
            let error = Order::from_line(&LINE.replace(from, to)).unwrap_err();
            assert!(error.contains(says), "{to}: {error}");
        }
    }
}
