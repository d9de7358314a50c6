use aqueduct_core::{Error, ErrorKind, PartitionId};

use super::place::Place;
use crate::transport::PartitionProperties;

/// Returns the error if retention has removed the event that comes next at `place`.
///
/// A partition that was only quiet is not a gap: nothing was stored after the place, whatever the
/// service says about its first event then.
pub(super) fn check(
    properties: &PartitionProperties,
    place: &Place,
    hub: &str,
    partition: &PartitionId,
) -> Option<Error> {
    let next = place.next()?;
    let why = if next > properties.last.saturating_add(1) {
        format!(
            "is beyond the last event ({}): the hub was recreated",
            properties.last
        )
    } else if next > properties.last {
        return None;
    } else if properties.is_empty {
        format!(
            "is no longer kept, and so is none up to {}",
            properties.last
        )
    } else if properties.first > next {
        format!("is no longer kept, the oldest left is {}", properties.first)
    } else {
        return None;
    };
    Some(Error::new(
        ErrorKind::PositionExpired,
        format!("{hub}, partition {partition}: `{}` {why}", place.shown()),
    ))
}

#[cfg(test)]
mod tests {
    use aqueduct_core::{Position, ReadFrom};

    use super::*;

    fn verdict(first: i64, last: i64, is_empty: bool, from: ReadFrom) -> Option<String> {
        let properties = PartitionProperties {
            first,
            last,
            last_stored: None,
            is_empty,
        };
        let place = Place::new(from, None).unwrap();
        check(&properties, &place, "hub", &"3".into()).map(|error| error.to_string())
    }

    #[test]
    fn only_what_is_lost_is_a_gap() {
        let after = |sequence| ReadFrom::After(Position::new(sequence));
        let at = |sequence| ReadFrom::At(Position::new(sequence));
        for (first, last, is_empty, from) in [
            (0, 9, false, after(4)),
            (5, 9, false, after(4)),
            (5, 9, false, at(5)),
            (10, 9, true, after(9)),
            // Quiet for longer than retention: the service may name any first event.
            (0, 9, true, after(9)),
            (10, 9, true, at(10)),
            (0, -1, true, at(0)),
            (5, 9, false, ReadFrom::Earliest),
        ] {
            assert_eq!(verdict(first, last, is_empty, from), None, "{from:?}");
        }
        for (first, last, is_empty, from, expected) in [
            (
                6,
                9,
                false,
                after(4),
                "`after:4` is no longer kept, the oldest left is 6",
            ),
            (6, 9, false, at(5), "`from:5` is no longer kept"),
            (10, 9, true, after(8), "none up to 9"),
            (0, 3, false, after(4), "recreated"),
            (0, -1, true, after(0), "recreated"),
        ] {
            let error = verdict(first, last, is_empty, from).unwrap();
            assert!(error.contains(expected), "{error}");
        }
    }
}
