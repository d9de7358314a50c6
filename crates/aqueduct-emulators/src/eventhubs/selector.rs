use super::amqp::Value;

/// What a position is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    Earliest,
    Latest,
    Offset,
    SequenceNumber,
    EnqueuedTime,
}

/// Where a receiver starts: the filter `apache.org:selector-filter:string` of its source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Selector {
    pub(super) field: Field,
    pub(super) inclusive: bool,
    pub(super) value: String,
}

/// The filter's name, and its code where a client names it by number.
const NAME: &str = "apache.org:selector-filter:string";
const CODE: u64 = 0x468c_0000_0004;

impl Selector {
    /// Reads the filter map of a source. A source without the filter starts at the oldest event.
    ///
    /// # Errors
    /// A description, if there is a filter and it is not understood.
    pub(super) fn of(filters: &Value) -> Result<Self, String> {
        for (key, value) in filters.as_map().unwrap_or_default() {
            let described = match value {
                Value::Described(it) => it.0.as_str() == Some(NAME) || it.0.as_u64() == Some(CODE),
                _ => false,
            };
            if key.as_str() != Some(NAME) && !described {
                continue;
            }
            let text = value.undescribed().as_str();
            let text = text.ok_or_else(|| format!("the filter {NAME} must be a string"))?;
            return Self::parse(text);
        }
        Ok(Self::earliest())
    }

    fn earliest() -> Self {
        Self {
            field: Field::Earliest,
            inclusive: false,
            value: String::new(),
        }
    }

    fn parse(text: &str) -> Result<Self, String> {
        let bad = || {
            format!(
                "selector `{text}` is not understood (expected `amqp.annotation.NAME > 'VALUE'` or `>=`, with x-opt-offset, x-opt-sequence-number or x-opt-enqueued-time)"
            )
        };
        let (name, value) = text.split_once('>').ok_or_else(bad)?;
        let (inclusive, value) = match value.strip_prefix('=') {
            Some(value) => (true, value),
            None => (false, value),
        };
        let value = value.trim().trim_matches('\'').to_owned();
        let name = name.trim().strip_prefix("amqp.annotation.");
        let field = match name.ok_or_else(bad)? {
            "x-opt-offset" => match value.as_str() {
                "@latest" => Field::Latest,
                "-1" => Field::Earliest,
                _ => Field::Offset,
            },
            "x-opt-sequence-number" => Field::SequenceNumber,
            "x-opt-enqueued-time" | "x-opt-enqueuedtimeutc" => Field::EnqueuedTime,
            _ => return Err(bad()),
        };
        Ok(Self {
            field,
            inclusive,
            value,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_selector_of_the_clients_is_understood() {
        let cases = [
            (
                "amqp.annotation.x-opt-offset > '-1'",
                Field::Earliest,
                false,
                "-1",
            ),
            (
                "amqp.annotation.x-opt-offset > '@latest'",
                Field::Latest,
                false,
                "@latest",
            ),
            (
                "amqp.annotation.x-opt-offset >= 'a>b'",
                Field::Offset,
                true,
                "a>b",
            ),
            (
                "amqp.annotation.x-opt-sequence-number >= '7'",
                Field::SequenceNumber,
                true,
                "7",
            ),
            (
                "amqp.annotation.x-opt-sequence-number > 7",
                Field::SequenceNumber,
                false,
                "7",
            ),
            (
                "amqp.annotation.x-opt-enqueued-time > '99'",
                Field::EnqueuedTime,
                false,
                "99",
            ),
        ];
        for (text, field, inclusive, value) in cases {
            let value = value.to_owned();
            let expected = Selector {
                field,
                inclusive,
                value,
            };
            assert_eq!(Selector::parse(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn another_selector_is_refused_by_name() {
        let error = Selector::parse("color = 'red'").unwrap_err();
        assert!(error.contains("color = 'red'"), "{error}");
    }
}
