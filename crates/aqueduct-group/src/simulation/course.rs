use std::collections::BTreeMap;
use std::time::Duration;

use aqueduct_core::{Checkpoint, OwnerId};
use aqueduct_history::{Op, Phase};

use super::facts::name_of;
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
        // The second one is near the first, so that both may run at once.
        let third = self.scenario.events / 3;
        let poison = (third..third + self.scenario.poison).contains(&self.output.produced);
        let event = self.log.append(keyed.then_some(key), &home, poison);
        let position = self.log.partitions[&home].events.len() as u64;
        let line = self.line("log", Op::Store, Phase::Ok).event(name_of(event));
        let line = line.key(keyed.then(|| format!("k{key}").into()));
        self.history
            .add(line.partition(home.as_str()).position(position.into()));
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
    pub(super) fn look(&mut self) {
        for (id, partition) in &mut self.log.partitions {
            let row = self.store.rows.get(id);
            if partition.closed && row.is_some_and(|row| row.checkpoint == Checkpoint::End) {
                partition.listed = false;
            }
        }
        let open = self.unfinished();
        let too_late = self.now.elapsed_since_origin() > self.scenario.trouble + PATIENCE;
        match open {
            None => self.agenda.outcome = Some(Ok(())),
            Some(open) if too_late => {
                let rows = &self.store.rows;
                let why =
                    format!("not at rest an hour after the last fault: {open}; rows {rows:#?}");
                self.agenda.outcome = Some(Err(why));
            }
            Some(_) => self.after(Duration::from_secs(5), Action::Look),
        }
    }

    fn unfinished(&self) -> Option<String> {
        let events = self.log.events.iter().enumerate();
        for (event, it) in events {
            if !self.settled.contains(&event) {
                return Some(format!("{} is not settled", name_of(event)));
            }
            if it.poison && !self.dead.contains(&event) {
                return Some(format!("{} kills and is not a dead letter", name_of(event)));
            }
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
        if self
            .processes
            .iter()
            .any(|it| it.alive && !it.flushes.is_empty())
        {
            return Some("a flush has not ended".to_owned());
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
