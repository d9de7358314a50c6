use aqueduct_core::{Position, ReadFrom, Timestamp};
use aws_sdk_kinesis::error::BuildError;
use aws_sdk_kinesis::primitives::DateTime;
use aws_sdk_kinesis::types::{ShardIteratorType, StartingPosition};

/// Where in a shard the service is asked to go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// With the oldest record kept.
    Horizon,
    /// With the first record stored at or after that time, which has come.
    Time(Timestamp),
    /// With that sequence number, itself included.
    Sequence(String),
}

impl Place {
    /// The place that surely lies before all that `from` asks for. A position may lie within an
    /// aggregated record, so that its record is asked for again.
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

    /// Its time, at most `now`: the service refuses the future.
    pub(super) fn time(&self, now: Timestamp) -> Option<DateTime> {
        match self {
            Self::Time(time) => Some(DateTime::from_millis((*time).min(now).as_millis())),
            _ => None,
        }
    }

    /// The same as a subscription has it.
    pub(super) fn starting_position(&self, now: Timestamp) -> Result<StartingPosition, BuildError> {
        StartingPosition::builder()
            .r#type(self.kind())
            .set_sequence_number(self.sequence())
            .set_timestamp(self.time(now))
            .build()
    }
}

/// What of the records that come is wanted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    from: ReadFrom,
    /// Up to here everything was answered.
    answered: Option<Position>,
    /// Nothing has come yet.
    begins: bool,
}

/// What the first record shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum First {
    /// The place is there, or none was asked for that could be gone.
    Fits,
    /// The record asked for is gone, and this is the first one left.
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

    /// Where it began.
    pub(super) fn from(&self) -> ReadFrom {
        self.from
    }

    /// The record that must come first.
    pub(super) fn expected(&self) -> Option<Position> {
        match self.from {
            ReadFrom::At(position) | ReadFrom::After(position) if self.begins => {
                Some(position.with_sub(0))
            }
            _ => None,
        }
    }

    /// The sequence number of the last record that was answered, or that stood before those.
    pub(super) fn last_sequence(&self) -> Option<Position> {
        let before = match self.from {
            ReadFrom::After(position) if !self.begins => Some(position),
            _ => None,
        };
        self.answered.or(before).map(|last| last.with_sub(0))
    }

    /// Compares the first record with the one that was asked for.
    pub(super) fn first(&self, sequence: Position) -> First {
        match self.expected() {
            Some(expected) if sequence > expected => First::Behind,
            _ => First::Fits,
        }
    }

    /// Whether a whole record is left out: it was stored before the time to begin at.
    pub(super) fn skips(&mut self, stored_at: Option<Timestamp>) -> bool {
        if let (true, ReadFrom::Time(time), Some(stored_at)) = (self.begins, self.from, stored_at)
            && stored_at.as_millis() < time.as_millis()
        {
            return true;
        }
        self.begins = false;
        false
    }

    /// Whether what lies at `position` is still to be answered; notes it as answered then.
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
