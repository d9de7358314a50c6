use std::collections::VecDeque;

use aqueduct_core::{Position, ResumeToken};

/// The resume tokens from the ack floor to the last record fetched (rule 17).
///
/// Records without a token leave no entry, so a service that resumes by position pays nothing.
#[derive(Debug, Default)]
pub(super) struct Tokens {
    /// The last one at or below the ack floor.
    settled: Option<(Position, ResumeToken)>,
    /// Those above the ack floor, in the order of their positions.
    ahead: VecDeque<(Position, ResumeToken)>,
}

impl Tokens {
    /// Starts behind the record at `floor`, whose token is `token`.
    pub(super) fn starting_at(floor: Option<Position>, token: Option<ResumeToken>) -> Self {
        Self {
            settled: floor.zip(token),
            ahead: VecDeque::new(),
        }
    }

    pub(super) fn fetched(&mut self, position: Position, token: ResumeToken) {
        self.ahead.push_back((position, token));
    }

    /// Moves the ack floor to `floor`.
    #[inline]
    pub(super) fn settled_to(&mut self, floor: Position) {
        while let Some((position, _)) = self.ahead.front()
            && *position <= floor
        {
            self.settled = self.ahead.pop_front();
        }
    }

    /// Returns the token of the record at `position`, which is the ack floor or the last record
    /// fetched. A token of another record would resume at the wrong place.
    pub(super) fn at(&self, position: Position) -> Option<&ResumeToken> {
        let ends = [self.ahead.back(), self.settled.as_ref()];
        let mut found = ends.into_iter().flatten();
        found
            .find(|(of, _)| *of == position)
            .map(|(_, token)| token)
    }

    /// Forgets the records that are not settled.
    pub(super) fn revoke(&mut self) {
        self.ahead = VecDeque::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(sequence: u64) -> Position {
        Position::new(sequence)
    }

    fn text(tokens: &Tokens, sequence: u64) -> Option<&str> {
        tokens.at(place(sequence)).map(ResumeToken::as_str)
    }

    #[test]
    fn the_floor_and_the_last_record_keep_their_own_tokens() {
        let mut tokens = Tokens::starting_at(Some(place(3)), Some(ResumeToken::new("c")));
        assert_eq!(text(&tokens, 3), Some("c"));
        tokens.fetched(place(4), ResumeToken::new("d"));
        tokens.fetched(place(6), ResumeToken::new("f"));
        assert_eq!((text(&tokens, 3), text(&tokens, 6)), (Some("c"), Some("f")));
        tokens.settled_to(place(4));
        assert_eq!((text(&tokens, 4), text(&tokens, 6)), (Some("d"), Some("f")));
    }

    #[test]
    fn a_record_without_a_token_does_not_take_that_of_another() {
        let mut tokens = Tokens::default();
        tokens.fetched(place(1), ResumeToken::new("a"));
        tokens.settled_to(place(2));
        assert_eq!(text(&tokens, 2), None);
        tokens.fetched(place(3), ResumeToken::new("c"));
        tokens.revoke();
        assert_eq!((text(&tokens, 3), text(&tokens, 1)), (None, Some("a")));
    }
}
