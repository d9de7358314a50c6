use aqueduct_core::{Position, ReadFrom, Timestamp};

/// Decides which of the fetched records are still to be returned.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cursor {
    from: ReadFrom,
    /// The position up to which everything was returned.
    returned: Option<Position>,
    /// Whether no record has been fetched yet.
    begins: bool,
}

/// How the first record fetched compares with the expected one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum First {
    /// The expected record is there, or none was expected.
    Fits,
    /// The expected record has expired, and this is the oldest one left.
    Behind,
}

impl Cursor {
    pub(super) fn new(from: ReadFrom) -> Self {
        Self {
            from,
            returned: None,
            begins: true,
        }
    }

    /// Returns the start that was asked for.
    pub(super) fn from(&self) -> ReadFrom {
        self.from
    }

    /// Returns the position of the record that must be fetched first.
    pub(super) fn expected(&self) -> Option<Position> {
        match self.from {
            ReadFrom::At(position) | ReadFrom::After(position) if self.begins => {
                Some(position.with_sub(0))
            }
            _ => None,
        }
    }

    /// Returns the sequence number of the last record returned, or of the one before the start.
    pub(super) fn last_sequence(&self) -> Option<Position> {
        let before = match self.from {
            ReadFrom::After(position) if !self.begins => Some(position),
            _ => None,
        };
        self.returned.or(before).map(|last| last.with_sub(0))
    }

    /// Compares the first record of a response with the expected one: the start, or later the record
    /// at which a renewed iterator or subscription resumed. That one was fetched before, so it comes
    /// again unless retention has removed it, and what followed it may be gone too.
    pub(super) fn first(&self, sequence: Position, resumed_at: Option<Position>) -> First {
        match self.expected().or(resumed_at) {
            Some(expected) if sequence > expected => First::Behind,
            _ => First::Fits,
        }
    }

    /// Returns whether a whole record is skipped because it was stored before the start time.
    pub(super) fn skips(&mut self, stored_at: Option<Timestamp>) -> bool {
        if let (true, ReadFrom::Time(time), Some(stored_at)) = (self.begins, self.from, stored_at)
            && stored_at.as_millis() < time.as_millis()
        {
            return true;
        }
        self.begins = false;
        false
    }

    /// Returns whether the event at `position` is still to be returned, and if so notes it as returned.
    pub(super) fn takes(&mut self, position: Position) -> bool {
        let fresh = match (self.returned, self.from) {
            (Some(returned), _) => position > returned,
            (None, ReadFrom::At(first)) => position >= first,
            (None, ReadFrom::After(last)) => position > last,
            (None, _) => true,
        };
        if fresh {
            self.returned = Some(position);
        }
        fresh
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn position(sequence: u64, sub: u64) -> Position {
        Position::new(sequence).with_sub(sub)
    }

    #[test]
    fn a_start_within_an_aggregate_takes_what_lies_behind_it() {
        let mut cursor = Cursor::new(ReadFrom::After(position(7, 1)));
        assert_eq!(cursor.first(position(7, 0), None), First::Fits);
        let taken = [(7, 0), (7, 1), (7, 2), (7, 2), (8, 0)].map(|(sequence, sub)| {
            cursor.skips(None);
            cursor.takes(position(sequence, sub))
        });
        assert_eq!(taken, [false, false, true, false, true]);
        assert!(Cursor::new(ReadFrom::At(position(7, 1))).takes(position(7, 1)));
        assert!(!Cursor::new(ReadFrom::At(position(7, 1))).takes(position(7, 0)));
    }

    #[test]
    fn a_record_that_is_gone_shows_by_the_first_that_comes() {
        for from in [
            ReadFrom::After(position(7, 3)),
            ReadFrom::At(position(7, 3)),
        ] {
            let mut cursor = Cursor::new(from);
            assert_eq!(cursor.first(position(8, 0), None), First::Behind);
            assert_eq!(cursor.first(position(7, 0), None), First::Fits);
            cursor.skips(None);
            assert_eq!(cursor.first(position(8, 0), None), First::Fits);
        }
        assert_eq!(
            Cursor::new(ReadFrom::Earliest).first(position(8, 0), None),
            First::Fits
        );
    }

    #[test]
    fn a_running_reader_compares_where_fetching_resumed() {
        let mut cursor = Cursor::new(ReadFrom::After(position(3, 0)));
        cursor.skips(None);
        assert!(cursor.takes(position(7, 0)));
        let resumed = Some(position(7, 0));
        assert_eq!(cursor.first(position(7, 0), resumed), First::Fits);
        assert_eq!(cursor.first(position(9, 0), resumed), First::Behind);
        assert_eq!(cursor.first(position(9, 0), None), First::Fits);
        // Before the first record, the start that was asked for counts.
        let begins = Cursor::new(ReadFrom::After(position(3, 0)));
        assert_eq!(begins.first(position(7, 0), resumed), First::Behind);
    }

    #[test]
    fn only_leading_records_are_too_early() {
        let at = Timestamp::from_millis;
        let mut cursor = Cursor::new(ReadFrom::Time(at(1000)));
        let skipped = [999, 1000, 999].map(|time| cursor.skips(Some(at(time))));
        assert_eq!(skipped, [true, false, false]);
    }
}
