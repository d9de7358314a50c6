use aqueduct_core::HashRange;

/// The open partitions and their parts of the key space, sorted and without gaps.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ranges {
    firsts: Vec<u128>,
    partitions: Vec<usize>,
}

impl Ranges {
    pub(crate) fn new(mut open: Vec<(HashRange, usize)>) -> Self {
        open.sort_unstable();
        Self {
            firsts: open.iter().map(|(range, _)| range.first).collect(),
            partitions: open.into_iter().map(|(_, partition)| partition).collect(),
        }
    }

    /// Returns the partition for keys of that hash.
    pub(crate) fn find(&self, hash: u128) -> usize {
        let behind = self.firsts.partition_point(|first| *first <= hash);
        self.nth(behind.saturating_sub(1))
    }

    /// Returns the `n`th open partition, modulo their number.
    pub(crate) fn nth(&self, n: usize) -> usize {
        match self.partitions.len() {
            0 => 0,
            count => self.partitions[n % count],
        }
    }

    /// Returns all open partitions.
    pub(crate) fn partitions(&self) -> &[usize] {
        &self.partitions
    }
}

/// Divides the key space into `count` equal parts.
pub(crate) fn split_evenly(count: u32) -> Vec<HashRange> {
    let count = u128::from(count.max(1));
    let width = u128::MAX / count;
    (0..count)
        .map(|part| HashRange {
            first: part * width + part.min(u128::MAX % count + 1),
            last: match part + 1 {
                next if next == count => u128::MAX,
                next => next * width + next.min(u128::MAX % count + 1) - 1,
            },
        })
        .collect()
}

/// A range of the new layout, and the partitions that it is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) range: HashRange,
    pub(crate) parents: Vec<usize>,
    /// Returns whether it is an unchanged partition.
    pub(crate) kept: bool,
}

/// Splits the widest ranges, or merges the narrowest neighbours, until there are `count`. Other
/// ranges are unchanged.
pub(crate) fn reshape(mut open: Vec<(HashRange, usize)>, count: usize) -> Vec<Piece> {
    open.sort_unstable();
    let mut pieces: Vec<Piece> = open
        .into_iter()
        .map(|(range, partition)| Piece {
            range,
            parents: vec![partition],
            kept: true,
        })
        .collect();
    while pieces.len() < count {
        let Some(widest) = (0..pieces.len())
            .rev()
            .max_by_key(|&at| width(pieces[at].range))
        else {
            break;
        };
        let HashRange { first, last } = pieces[widest].range;
        if first == last {
            break;
        }
        let middle = first + (last - first) / 2;
        pieces[widest].kept = false;
        pieces[widest].range.last = middle;
        let mut upper = pieces[widest].clone();
        upper.range = HashRange {
            first: middle + 1,
            last,
        };
        pieces.insert(widest + 1, upper);
    }
    while pieces.len() > count.max(1) {
        let sum = |at: usize| width(pieces[at].range).saturating_add(width(pieces[at + 1].range));
        let Some(narrowest) = (0..pieces.len() - 1).min_by_key(|&at| sum(at)) else {
            break;
        };
        let upper = pieces.remove(narrowest + 1);
        let lower = &mut pieces[narrowest];
        lower.kept = false;
        lower.range.last = upper.range.last;
        lower.parents.extend(upper.parents);
    }
    pieces
}

fn width(range: HashRange) -> u128 {
    range.last - range.first
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn covers_everything(ranges: &[HashRange]) -> bool {
        ranges.first().is_some_and(|range| range.first == 0)
            && ranges.last().is_some_and(|range| range.last == u128::MAX)
            && ranges
                .windows(2)
                .all(|pair| pair[0].last.checked_add(1) == Some(pair[1].first))
    }

    proptest! {
        #[test]
        fn every_hash_has_one_partition(before in 1u32..40, after in 1usize..40, hash: u128) {
            let ranges = split_evenly(before);
            prop_assert_eq!(ranges.len(), before as usize);
            prop_assert!(covers_everything(&ranges));
            let open: Vec<_> = ranges.into_iter().zip(0..).collect();
            let found = Ranges::new(open.clone()).find(hash);
            prop_assert!(open[found].0.contains(hash));

            let pieces = reshape(open.clone(), after);
            prop_assert_eq!(pieces.len(), after);
            prop_assert!(covers_everything(&pieces.iter().map(|it| it.range).collect::<Vec<_>>()));
            for piece in pieces {
                let overlapping: Vec<_> = open
                    .iter()
                    .filter(|(range, _)| range.first <= piece.range.last && piece.range.first <= range.last)
                    .map(|(_, partition)| *partition)
                    .collect();
                prop_assert_eq!(piece.kept, open.contains(&(piece.range, piece.parents[0])));
                prop_assert_eq!(piece.parents, overlapping);
            }
        }
    }
}
