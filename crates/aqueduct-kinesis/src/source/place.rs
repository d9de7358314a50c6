use aqueduct_core::{Position, ReadFrom, Timestamp};
use aws_sdk_kinesis::error::BuildError;
use aws_sdk_kinesis::primitives::DateTime;
use aws_sdk_kinesis::types::{ShardIteratorType, StartingPosition};

/// The place in a shard at which the service is asked to go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// At the oldest record kept.
    Horizon,
    /// At the first record stored at or after a time in the past.
    Time(Timestamp),
    /// At that sequence number, inclusive.
    Sequence(String),
}

impl Place {
    /// Returns a place at or before everything that `from` asks for. A position may be within an
    /// aggregated record, so its record is read again.
    pub(super) fn before(from: ReadFrom) -> Self {
        match from {
            ReadFrom::Earliest => Self::Horizon,
            ReadFrom::Time(time) => Self::Time(time),
            ReadFrom::At(position) | ReadFrom::After(position) => {
                Self::Sequence(position.sequence_text())
            }
        }
    }

    pub(super) fn kind(&self) -> ShardIteratorType {
        match self {
            Self::Horizon => ShardIteratorType::TrimHorizon,
            Self::Time(_) => ShardIteratorType::AtTimestamp,
            Self::Sequence(_) => ShardIteratorType::AtSequenceNumber,
        }
    }

    pub(super) fn sequence(&self) -> Option<String> {
        match self {
            Self::Sequence(sequence) => Some(sequence.clone()),
            _ => None,
        }
    }

    /// Returns its time, at most `now`: the service rejects times in the future.
    pub(super) fn time(&self, now: Timestamp) -> Option<DateTime> {
        match self {
            Self::Time(time) => Some(DateTime::from_millis((*time).min(now).as_millis())),
            _ => None,
        }
    }

    /// Returns the place as the starting position of a subscription.
    pub(super) fn starting_position(&self, now: Timestamp) -> Result<StartingPosition, BuildError> {
        StartingPosition::builder()
            .r#type(self.kind())
            .set_sequence_number(self.sequence())
            .set_timestamp(self.time(now))
            .build()
    }
}

/// The read cursor: decides which of the fetched records are still to be returned.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    from: ReadFrom,
    /// The position up to which everything was returned.
    answered: Option<Position>,
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

impl Wanted {
    pub(super) fn new(from: ReadFrom) -> Self {
        Self {
            from,
            answered: None,
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
        self.answered.or(before).map(|last| last.with_sub(0))
    }

    /// Compares the first record fetched with the expected one.
    pub(super) fn first(&self, sequence: Position) -> First {
        match self.expected() {
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
        let fresh = match (self.answered, self.from) {
            (Some(answered), _) => position > answered,
            (None, ReadFrom::At(first)) => position >= first,
            (None, ReadFrom::After(last)) => position > last,
            (None, _) => true,
        };
        if fresh {
            self.answered = Some(position);
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
        let mut wanted = Wanted::new(ReadFrom::After(position(7, 1)));
        assert_eq!(wanted.first(position(7, 0)), First::Fits);
        let taken = [(7, 0), (7, 1), (7, 2), (7, 2), (8, 0)].map(|(sequence, sub)| {
            wanted.skips(None);
            wanted.takes(position(sequence, sub))
        });
        assert_eq!(taken, [false, false, true, false, true]);
        assert!(Wanted::new(ReadFrom::At(position(7, 1))).takes(position(7, 1)));
        assert!(!Wanted::new(ReadFrom::At(position(7, 1))).takes(position(7, 0)));
    }

    #[test]
    fn a_record_that_is_gone_shows_by_the_first_that_comes() {
        for from in [
            ReadFrom::After(position(7, 3)),
            ReadFrom::At(position(7, 3)),
        ] {
            let mut wanted = Wanted::new(from);
            assert_eq!(wanted.first(position(8, 0)), First::Behind);
            assert_eq!(wanted.first(position(7, 0)), First::Fits);
            wanted.skips(None);
            assert_eq!(wanted.first(position(8, 0)), First::Fits);
        }
        assert_eq!(
            Wanted::new(ReadFrom::Earliest).first(position(8, 0)),
            First::Fits
        );
    }

    #[test]
    fn only_leading_records_are_too_early() {
        let at = Timestamp::from_millis;
        let mut wanted = Wanted::new(ReadFrom::Time(at(1000)));
        let skipped = [999, 1000, 999].map(|time| wanted.skips(Some(at(time))));
        assert_eq!(skipped, [true, false, false]);
    }
}
