use aqueduct_core::{Error, Result};
use cel::Program;
use cel::common::ast::{CallExpr, EntryExpr, Expr, IdedExpr, LiteralValue, operators};

use super::variables::NAMES;

/// The type of a part, as far as it is known before there is an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Type {
    Bool,
    Number,
    Text,
    Time,
    List,
    Map,
    /// Known only when an event is there.
    Any,
}

impl Type {
    fn name(self) -> &'static str {
        match self {
            Self::Bool => "true or false",
            Self::Number => "a number",
            Self::Text => "a text",
            Self::Time => "a time",
            Self::List => "a list",
            Self::Map => "a map",
            Self::Any => "anything",
        }
    }
}

/// Functions other than operators, and what they return.
const FUNCTIONS: [(&str, Type); 31] = [
    ("bool", Type::Bool),
    ("bytes", Type::Any),
    ("contains", Type::Bool),
    ("double", Type::Number),
    ("duration", Type::Any),
    ("dyn", Type::Any),
    ("endsWith", Type::Bool),
    ("getDate", Type::Number),
    ("getDayOfMonth", Type::Number),
    ("getDayOfWeek", Type::Number),
    ("getDayOfYear", Type::Number),
    ("getFullYear", Type::Number),
    ("getHours", Type::Number),
    ("getMilliseconds", Type::Number),
    ("getMinutes", Type::Number),
    ("getMonth", Type::Number),
    ("getSeconds", Type::Number),
    ("int", Type::Number),
    ("matches", Type::Bool),
    ("max", Type::Any),
    ("min", Type::Any),
    ("optional.none", Type::Any),
    ("optional.of", Type::Any),
    ("orValue", Type::Any),
    ("hasValue", Type::Bool),
    ("size", Type::Number),
    ("startsWith", Type::Bool),
    ("string", Type::Text),
    ("timestamp", Type::Time),
    ("type", Type::Any),
    ("uint", Type::Number),
];

/// Checks names and types as far as they are known.
///
/// # Errors
/// `Config` with the place of the first part that cannot be meant.
pub(super) fn check(text: &str, program: &Program) -> Result<()> {
    let mut checker = Checker {
        text,
        program,
        scope: Vec::new(),
    };
    checker.expect_bool(program.expression())
}

struct Checker<'a> {
    text: &'a str,
    program: &'a Program,
    /// The variables of the macros around a part.
    scope: Vec<&'a str>,
}

impl<'a> Checker<'a> {
    fn expect_bool(&mut self, part: &'a IdedExpr) -> Result<()> {
        // The branches of a choice are what is true or false, not the choice.
        if let Expr::Call(call) = &part.expr
            && call.func_name == operators::CONDITIONAL
            && let [condition, yes, no] = call.args.as_slice()
        {
            self.expect_bool(condition)?;
            self.expect_bool(yes)?;
            return self.expect_bool(no);
        }
        match self.type_of(part)? {
            Type::Bool | Type::Any => Ok(()),
            other => Err(self.error(
                part,
                &format!("expected true or false, found {}", other.name()),
            )),
        }
    }

    fn type_of(&mut self, part: &'a IdedExpr) -> Result<Type> {
        match &part.expr {
            Expr::Unspecified => Ok(Type::Any),
            Expr::Literal(value) => Ok(match value {
                LiteralValue::Boolean(_) => Type::Bool,
                LiteralValue::Double(_) | LiteralValue::Int(_) | LiteralValue::UInt(_) => {
                    Type::Number
                }
                LiteralValue::String(_) => Type::Text,
                LiteralValue::Bytes(_) | LiteralValue::Null => Type::Any,
            }),
            Expr::Ident(name) => self.type_of_name(part, name),
            Expr::List(list) => {
                for element in &list.elements {
                    self.type_of(element)?;
                }
                Ok(Type::List)
            }
            Expr::Map(map) => {
                for entry in &map.entries {
                    if let EntryExpr::MapEntry(entry) = &entry.expr {
                        self.type_of(&entry.key)?;
                        self.type_of(&entry.value)?;
                    }
                }
                Ok(Type::Map)
            }
            Expr::Select(select) => match self.type_of(&select.operand)? {
                Type::Map | Type::Any if select.test => Ok(Type::Bool),
                Type::Map | Type::Any => Ok(Type::Any),
                other => Err(self.error(part, &format!("{} has no fields", other.name()))),
            },
            Expr::Struct(_) => Err(self.error(part, "messages are not available here")),
            Expr::Comprehension(macro_call) => {
                let outer = self.scope.len();
                self.type_of(&macro_call.iter_range)?;
                self.type_of(&macro_call.accu_init)?;
                self.scope.push(&macro_call.iter_var);
                self.scope.extend(macro_call.iter_var2.as_deref());
                self.scope.push(&macro_call.accu_var);
                self.type_of(&macro_call.loop_cond)?;
                self.type_of(&macro_call.loop_step)?;
                let result = self.type_of(&macro_call.result);
                self.scope.truncate(outer);
                result
            }
            Expr::Call(call) => self.type_of_call(part, call),
        }
    }

    fn type_of_name(&self, part: &IdedExpr, name: &str) -> Result<Type> {
        // Macros make variables whose names begin with `@`.
        if name.starts_with('@') || self.scope.contains(&name) {
            return Ok(Type::Any);
        }
        match name {
            "id" | "source" | "type" => Ok(Type::Text),
            "attributes" => Ok(Type::Map),
            // They may be null.
            "content_type" | "data" | "key" | "schema" | "subject" | "time" => Ok(Type::Any),
            _ => Err(self.error(
                part,
                &format!("`{name}` is not known here; known: {}", NAMES.join(", ")),
            )),
        }
    }

    fn type_of_call(&mut self, part: &'a IdedExpr, call: &'a CallExpr) -> Result<Type> {
        let mut types = Vec::with_capacity(call.args.len());
        for operand in call.target.iter().map(|it| &**it).chain(&call.args) {
            types.push(self.type_of(operand)?);
        }
        match call.func_name.as_str() {
            operators::LOGICAL_AND | operators::LOGICAL_OR | operators::LOGICAL_NOT => {
                for operand in &call.args {
                    self.expect_bool(operand)?;
                }
                Ok(Type::Bool)
            }
            operators::EQUALS
            | operators::NOT_EQUALS
            | operators::GREATER
            | operators::GREATER_EQUALS
            | operators::LESS
            | operators::LESS_EQUALS => {
                if let [left, right] = types.as_slice()
                    && left != right
                    && ![*left, *right].contains(&Type::Any)
                {
                    return Err(self.error(
                        part,
                        &format!("it compares {} with {}", left.name(), right.name()),
                    ));
                }
                Ok(Type::Bool)
            }
            operators::IN | operators::NOT_STRICTLY_FALSE => Ok(Type::Bool),
            operators::CONDITIONAL => {
                if let Some(condition) = call.args.first() {
                    self.expect_bool(condition)?;
                }
                match types.as_slice() {
                    [_, yes, no] if yes == no => Ok(*yes),
                    _ => Ok(Type::Any),
                }
            }
            operators::ADD
            | operators::SUBSTRACT
            | operators::MULTIPLY
            | operators::DIVIDE
            | operators::MODULO
            | operators::NEGATE => Ok(match types.first() {
                Some(first @ (Type::Number | Type::Text)) => *first,
                _ => Type::Any,
            }),
            operators::INDEX | operators::OPT_INDEX | operators::OPT_SELECT => Ok(Type::Any),
            name => match FUNCTIONS.iter().find(|(known, _)| *known == name) {
                Some((_, returned)) => Ok(*returned),
                None => {
                    Err(self.error(part, &format!("`{name}` is no function that is known here")))
                }
            },
        }
    }

    fn error(&self, part: &IdedExpr, why: &str) -> Error {
        let start = self.program.source_info().offset_for(part.id);
        let start = start.map_or(0, |(start, _)| start as usize);
        let before: Vec<char> = self.text.chars().take(start).collect();
        let line = before.iter().filter(|it| **it == '\n').count() + 1;
        let column = before.iter().rev().take_while(|it| **it != '\n').count() + 1;
        Error::config(format!(
            "`{}`, line {line}, column {column}: {why}",
            self.text
        ))
    }
}
