use std::collections::HashMap;

use aqueduct_core::{Error, ErrorKind, Result};
use aws_sdk_dynamodb::types::AttributeValue;

/// One row as stored in DynamoDB.
pub(crate) type Item = HashMap<String, AttributeValue>;

pub(crate) fn text(value: impl Into<String>) -> AttributeValue {
    AttributeValue::S(value.into())
}

pub(crate) fn number(value: impl std::fmt::Display) -> AttributeValue {
    AttributeValue::N(value.to_string())
}

/// Returns a set without duplicates; `None` if there are no names, since DynamoDB refuses empty sets.
pub(crate) fn names<'a>(values: impl IntoIterator<Item = &'a str>) -> Option<AttributeValue> {
    let mut values: Vec<String> = values.into_iter().map(str::to_owned).collect();
    values.sort_unstable();
    values.dedup();
    (!values.is_empty()).then_some(AttributeValue::Ss(values))
}

/// Reads the attributes of one row; errors name the row and the attribute, never its value.
#[derive(Clone, Copy)]
pub(crate) struct Row<'a> {
    pub(crate) item: &'a Item,
    pub(crate) table: &'a str,
    /// The attribute that is the row's key.
    pub(crate) key: &'static str,
}

impl<'a> Row<'a> {
    pub(crate) fn has(self, name: &str) -> bool {
        !matches!(self.item.get(name), None | Some(AttributeValue::Null(true)))
    }

    pub(crate) fn text(self, name: &str) -> Result<Option<&'a str>> {
        match self.item.get(name) {
            None | Some(AttributeValue::Null(true)) => Ok(None),
            Some(AttributeValue::S(text)) => Ok(Some(text)),
            Some(_) => Err(self.damaged(name, "not of type string")),
        }
    }

    pub(crate) fn need_text(self, name: &str) -> Result<&'a str> {
        self.text(name)?
            .ok_or_else(|| self.damaged(name, "missing"))
    }

    pub(crate) fn number<T: std::str::FromStr>(self, name: &str) -> Result<Option<T>> {
        match self.item.get(name) {
            None | Some(AttributeValue::Null(true)) => Ok(None),
            Some(AttributeValue::N(digits)) => match digits.parse() {
                Ok(number) => Ok(Some(number)),
                Err(_) => Err(self.damaged(name, "not a number in the expected range")),
            },
            Some(_) => Err(self.damaged(name, "not of type number")),
        }
    }

    pub(crate) fn need_number<T: std::str::FromStr>(self, name: &str) -> Result<T> {
        self.number(name)?
            .ok_or_else(|| self.damaged(name, "missing"))
    }

    /// Reads a set of names, sorted, since a set has no order.
    pub(crate) fn names(self, name: &str) -> Result<Vec<&'a str>> {
        match self.item.get(name) {
            None | Some(AttributeValue::Null(true)) => Ok(Vec::new()),
            Some(AttributeValue::Ss(names)) => {
                let mut names: Vec<&str> = names.iter().map(String::as_str).collect();
                names.sort_unstable();
                Ok(names)
            }
            Some(_) => Err(self.damaged(name, "not of type string set")),
        }
    }

    /// Parses an attribute that is stored as text.
    pub(crate) fn parsed<T>(self, name: &str) -> Result<Option<T>>
    where
        T: std::str::FromStr<Err = Error>,
    {
        let Some(text) = self.text(name)? else {
            return Ok(None);
        };
        match text.parse() {
            Ok(value) => Ok(Some(value)),
            Err(error) => Err(self
                .damaged(name, "not in a known format")
                .with_source(error)),
        }
    }

    pub(crate) fn need_parsed<T>(self, name: &str) -> Result<T>
    where
        T: std::str::FromStr<Err = Error>,
    {
        self.parsed(name)?
            .ok_or_else(|| self.damaged(name, "missing"))
    }

    pub(crate) fn damaged(self, name: &str, why: &str) -> Error {
        let key = match self.item.get(self.key) {
            Some(AttributeValue::S(key)) => key.as_str(),
            _ => "without a key",
        };
        Error::new(
            ErrorKind::Corrupt,
            format!(
                "table {}, row {key}: attribute `{name}` is {why}",
                self.table
            ),
        )
    }
}
