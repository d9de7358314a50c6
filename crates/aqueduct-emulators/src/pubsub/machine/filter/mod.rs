//! The filter language of subscriptions: <https://cloud.google.com/pubsub/docs/subscription-message-filter>.

mod lexer;
mod parser;
#[cfg(test)]
mod tests;

use std::collections::HashMap;

use self::parser::Parser;

/// Longest filter in bytes.
const LONGEST: usize = 256;

/// A parsed filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Filter {
    Has(String),
    Equal(String, String),
    Prefix(String, String),
    Not(Box<Filter>),
    And(Vec<Filter>),
    Or(Vec<Filter>),
}

impl Filter {
    /// Parses a filter that is not empty.
    ///
    /// # Errors
    /// The reason, with the place, if the service would refuse it.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if text.len() > LONGEST {
            let length = text.len();
            return Err(format!("it has {length} bytes (limit: {LONGEST})"));
        }
        Parser::new(lexer::tokens(text)?).filter()
    }

    pub(super) fn matches(&self, attributes: &HashMap<String, String>) -> bool {
        match self {
            Self::Has(key) => attributes.contains_key(key),
            Self::Equal(key, value) => attributes.get(key).is_some_and(|it| it == value),
            Self::Prefix(key, prefix) => {
                attributes.get(key).is_some_and(|it| it.starts_with(prefix))
            }
            Self::Not(filter) => !filter.matches(attributes),
            Self::And(filters) => filters.iter().all(|it| it.matches(attributes)),
            Self::Or(filters) => filters.iter().any(|it| it.matches(attributes)),
        }
    }
}
