/// A token and its place in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) kind: Kind,
    pub(super) at: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Letters, digits, hyphens and underscores.
    Word(String),
    Text(String),
    /// One of `( ) , . : = -` or `!` for `!=`.
    Symbol(char),
}

pub(super) fn tokens(text: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut rest = text.char_indices().peekable();
    while let Some((at, letter)) = rest.next() {
        let kind = match letter {
            _ if letter.is_whitespace() => continue,
            '"' => Kind::Text(string(&mut rest, at)?),
            '(' | ')' | ',' | '.' | ':' | '=' | '-' => Kind::Symbol(letter),
            '!' => match rest.next() {
                Some((_, '=')) => Kind::Symbol('!'),
                _ => return Err(format!("expected `!=` at {at}")),
            },
            _ if is_word(letter) => {
                let mut word = letter.to_string();
                while let Some((_, next)) = rest.next_if(|(_, it)| is_word(*it) || *it == '-') {
                    word.push(next);
                }
                Kind::Word(word)
            }
            other => return Err(format!("unexpected `{other}` at {at}")),
        };
        tokens.push(Token { kind, at });
    }
    Ok(tokens)
}

fn is_word(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || letter == '_'
}

type Letters<'a> = std::iter::Peekable<std::str::CharIndices<'a>>;

/// Reads a string literal after its opening quotation mark.
fn string(rest: &mut Letters<'_>, start: usize) -> Result<String, String> {
    let mut text = String::new();
    loop {
        match rest.next() {
            None => {
                return Err(format!(
                    "the string at {start} has no closing quotation mark"
                ));
            }
            Some((_, '"')) => return Ok(text),
            Some((at, '\\')) => text.push(escape(rest, at)?),
            Some((_, letter)) => text.push(letter),
        }
    }
}

fn escape(rest: &mut Letters<'_>, at: usize) -> Result<char, String> {
    let invalid = || format!("invalid escape sequence at {at}");
    let (_, letter) = rest.next().ok_or_else(invalid)?;
    Ok(match letter {
        '\\' | '"' | '\'' | '?' => letter,
        'n' => '\n',
        't' => '\t',
        'r' => '\r',
        'a' => '\u{7}',
        'b' => '\u{8}',
        'f' => '\u{c}',
        'v' => '\u{b}',
        'x' => code(rest, 16, 2).ok_or_else(invalid)?,
        'u' => code(rest, 16, 4).ok_or_else(invalid)?,
        'U' => code(rest, 16, 8).ok_or_else(invalid)?,
        '0'..='7' => {
            let mut value = letter.to_digit(8).ok_or_else(invalid)?;
            for _ in 0..2 {
                let digit = rest.peek().and_then(|(_, it)| it.to_digit(8));
                let Some(digit) = digit else { break };
                value = value * 8 + digit;
                rest.next();
            }
            char::from_u32(value).ok_or_else(invalid)?
        }
        _ => return Err(invalid()),
    })
}

/// Reads a character given by exactly `digits` digits.
fn code(rest: &mut Letters<'_>, radix: u32, digits: u32) -> Option<char> {
    let mut value: u32 = 0;
    for _ in 0..digits {
        let digit = rest.next()?.1.to_digit(radix)?;
        value = value.checked_mul(radix)?.checked_add(digit)?;
    }
    char::from_u32(value)
}
