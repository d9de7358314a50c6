use super::Checker;
use crate::{HistoryLine, Kind, Op, Phase};

impl Checker {
    pub(super) fn starts(&mut self, record: &HistoryLine) {
        let Some(id) = &record.event else { return };
        self.starts += 1;
        self.events.handled();
        self.started_by(record);
        self.explains(record);
        let here = (record.process.clone(), record.generation);
        if let Some(other) = self.owners.other_owner(record) {
            let message = format!(
                "{id} starts in {}, while {other} owns the partition",
                here.0
            );
            self.findings.add(Kind::TwoOwners, message);
        }
        let event = self.events.get(id);
        if event.partition.is_none() {
            event.partition.clone_from(&record.partition);
        }
        let again = match event.runs.open.contains(&here) {
            true => Some("it still runs there"),
            false if event.runs.settled_by.as_ref() == Some(&here) => Some("this owner settled it"),
            false => None,
        };
        if let Some(why) = again {
            let message = format!("{id} starts again in {}: {why}", here.0);
            self.findings.add(Kind::Duplicated, message);
        }
        let place = event.partition.clone().zip(event.position);
        event.runs.open.push(here);
        self.excuses.starts(&record.process, id);
        if !self.owners.is_fenced(record) {
            if let Some((partition, position)) = place
                && self.owners.covers(&partition, position)
            {
                let message = format!("{id} starts, and the checkpoint of {partition} covers it");
                self.findings.add(Kind::Duplicated, message);
            }
            // An owner that lost its lease may still start what it has (rule 2).
            let exhausted = self.rules.attempts.filter(|_| self.rules.without_acks);
            if let Some((before, failed)) = self.events.unsettled_before(id, exhausted) {
                let kind = match failed {
                    true => Kind::SkippedPastFailure,
                    false => Kind::OutOfOrder,
                };
                let message = format!("{id} starts before {before} of its key is settled");
                self.findings.add(kind, message);
            }
        }
        self.events.get(id).runs.begun = true;
    }

    pub(super) fn ends(&mut self, record: &HistoryLine) {
        let Some(id) = &record.event else { return };
        self.excuses.ends(&record.process, id);
        let event = self.events.get(id);
        let runs = &mut event.runs;
        let here =
            |it: &(crate::Text, Option<u64>)| it.0 == record.process && it.1 == record.generation;
        let Some(at) = runs.open.iter().position(here) else {
            let message = format!(
                "{id}: its handler ends in {} and never started",
                record.process
            );
            self.findings.add(Kind::SettledWithoutEffect, message);
            return;
        };
        runs.open.remove(at);
        runs.ended.insert(record.process.clone(), record.time);
        runs.failed_last = record.phase != Phase::Ok;
        match record.phase {
            Phase::Ok if !runs.succeeded.contains(&record.process) => {
                runs.succeeded.push(record.process.clone());
            }
            Phase::Fail => {
                event.counts.failures += 1;
                runs.rejected |= record.why.as_deref() == Some("rejected");
            }
            _ => {}
        }
        event.settled |= self.rules.without_acks && record.phase == Phase::Ok;
    }

    /// Where leases are not written, the generations under which handlers start show who took what.
    fn started_by(&mut self, record: &HistoryLine) {
        let Some((partition, generation)) = record.partition.as_ref().zip(record.generation) else {
            return;
        };
        let before = self.owners.starts(partition, generation, record);
        let Some((before, latest)) = before else {
            return;
        };
        if latest > generation {
            let message = format!(
                "{partition}: a handler starts in {} under generation {generation}, after {latest}",
                record.process
            );
            self.findings.add(Kind::TwoOwners, message);
        } else if latest < generation && self.excuses.is_dead(before.owner.as_ref()) {
            self.taken_over(partition, &before);
        }
    }

    pub(super) fn settles(&mut self, record: &HistoryLine) {
        let Some(id) = &record.event else { return };
        if record.phase != Phase::Ok {
            return;
        }
        let event = self.events.get(id);
        if record.op == Op::Ack && !event.runs.succeeded.contains(&record.process) {
            let message = format!("{id}: acknowledged by {}, without success", record.process);
            self.findings.add(Kind::SettledWithoutEffect, message);
        }
        event.runs.settled_by = Some((record.process.clone(), record.generation));
        event.settled = true;
    }

    pub(super) fn kill(&mut self, record: &HistoryLine) {
        self.kills += 1;
        let ran = self
            .excuses
            .dies(&record.process, record.time, record.event.is_some());
        for event in ran {
            let runs = &mut self.events.get(&event).runs;
            runs.open.retain(|it| it.0 != record.process);
            runs.failed_last = true;
        }
        if let Some(event) = &record.event {
            self.events.get(event).counts.killed += 1;
        }
        self.owners.dies(&record.process);
        self.calls.dies(&record.process);
    }
}
