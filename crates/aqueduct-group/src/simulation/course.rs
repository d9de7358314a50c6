use std::collections::BTreeMap;
use std::time::Duration;

use aqueduct_core::{Checkpoint, OwnerId};

use super::schedule::Action;
use super::world::World;

/// The time after the last fault within which the group must have recovered.
const PATIENCE: Duration = Duration::from_secs(3_600);

impl World {
    pub(super) fn produce(&mut self) {
        let keyed = self.rng.below(8) > 0;
        let key = self.rng.below(self.scenario.keys);
        let home = if keyed {
            self.output.homes[key].clone()
        } else {
            let open = self.log.open();
            open[self.rng.below(open.len())].clone()
        };
        self.output.produced += 1;
        let poison = self.scenario.poison > 0 && self.output.produced == self.scenario.events / 3;
        self.log.append(keyed.then_some(key), &home, poison);
        self.check.appended();
    }

    pub(super) fn reshard(&mut self) {
        let mut open = self.log.open();
        self.rng.shuffle(&mut open);
        let merge = open.len() > 1 && self.rng.below(2) == 0;
        let parents = &open[..if merge { 2 } else { 1 }];
        let children = self.log.reshard(parents, if merge { 1 } else { 2 });
        for (key, home) in self.output.homes.iter_mut().enumerate() {
            if parents.contains(home) {
                *home = children[key % children.len()].clone();
            }
        }
    }

    /// Ends the run once the group has recovered, and fails it if that takes too long.
    pub(super) fn look(&mut self) -> Result<(), String> {
        for (id, partition) in &mut self.log.partitions {
            let row = self.store.rows.get(id);
            if partition.closed && row.is_some_and(|row| row.checkpoint == Checkpoint::End) {
                partition.listed = false;
            }
        }
        let open = self.unfinished();
        if open.is_none() {
            self.agenda.done = true;
            return Ok(());
        }
        if self.now.elapsed_since_origin() > self.scenario.trouble + PATIENCE {
            return Err(format!(
                "not finished an hour after the last fault: {}; events {:?}; rows {:#?}",
                open.unwrap_or_default(),
                self.check.unsettled(),
                self.store.rows
            ));
        }
        self.after(Duration::from_secs(5), Action::Look);
        Ok(())
    }

    fn unfinished(&self) -> Option<String> {
        if !self.check.is_all_settled() {
            return Some("not all is settled".to_owned());
        }
        if !self.check.poison_is_buried(&self.log) {
            return Some("a poisonous event did not become a dead letter".to_owned());
        }
        for (id, partition) in &self.log.partitions {
            let Some(row) = self.store.rows.get(id) else {
                continue;
            };
            let all = partition.events.len();
            let done = settled_to(row.checkpoint) >= all;
            if !done || (partition.closed && row.checkpoint != Checkpoint::End) {
                return Some(format!("{id} is not committed to its end"));
            }
        }
        let mut counts: BTreeMap<&OwnerId, usize> = BTreeMap::new();
        for process in &self.processes {
            if process.alive && !process.leaving {
                counts.insert(&process.owner, 0);
            } else if process.alive {
                return Some("a member has not left".to_owned());
            }
        }
        for row in self.store.rows.values() {
            if row.checkpoint == Checkpoint::End {
                continue;
            }
            match row.owner.as_ref().and_then(|owner| counts.get_mut(owner)) {
                Some(count) => *count += 1,
                None => return Some(format!("{} is not owned", row.partition)),
            }
        }
        let (least, most) = (counts.values().min(), counts.values().max());
        let balanced = least
            .zip(most)
            .is_some_and(|(least, most)| most - least <= 1);
        (!balanced).then(|| format!("not balanced: {counts:?}"))
    }
}

pub(super) fn settled_to(checkpoint: Checkpoint) -> usize {
    match checkpoint {
        Checkpoint::Start(_) => 0,
        Checkpoint::At(position) => position.sequence().unwrap_or(0) as usize,
        Checkpoint::End => usize::MAX,
    }
}
