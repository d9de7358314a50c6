mod check;
mod variables;

use std::fmt;
use std::sync::LazyLock;

use aqueduct_core::{Error, ErrorKind, Event, Result};
use cel::{Context, Program, Value};

use self::variables::Variables;

/// The functions of the language, shared by all expressions.
static FUNCTIONS: LazyLock<Context<'static, 'static>> = LazyLock::new(Context::default);

/// A condition in the [Common Expression Language](https://cel.dev), compiled once.
///
/// It sees `id`, `source`, `type`, `subject`, `key`, `time`, `content_type`, `schema`, `attributes` (by
/// name) and `data`: the JSON of the event's data. What the event does not have is `null`; a field
/// that `data` or `attributes` lacks is an error, so ask for it first: `has(data.total) && data.total
/// > 100`.
///
/// ```
/// use aqueduct_core::Event;
/// use aqueduct_routing::Expression;
///
/// let large = Expression::parse("type.startsWith('order.') && data.total > 100")?;
/// assert!(large.is_true(&Event::json("order.placed", &serde_json::json!({ "total": 250 }))?)?);
///
/// let error = Expression::parse("type.startsWith('order.') && totl > 100").unwrap_err();
/// assert!(error.to_string().contains("column 30"), "{error}");
/// # Ok::<(), aqueduct_core::Error>(())
/// ```
pub struct Expression {
    text: String,
    program: Program,
}

impl Expression {
    /// Compiles an expression and checks it.
    ///
    /// # Errors
    /// `Config`, with line and column, if it does not parse, reads a variable or calls a function that
    /// does not exist, or if a part has another type than its place needs, such as a whole that is
    /// never true or false.
    pub fn parse(text: &str) -> Result<Self> {
        let program = Program::compile(text).map_err(|errors| {
            let first = errors.errors.into_iter().next();
            let (line, column, why) = first.map_or((1, 1, String::from("it is empty")), |error| {
                (error.pos.0, error.pos.1, error.msg)
            });
            Error::config(format!("`{text}`, line {line}, column {column}: {why}"))
        })?;
        check::check(text, &program)?;
        Ok(Self {
            text: text.into(),
            program,
        })
    }

    /// Returns the text that it was made of.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Evaluates it.
    ///
    /// # Errors
    /// `Invalid` if it reads data that is no JSON, a field that the event lacks, or compares values of
    /// different types, and if the result is neither true nor false.
    pub fn is_true(&self, event: &Event) -> Result<bool> {
        let variables = Variables::new(event);
        let functions: &Context<'_, '_> = &FUNCTIONS;
        let mut context = functions.new_inner_scope();
        context.set_variable_resolver(&variables);
        let result = self.program.execute(&context);
        drop(context);
        if let Some(error) = variables.into_error() {
            return Err(self.failed(event, &format!("its data is no JSON: {error}")));
        }
        match result {
            Ok(Value::Bool(result)) => Ok(result),
            Ok(other) => Err(self.failed(event, &format!("it is a {}", other.type_of()))),
            Err(error) => Err(self.failed(event, &error.to_string())),
        }
    }

    fn failed(&self, event: &Event, why: &str) -> Error {
        Error::new(
            ErrorKind::Invalid,
            format!(
                "`{}` is neither true nor false for event {} of type {}: {why}",
                self.text,
                event.id(),
                event.kind()
            ),
        )
    }
}

impl fmt::Debug for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Expression").field(&self.text).finish()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn event() -> Event {
        let data = json!({ "total": 250, "price": 2.5, "lines": [{ "sku": "a" }, { "sku": "b" }] });
        Event::json("order.placed", &data)
            .unwrap()
            .with_source("/shop")
            .with_key("alice")
            .with_time("2026-03-01T12:00:00Z".parse().unwrap())
            .with_attribute("region", "eu-west-1")
            .and_then(|it| it.with_attribute("priority", 3))
            .unwrap()
    }

    #[test]
    fn every_part_of_an_event_can_be_asked_for() {
        for (text, expected) in [
            ("type == 'order.placed' && source == '/shop'", true),
            ("key == 'alice' && subject == null", true),
            (
                "attributes.region.startsWith('eu-') && attributes.priority > 2",
                true,
            ),
            ("has(attributes.tenant)", false),
            ("'region' in attributes", true),
            (
                "data.total > 100 && data.price < 3 && data.price * 2.0 == 5.0",
                true,
            ),
            ("data.total == 250.0", true),
            ("data.lines.exists(line, line.sku == 'b')", true),
            ("data.lines.all(line, line.sku == 'b')", false),
            (
                "size(data.lines) == 2 ? data.lines[0].sku == 'a' : false",
                true,
            ),
            ("time > timestamp('2026-02-28T00:00:00Z')", true),
            ("content_type == 'application/json' && schema == null", true),
            ("id != '' && key.matches('^al.*e$')", true),
            ("true", true),
        ] {
            let found = Expression::parse(text).unwrap().is_true(&event());
            assert_eq!(found.unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn what_cannot_be_meant_is_refused_with_its_place() {
        for (text, place, why) in [
            ("", "line 1, column", ""),
            ("type ==", "line 1, column 8", ""),
            ("type == 'a' &&\n  totl > 5", "line 2, column 3", "`totl`"),
            (
                "size(data)",
                "line 1, column 5",
                "expected true or false, found a number",
            ),
            (
                "type",
                "line 1, column 1",
                "expected true or false, found a text",
            ),
            ("type > 5", "line 1, column 6", "a text with a number"),
            (
                "type && key == 'a'",
                "line 1, column 1",
                "expected true or false, found a text",
            ),
            (
                "!size(data)",
                "column 6",
                "expected true or false, found a number",
            ),
            ("type.name == 'a'", "column 5", "a text has no fields"),
            ("lowercase(type) == 'a'", "column 10", "`lowercase`"),
            (
                "type == 'a' ? 1 : 2",
                "column 15",
                "expected true or false, found a number",
            ),
        ] {
            let error = Expression::parse(text).unwrap_err().to_string();
            assert!(
                error.contains(place) && error.contains(why),
                "{text}: {error}"
            );
        }
    }

    #[test]
    fn an_event_for_which_it_cannot_be_told_says_why() {
        let total = Expression::parse("data.total > 100").unwrap();
        for (event, why) in [
            (Event::new("x"), "null"),
            (
                Event::bytes("x", "text/plain", "not JSON"),
                "its data is no JSON",
            ),
            (Event::json("x", &json!({ "other": 1 })).unwrap(), "total"),
            (Event::json("x", &json!({ "total": "1" })).unwrap(), ""),
        ] {
            let error = total.is_true(&event).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid);
            let error = error.to_string();
            assert!(
                error.contains(why) && error.contains("data.total > 100"),
                "{error}"
            );
        }
        let field = Expression::parse("data.total").unwrap();
        let error = field.is_true(&event()).unwrap_err().to_string();
        assert!(error.contains("it is a int"), "{error}");
    }
}
