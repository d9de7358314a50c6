use aqueduct_core::{Error, ErrorKind, Position, ReadFrom, Result, ResumeToken};

use crate::transport::From;

/// Where a reader is in its partition.
#[derive(Clone, Debug)]
pub(super) struct Place {
    /// Where it began.
    from: ReadFrom,
    /// The sequence number that comes next, if it is known.
    next: Option<i64>,
    /// The offset of the last event before `next`, if it is known.
    offset: Option<String>,
}

impl Place {
    /// # Errors
    /// `Invalid` for a position that is not one of Event Hubs.
    pub(super) fn new(from: ReadFrom, token: Option<&ResumeToken>) -> Result<Self> {
        let next = match from {
            ReadFrom::Earliest | ReadFrom::Time(_) => None,
            ReadFrom::At(position) => Some(sequence(position)?),
            ReadFrom::After(position) => Some(sequence(position)?.saturating_add(1)),
        };
        // A token belongs to the record that `After` names.
        let offset = token.filter(|_| matches!(from, ReadFrom::After(_)));
        Ok(Self {
            from,
            next,
            offset: offset.map(|it| it.as_str().to_owned()),
        })
    }

    /// Returns where a link begins that goes on from here. The offset comes first: with geo-replication
    /// a sequence number alone is not enough.
    pub(super) fn link_from(&self) -> From {
        match (&self.offset, self.next, self.from) {
            (Some(offset), _, _) => From::AfterOffset(offset.clone()),
            (None, Some(next), _) if next > 0 => From::AfterSequence(next - 1),
            (None, None, ReadFrom::Time(time)) => From::Time(time),
            (None, _, _) => From::Earliest,
        }
    }

    /// Returns the sequence number that comes next, if it is known.
    pub(super) fn next(&self) -> Option<i64> {
        self.next
    }

    /// Returns the place where the reader began, or the last event that it delivered.
    pub(super) fn shown(&self) -> String {
        match (self.from, self.next) {
            (ReadFrom::At(_), Some(next)) => format!("from:{next}"),
            (_, Some(next)) => format!("after:{}", next - 1),
            (from, None) => aqueduct_core::Checkpoint::Start(from).to_string(),
        }
    }

    /// Goes behind an event.
    pub(super) fn passed(&mut self, sequence: i64, offset: Option<&str>) {
        if let ReadFrom::At(position) = self.from {
            self.from = ReadFrom::After(position);
        }
        self.next = Some(sequence.saturating_add(1));
        self.offset = offset.map(str::to_owned);
    }
}

fn sequence(position: Position) -> Result<i64> {
    let number = position.sequence().and_then(|it| i64::try_from(it).ok());
    match number {
        Some(number) if position.sub() == 0 => Ok(number),
        _ => Err(Error::new(
            ErrorKind::Invalid,
            format!("invalid position {position} (expected a sequence number of Event Hubs)"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use aqueduct_core::Timestamp;

    use super::*;

    #[test]
    fn a_link_goes_on_after_the_last_event() {
        let seven = Position::new(7);
        let token = ResumeToken::new("geo:7");
        let place = |from| Place::new(from, Some(&token)).unwrap();
        assert_eq!(place(ReadFrom::Earliest).link_from(), From::Earliest);
        let time = Timestamp::from_millis(5);
        assert_eq!(place(ReadFrom::Time(time)).link_from(), From::Time(time));
        assert_eq!(
            place(ReadFrom::At(seven)).link_from(),
            From::AfterSequence(6)
        );
        let after = place(ReadFrom::After(seven));
        assert_eq!(after.link_from(), From::AfterOffset("geo:7".into()));
        let plain = Place::new(ReadFrom::After(seven), None).unwrap();
        assert_eq!(plain.link_from(), From::AfterSequence(7));

        let zero = Place::new(ReadFrom::At(Position::new(0)), None).unwrap();
        assert_eq!(zero.link_from(), From::Earliest);

        let mut going = place(ReadFrom::Earliest);
        going.passed(3, Some("geo:3"));
        assert_eq!(going.link_from(), From::AfterOffset("geo:3".into()));
        going.passed(4, None);
        assert_eq!(going.link_from(), From::AfterSequence(4));
        assert_eq!(going.shown(), "after:4");
    }

    #[test]
    fn a_position_of_another_backend_is_refused() {
        for position in [Position::new(u64::MAX), Position::new(1).with_sub(1)] {
            let error = Place::new(ReadFrom::At(position), None).unwrap_err();
            assert!(error.is(ErrorKind::Invalid));
        }
    }
}
