use std::collections::BTreeMap;
use std::sync::Mutex;

use async_trait::async_trait;
use proptest::prelude::*;

use super::{LeaseRows, RowLeases, RowWrite, rules};
use crate::sync::lock;
use crate::{
    Checkpoint, GroupKey, GroupRecord, Lease, LeaseStore, OwnerId, PartitionId, Position, ReadFrom,
    Result, SmallStr, Swap,
};

const OWNERS: [&str; 3] = ["a", "b", "c"];
const PARTITIONS: [&str; 2] = ["p0", "p1"];

/// An action of a member. The first number chooses one of the rows read last, which may be out of date.
#[derive(Clone, Debug)]
enum Step {
    Create(usize),
    Read(usize),
    Take(usize, usize),
    Release(usize),
    Transfer(usize),
    Commit(usize, u64),
    Request(usize, usize),
    Withdraw(usize, usize),
    Delete(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let (row, owner) = (0usize..6, 0..OWNERS.len());
    prop_oneof![
        1 => (0..PARTITIONS.len()).prop_map(Step::Create),
        3 => (0..PARTITIONS.len()).prop_map(Step::Read),
        3 => (row.clone(), owner.clone()).prop_map(|(row, owner)| Step::Take(row, owner)),
        1 => row.clone().prop_map(Step::Release),
        3 => row.clone().prop_map(Step::Transfer),
        3 => (row.clone(), 1u64..9).prop_map(|(row, to)| Step::Commit(row, to)),
        3 => (row.clone(), owner.clone()).prop_map(|(row, owner)| Step::Request(row, owner)),
        2 => (row.clone(), owner).prop_map(|(row, owner)| Step::Withdraw(row, owner)),
        1 => row.prop_map(Step::Delete),
    ]
}

/// The naive model of one partition: the rules as a user would tell them, in plain fields.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Plain {
    owner: Option<OwnerId>,
    generation: u64,
    counter: u64,
    nonce: u64,
    wanted_by: Option<OwnerId>,
    settled: u64,
}

impl Plain {
    fn of(lease: &Lease) -> Self {
        let settled = match lease.checkpoint {
            Checkpoint::At(position) => position.sequence().unwrap(),
            _ => 0,
        };
        Self {
            owner: lease.owner.clone(),
            generation: lease.generation,
            counter: lease.counter,
            nonce: lease.nonce,
            wanted_by: lease.wanted_by.clone(),
            settled,
        }
    }

    /// Whether no owner has written since `read` was read.
    fn stands_as(&self, read: &Self) -> bool {
        (&self.owner, self.generation, self.counter, self.nonce)
            == (&read.owner, read.generation, read.counter, read.nonce)
    }

    fn take(&mut self, read: &Self, by: &OwnerId) -> bool {
        let taken = self.stands_as(read);
        let own = self.owner.as_ref() == Some(by);
        if taken {
            self.owner = Some(by.clone());
            self.generation += 1;
            self.counter += 1;
            // One that retakes its own lease still owes it to a member that asked meanwhile.
            if !own || self.wanted_by == read.wanted_by {
                self.wanted_by = None;
            }
        }
        taken
    }

    fn release(&mut self, read: &Self) -> bool {
        let released = self.stands_as(read);
        if released {
            // One that was free already stays wanted if a member has asked since.
            if self.owner.is_some() || self.wanted_by == read.wanted_by {
                self.wanted_by = None;
            }
            self.owner = None;
            self.counter += 1;
        }
        released
    }

    /// Gives it to the member that asks in `read`, unless it asks no longer.
    fn transfer(&mut self, read: &Self) -> bool {
        let given = self.stands_as(read) && self.wanted_by == read.wanted_by;
        if given {
            self.owner.clone_from(&read.wanted_by);
            self.generation += 1;
            self.counter += 1;
            self.wanted_by = None;
        }
        given
    }

    fn commit(&mut self, read: &Self, settled: u64) -> bool {
        let committed = self.stands_as(read);
        if committed {
            // A request or its withdrawal is not undone, whatever the owner has read.
            self.settled = settled;
            self.counter += 1;
        }
        committed
    }

    fn request(&mut self, read: &Self, by: &OwnerId) {
        if self.generation == read.generation && self.wanted_by.is_none() {
            self.wanted_by = Some(by.clone());
        }
    }

    fn withdraw(&mut self, read: &Self, by: &OwnerId) {
        if self.generation == read.generation && self.wanted_by.as_ref() == Some(by) {
            self.wanted_by = None;
        }
    }
}

/// Rows in a map, with a version that rises with each write.
#[derive(Default)]
struct Rows(Mutex<(BTreeMap<PartitionId, Lease>, u64)>);

#[async_trait]
impl LeaseRows for Rows {
    async fn list(&self, _: &GroupKey, _: &[Lease]) -> Result<Vec<Lease>> {
        Ok(lock(&self.0).0.values().cloned().collect())
    }

    async fn get(&self, _: &GroupKey, partition: &PartitionId) -> Result<Option<Lease>> {
        Ok(lock(&self.0).0.get(partition).cloned())
    }

    async fn put(&self, _: &GroupKey, replaces: Option<&Lease>, row: Lease) -> Result<RowWrite> {
        let mut inner = lock(&self.0);
        let (rows, writes) = &mut *inner;
        let stored = rows.get(&row.partition);
        let expected = match (stored, replaces) {
            (Some(stored), Some(replaced)) => rules::is_unchanged(stored, replaced),
            (stored, replaced) => stored.is_none() && replaced.is_none(),
        };
        if !expected {
            return Ok(RowWrite::Changed(stored.cloned()));
        }
        *writes += 1;
        let mut row = row;
        row.version = SmallStr::from(writes.to_string());
        rows.insert(row.partition.clone(), row.clone());
        Ok(RowWrite::Applied(row))
    }

    async fn delete(&self, _: &GroupKey, row: &Lease) -> Result<RowWrite> {
        let rows = &mut lock(&self.0).0;
        match rows.get(&row.partition) {
            Some(stored) if rules::is_unchanged(stored, row) => {
                let gone = rows.remove(&row.partition);
                Ok(RowWrite::Applied(gone.unwrap()))
            }
            stored => Ok(RowWrite::Changed(stored.cloned())),
        }
    }

    async fn group(&self, _: &GroupKey) -> Result<Option<GroupRecord>> {
        Ok(None)
    }

    async fn put_group(
        &self,
        _: &GroupKey,
        _: Option<u64>,
        record: GroupRecord,
    ) -> Result<Option<GroupRecord>> {
        Ok(Some(record))
    }
}

/// The model, and every row that was read.
#[derive(Default)]
struct Run {
    model: BTreeMap<PartitionId, Plain>,
    read: Vec<Lease>,
    nonce: u64,
}

impl Run {
    async fn take_step(
        &mut self,
        store: &RowLeases<Rows>,
        key: &GroupKey,
        step: Step,
    ) -> std::result::Result<(), TestCaseError> {
        match step {
            Step::Create(at) => {
                let start = Checkpoint::Start(ReadFrom::Earliest);
                let mut lease = Lease::new(PARTITIONS[at].into(), start);
                self.nonce += 1;
                lease.nonce = self.nonce;
                let model = self.model.entry(PARTITIONS[at].into());
                let model = model.or_insert_with(|| Plain::of(&lease)).clone();
                let stored = store.create(key, lease).await.unwrap();
                prop_assert_eq!(Plain::of(&stored), model);
                self.read.push(stored);
            }
            Step::Read(at) => {
                let partition = PartitionId::from(PARTITIONS[at]);
                let stored = store.read(key, &partition).await.unwrap();
                let model = self.model.get(&partition).cloned();
                prop_assert_eq!(stored.as_ref().map(Plain::of), model);
                self.read.extend(stored);
            }
            Step::Take(at, owner) => {
                let Some((current, mut next)) = self.next_of(at) else {
                    return Ok(());
                };
                let by = OwnerId::from(OWNERS[owner]);
                next.owner = Some(by.clone());
                next.generation += 1;
                next.wanted_by = None;
                // Taking it in one's own favour is a hand-off if the member has asked.
                let handed = current.owner.is_some()
                    && current.owner != next.owner
                    && current.wanted_by == next.owner;
                let expected = self.expect(&current, |model, read| match handed {
                    true => model.transfer(read),
                    false => model.take(read, &by),
                });
                self.check_swap(store.swap(key, &current, next).await.unwrap(), expected)?;
            }
            Step::Release(at) => {
                let Some((current, mut next)) = self.next_of(at) else {
                    return Ok(());
                };
                next.owner = None;
                next.wanted_by = None;
                let expected = self.expect(&current, Plain::release);
                self.check_swap(store.swap(key, &current, next).await.unwrap(), expected)?;
            }
            Step::Transfer(at) => {
                let Some((current, mut next)) = self.next_of(at) else {
                    return Ok(());
                };
                if current.owner.is_none()
                    || current.wanted_by.is_none()
                    || current.wanted_by == current.owner
                {
                    return Ok(());
                }
                next.owner.clone_from(&current.wanted_by);
                next.generation += 1;
                next.wanted_by = None;
                let expected = self.expect(&current, Plain::transfer);
                self.check_swap(store.swap(key, &current, next).await.unwrap(), expected)?;
            }
            Step::Commit(at, settled) => {
                let Some((current, mut next)) = self.next_of(at) else {
                    return Ok(());
                };
                next.checkpoint = Checkpoint::At(Position::new(settled));
                let expected = self.expect(&current, |model, read| model.commit(read, settled));
                self.check_swap(store.commit(key, &current, next).await.unwrap(), expected)?;
            }
            Step::Request(at, owner) => {
                let Some((current, _)) = self.next_of(at) else {
                    return Ok(());
                };
                let by = OwnerId::from(OWNERS[owner]);
                if let Some(model) = self.model.get_mut(&current.partition) {
                    model.request(&Plain::of(&current), &by);
                }
                let row = store.request(key, &current, &by).await.unwrap();
                self.check_row(&current.partition, row)?;
            }
            Step::Withdraw(at, owner) => {
                let Some((current, _)) = self.next_of(at) else {
                    return Ok(());
                };
                let by = OwnerId::from(OWNERS[owner]);
                if let Some(model) = self.model.get_mut(&current.partition) {
                    model.withdraw(&Plain::of(&current), &by);
                }
                let row = store.withdraw(key, &current, &by).await.unwrap();
                self.check_row(&current.partition, row)?;
            }
            Step::Delete(at) => {
                let Some((current, _)) = self.next_of(at) else {
                    return Ok(());
                };
                let model = self.model.get(&current.partition).cloned();
                let goes = model.is_some_and(|model| model.stands_as(&Plain::of(&current)));
                if goes {
                    self.model.remove(&current.partition);
                }
                let deleted = store.delete(key, &current).await.unwrap();
                prop_assert_eq!(matches!(deleted, Swap::Swapped(_)), goes);
            }
        }
        Ok(())
    }

    /// Returns a row that was read and a renewal of it.
    fn next_of(&mut self, at: usize) -> Option<(Lease, Lease)> {
        let newest = self.read.len().checked_sub(1)?;
        let current = self.read[newest.saturating_sub(at)].clone();
        self.nonce += 1;
        let mut next = current.clone();
        next.counter += 1;
        next.nonce = self.nonce;
        Some((current, next))
    }

    /// Applies a write to the model; returns the partition and whether the write counts.
    fn expect(
        &mut self,
        current: &Lease,
        write: impl FnOnce(&mut Plain, &Plain) -> bool,
    ) -> (PartitionId, bool) {
        let read = Plain::of(current);
        let nonce = self.nonce;
        let model = self.model.get_mut(&current.partition);
        let counts = model.is_some_and(|model| {
            let counts = write(model, &read);
            if counts {
                model.nonce = nonce;
            }
            counts
        });
        (current.partition.clone(), counts)
    }

    fn check_swap(
        &mut self,
        swap: Swap,
        (partition, counts): (PartitionId, bool),
    ) -> std::result::Result<(), TestCaseError> {
        let (swapped, row) = match swap {
            Swap::Swapped(row) => (true, Some(row)),
            Swap::Lost(row) => (false, row),
        };
        prop_assert_eq!(swapped, counts);
        self.check_row(&partition, row)
    }

    /// Checks that the store returned the row as it stands.
    fn check_row(
        &mut self,
        partition: &PartitionId,
        row: Option<Lease>,
    ) -> std::result::Result<(), TestCaseError> {
        let model = self.model.get(partition).cloned();
        prop_assert_eq!(row.as_ref().map(Plain::of), model);
        self.read.extend(row);
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn rows_follow_the_rules_whatever_members_have_read(
        steps in prop::collection::vec(step(), 1..60),
    ) {
        let (store, key) = (RowLeases::new(Rows::default()), GroupKey::new("group", "stream"));
        let mut run = Run::default();
        for step in steps {
            futures::executor::block_on(run.take_step(&store, &key, step))?;
        }
    }
}
