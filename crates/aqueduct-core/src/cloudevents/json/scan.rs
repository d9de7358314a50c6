/// The maximum nesting depth; deeper JSON values are left to the complete reader.
const DEPTH: u32 = 32;

/// Scans JSON without building values. Returns `None` for anything but plain JSON: the complete
/// reader then decodes it or reports the error.
pub(super) struct Scan<'a> {
    text: &'a str,
    at: usize,
}

/// The text of a JSON value.
#[derive(Clone, Copy)]
pub(super) struct JsonText<'a> {
    pub(super) text: &'a str,
    /// Whether it has no escapes.
    pub(super) plain: bool,
}

impl<'a> JsonText<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self {
            text,
            plain: !text.contains('\\'),
        }
    }
}

impl<'a> Scan<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    /// Reads an object, and calls `member` with each member's name and value.
    pub(super) fn object(
        &mut self,
        mut member: impl FnMut(&'a str, JsonText<'a>) -> Option<()>,
    ) -> Option<()> {
        self.expect(b'{')?;
        if self.next_is(b'}') {
            return Some(());
        }
        loop {
            let name = self.name()?;
            member(name, self.value(DEPTH)?)?;
            if !self.goes_on(b'}')? {
                return Some(());
            }
        }
    }

    /// Returns whether only white space is left.
    pub(super) fn end(mut self) -> Option<()> {
        self.space();
        (self.at == self.text.len()).then_some(())
    }

    /// Reads the name of a member, which must have no escapes, and the colon after it.
    fn name(&mut self) -> Option<&'a str> {
        self.space();
        let from = self.at + 1;
        if !self.string()? {
            return None;
        }
        let name = self.text.get(from..self.at - 1)?;
        self.expect(b':')?;
        Some(name)
    }

    fn value(&mut self, depth: u32) -> Option<JsonText<'a>> {
        self.space();
        let from = self.at;
        let plain = self.skip(depth)?;
        let text = self.text.get(from..self.at)?;
        Some(JsonText { text, plain })
    }

    /// Skips a value; returns whether it is free of escapes.
    fn skip(&mut self, depth: u32) -> Option<bool> {
        match self.peek()? {
            b'"' => self.string(),
            b'{' => self.members(depth.checked_sub(1)?, b'}'),
            b'[' => self.members(depth.checked_sub(1)?, b']'),
            b't' => self.word(b"true"),
            b'f' => self.word(b"false"),
            b'n' => self.word(b"null"),
            _ => self.number(),
        }
    }

    /// Skips an object or a list.
    fn members(&mut self, depth: u32, end: u8) -> Option<bool> {
        self.at += 1;
        if self.next_is(end) {
            return Some(true);
        }
        let mut plain = true;
        loop {
            if end == b'}' {
                self.space();
                plain &= self.string()?;
                self.expect(b':')?;
            }
            self.space();
            plain &= self.skip(depth)?;
            if !self.goes_on(end)? {
                return Some(plain);
            }
        }
    }

    /// Skips a string; returns whether it is free of escapes.
    #[inline]
    fn string(&mut self) -> Option<bool> {
        self.take(b'"')?;
        self.at = plain_to(self.text.as_bytes(), self.at);
        match self.byte()? {
            b'"' => Some(true),
            b'\\' => self.escaped(),
            // A control character.
            _ => None,
        }
    }

    /// Skips the rest of a string after its first backslash.
    fn escaped(&mut self) -> Option<bool> {
        loop {
            self.escape()?;
            self.at = plain_to(self.text.as_bytes(), self.at);
            match self.byte()? {
                b'"' => return Some(false),
                b'\\' => {}
                _ => return None,
            }
        }
    }

    fn escape(&mut self) -> Option<()> {
        match self.byte()? {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Some(()),
            b'u' => {
                let digits = self.text.as_bytes().get(self.at..self.at + 4)?;
                self.at += 4;
                digits.iter().all(u8::is_ascii_hexdigit).then_some(())
            }
            _ => None,
        }
    }

    fn number(&mut self) -> Option<bool> {
        self.next_byte_is(b'-');
        if !self.next_byte_is(b'0') {
            self.digits()?;
        }
        if self.next_byte_is(b'.') {
            self.digits()?;
        }
        if self.next_byte_is(b'e') || self.next_byte_is(b'E') {
            let _ = self.next_byte_is(b'+') || self.next_byte_is(b'-');
            self.digits()?;
        }
        Some(true)
    }

    /// Skips one digit or more.
    #[inline]
    fn digits(&mut self) -> Option<()> {
        let rest = self.text.as_bytes().get(self.at..)?;
        let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        self.at += digits;
        (digits > 0).then_some(())
    }

    fn word(&mut self, word: &[u8]) -> Option<bool> {
        let rest = self.text.as_bytes().get(self.at..)?;
        self.at += word.len();
        rest.starts_with(word).then_some(true)
    }

    /// Returns whether a comma follows rather than the end.
    #[inline(always)]
    fn goes_on(&mut self, end: u8) -> Option<bool> {
        self.space();
        match self.byte()? {
            b',' => Some(true),
            byte if byte == end => Some(false),
            _ => None,
        }
    }

    #[inline(always)]
    fn expect(&mut self, byte: u8) -> Option<()> {
        self.space();
        self.take(byte)
    }

    #[inline(always)]
    fn next_is(&mut self, byte: u8) -> bool {
        self.space();
        self.next_byte_is(byte)
    }

    #[inline(always)]
    fn take(&mut self, byte: u8) -> Option<()> {
        self.next_byte_is(byte).then_some(())
    }

    #[inline(always)]
    fn next_byte_is(&mut self, byte: u8) -> bool {
        let is_it = self.peek() == Some(byte);
        self.at += usize::from(is_it);
        is_it
    }

    #[inline(always)]
    fn byte(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        Some(byte)
    }

    #[inline(always)]
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    #[inline(always)]
    fn space(&mut self) {
        // Most encoders write no white space.
        if self.peek().is_some_and(|byte| byte <= b' ') {
            self.spaces();
        }
    }

    #[cold]
    fn spaces(&mut self) {
        while let Some(b' ' | b'\n' | b'\t' | b'\r') = self.peek() {
            self.at += 1;
        }
    }
}

/// Returns the index, from `at` on, of the first byte that ends a string or must be escaped in one;
/// the length if there is none.
#[inline(always)]
fn plain_to(text: &[u8], mut at: usize) -> usize {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    const HIGH: u64 = u64::from_ne_bytes([0x80; 8]);
    // Check eight bytes at a time while that many are left.
    while let Some(word) = text.get(at..).and_then(<[u8]>::first_chunk::<8>) {
        let word = u64::from_le_bytes(*word);
        let quote = word ^ (ONES * b'"' as u64);
        let backslash = word ^ (ONES * b'\\' as u64);
        // Each term has the high bit of the first byte that is 0, or below a space; bytes above
        // 0x7f, which have it themselves, are none of these. A borrow reaches later bytes alone,
        // and the first counts.
        let ends = quote.wrapping_sub(ONES)
            | backslash.wrapping_sub(ONES)
            | word.wrapping_sub(ONES * b' ' as u64);
        let found = ends & !word & HIGH;
        if found != 0 {
            return at + found.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    let ends = |byte: &u8| *byte < b' ' || *byte == b'"' || *byte == b'\\';
    let rest = text.get(at..).unwrap_or_default();
    at + rest.iter().position(ends).unwrap_or(rest.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_part_ends_at_the_first_that_is_not() {
        for length in 0..40 {
            let text = "aé~ ".repeat(10);
            for stop in [b'"', b'\\', 0, 0x1f, b'\n'] {
                let mut bytes = text.as_bytes()[..length].to_vec();
                bytes.push(stop);
                bytes.extend_from_slice(b"\"\\\x01abcdefgh");
                assert_eq!(plain_to(&bytes, 0), length, "{bytes:?}");
            }
            assert_eq!(plain_to(&text.as_bytes()[..length], 0), length);
        }
    }
}
