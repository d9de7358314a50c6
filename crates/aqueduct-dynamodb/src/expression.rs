use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;

/// Builds the changes and conditions of a conditional write. Every attribute is named by a
/// placeholder, since DynamoDB reserves hundreds of words.
#[derive(Clone, Debug, Default)]
pub(crate) struct Expression {
    sets: Vec<String>,
    removes: Vec<String>,
    conditions: Vec<String>,
    names: Vec<String>,
    values: HashMap<String, AttributeValue>,
}

impl Expression {
    /// Returns the placeholder of an attribute.
    pub(crate) fn name(&mut self, attribute: &str) -> String {
        let at = match self.names.iter().position(|known| known == attribute) {
            Some(at) => at,
            None => {
                self.names.push(attribute.to_owned());
                self.names.len() - 1
            }
        };
        format!("#{at}")
    }

    /// Returns the placeholder of a value.
    pub(crate) fn value(&mut self, value: AttributeValue) -> String {
        let placeholder = format!(":{}", self.values.len());
        self.values.insert(placeholder.clone(), value);
        placeholder
    }

    pub(crate) fn set(&mut self, attribute: &str, value: AttributeValue) {
        let (name, value) = (self.name(attribute), self.value(value));
        self.sets.push(format!("{name} = {value}"));
    }

    /// Sets an attribute only if the row does not have it.
    pub(crate) fn set_if_missing(&mut self, attribute: &str, value: AttributeValue) {
        let (name, value) = (self.name(attribute), self.value(value));
        self.sets
            .push(format!("{name} = if_not_exists({name}, {value})"));
    }

    /// Increments a number by one, from 0 if it is missing.
    pub(crate) fn increment(&mut self, attribute: &str) {
        let name = self.name(attribute);
        let zero = self.value(AttributeValue::N("0".to_owned()));
        let one = self.value(AttributeValue::N("1".to_owned()));
        self.sets
            .push(format!("{name} = if_not_exists({name}, {zero}) + {one}"));
    }

    pub(crate) fn remove(&mut self, attribute: &str) {
        let name = self.name(attribute);
        self.removes.push(name);
    }

    pub(crate) fn set_or_remove(&mut self, attribute: &str, value: Option<AttributeValue>) {
        match value {
            Some(value) => self.set(attribute, value),
            None => self.remove(attribute),
        }
    }

    /// Adds a condition that must hold.
    pub(crate) fn expect(&mut self, condition: String) {
        self.conditions.push(condition);
    }

    pub(crate) fn equals(&mut self, attribute: &str, value: AttributeValue) -> String {
        let (name, value) = (self.name(attribute), self.value(value));
        format!("{name} = {value}")
    }

    pub(crate) fn exists(&mut self, attribute: &str) -> String {
        let name = self.name(attribute);
        format!("attribute_exists({name})")
    }

    pub(crate) fn missing(&mut self, attribute: &str) -> String {
        let name = self.name(attribute);
        format!("attribute_not_exists({name})")
    }

    /// Returns the parts of a request; empty ones are `None`, since DynamoDB refuses them.
    pub(crate) fn into_parts(self) -> Parts {
        let mut update = Vec::new();
        if !self.sets.is_empty() {
            update.push(format!("SET {}", self.sets.join(", ")));
        }
        if !self.removes.is_empty() {
            update.push(format!("REMOVE {}", self.removes.join(", ")));
        }
        let condition: Vec<String> = self.conditions.iter().map(|it| format!("({it})")).collect();
        let names = self.names.into_iter().enumerate();
        let names: HashMap<String, String> =
            names.map(|(at, name)| (format!("#{at}"), name)).collect();
        Parts {
            update: (!update.is_empty()).then(|| update.join(" ")),
            condition: (!condition.is_empty()).then(|| condition.join(" AND ")),
            names: (!names.is_empty()).then_some(names),
            values: (!self.values.is_empty()).then_some(self.values),
        }
    }
}

/// An expression's parts.
pub(crate) struct Parts {
    pub(crate) update: Option<String>,
    pub(crate) condition: Option<String>,
    pub(crate) names: Option<HashMap<String, String>>,
    pub(crate) values: Option<HashMap<String, AttributeValue>>,
}
