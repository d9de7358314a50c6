use super::Filter;
use super::lexer::{Kind, Token};

pub(super) struct Parser {
    tokens: Vec<Token>,
    next: usize,
}

impl Parser {
    pub(super) fn new(tokens: Vec<Token>) -> Self {
        Self { tokens, next: 0 }
    }

    pub(super) fn filter(mut self) -> Result<Filter, String> {
        let filter = self.expression()?;
        match self.next < self.tokens.len() {
            true => Err(self.problem("the end, `AND` or `OR`")),
            false => Ok(filter),
        }
    }

    /// Terms joined by one kind of operator: the service wants parentheses around mixed ones.
    fn expression(&mut self) -> Result<Filter, String> {
        let first = self.term()?;
        let word = match self.peek() {
            Some(Kind::Word(word)) if word == "AND" || word == "OR" => word.clone(),
            _ => return Ok(first),
        };
        let mut filters = vec![first];
        while matches!(self.peek(), Some(Kind::Word(next)) if *next == word) {
            self.next += 1;
            filters.push(self.term()?);
        }
        if matches!(self.peek(), Some(Kind::Word(next)) if next == "AND" || next == "OR") {
            return Err(self.problem("parentheses around `AND` and `OR` that are combined"));
        }
        Ok(match word.as_str() {
            "AND" => Filter::And(filters),
            _ => Filter::Or(filters),
        })
    }

    fn term(&mut self) -> Result<Filter, String> {
        match self.peek() {
            Some(Kind::Word(word)) if word == "NOT" => {
                self.next += 1;
                Ok(Filter::Not(Box::new(self.term()?)))
            }
            Some(Kind::Symbol('-')) => {
                self.next += 1;
                Ok(Filter::Not(Box::new(self.term()?)))
            }
            Some(Kind::Symbol('(')) => {
                self.next += 1;
                let filter = self.expression()?;
                self.symbol(')')?;
                Ok(filter)
            }
            Some(Kind::Word(word)) if word == "hasPrefix" => {
                self.next += 1;
                self.symbol('(')?;
                self.attributes()?;
                self.symbol('.')?;
                let key = self.key()?;
                self.symbol(',')?;
                let prefix = self.text()?;
                self.symbol(')')?;
                Ok(Filter::Prefix(key, prefix))
            }
            _ => self.comparison(),
        }
    }

    fn comparison(&mut self) -> Result<Filter, String> {
        self.attributes()?;
        if let Some(Kind::Symbol(':')) = self.peek() {
            self.next += 1;
            return Ok(Filter::Has(self.key()?));
        }
        self.symbol('.')?;
        let key = self.key()?;
        match self.peek() {
            Some(Kind::Symbol('=')) => {
                self.next += 1;
                Ok(Filter::Equal(key, self.text()?))
            }
            Some(Kind::Symbol('!')) => {
                self.next += 1;
                Ok(Filter::Not(Box::new(Filter::Equal(key, self.text()?))))
            }
            _ => Err(self.problem("`=` or `!=`")),
        }
    }

    fn attributes(&mut self) -> Result<(), String> {
        match self.peek() {
            Some(Kind::Word(word)) if word == "attributes" => {
                self.next += 1;
                Ok(())
            }
            _ => Err(self.problem("`attributes`, `hasPrefix`, `NOT` or `(`")),
        }
    }

    fn key(&mut self) -> Result<String, String> {
        match self.peek() {
            Some(Kind::Word(key) | Kind::Text(key)) => {
                let key = key.clone();
                self.next += 1;
                Ok(key)
            }
            _ => Err(self.problem("the key of an attribute")),
        }
    }

    fn text(&mut self) -> Result<String, String> {
        match self.peek() {
            Some(Kind::Text(text)) => {
                let text = text.clone();
                self.next += 1;
                Ok(text)
            }
            _ => Err(self.problem("a string in quotation marks")),
        }
    }

    fn symbol(&mut self, symbol: char) -> Result<(), String> {
        if self.peek() == Some(&Kind::Symbol(symbol)) {
            self.next += 1;
            return Ok(());
        }
        Err(self.problem(&format!("`{symbol}`")))
    }

    fn peek(&self) -> Option<&Kind> {
        self.tokens.get(self.next).map(|token| &token.kind)
    }

    fn problem(&self, expected: &str) -> String {
        match self.tokens.get(self.next) {
            Some(token) => format!("expected {expected} at {}", token.at),
            None => format!("expected {expected} at the end"),
        }
    }
}
