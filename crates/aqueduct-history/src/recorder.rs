use std::io::{self, Write};

use crate::record::FORMAT;
use crate::{HistoryLine, Op, Phase, Text};

/// Collects the records of one run, in the order in which they happen.
#[derive(Debug)]
pub struct Recorder {
    records: Vec<HistoryLine>,
    on: bool,
}

impl Recorder {
    /// Begins a history; an event may become a dead letter after that many attempts.
    pub fn new(attempts: Option<u32>) -> Self {
        let mut begin = HistoryLine::new(0, "run", Op::Run, Phase::Invoke);
        begin.format = Some(FORMAT);
        begin.attempts = attempts;
        Self {
            records: vec![begin],
            on: true,
        }
    }

    /// Says that effects are made in one transaction with their completion.
    #[must_use]
    pub fn with_effects_once(mut self) -> Self {
        self.records[0].effects_once = true;
        self
    }

    /// Says that settlements are not written, as where handlers alone are seen.
    #[must_use]
    pub fn without_acks(mut self) -> Self {
        self.records[0].without_acks = true;
        self
    }

    /// Keeps nothing from now on, as for a measurement of many events.
    #[must_use]
    pub fn silent(mut self) -> Self {
        self.on = false;
        self
    }

    /// Adds records before all others but the first, as for what a log is found to hold afterwards.
    pub fn add_first(&mut self, records: Vec<HistoryLine>) {
        self.records.splice(1..1, records);
    }

    /// Adds a record.
    pub fn add(&mut self, record: HistoryLine) {
        if self.on {
            self.records.push(record);
        }
    }

    /// Ends the history: at rest, or for the reason that the run did not come to rest.
    pub fn end(&mut self, time: u64, outcome: Result<(), &str>) {
        let phase = match outcome {
            Ok(()) => Phase::Ok,
            Err(_) => Phase::Fail,
        };
        let mut end = HistoryLine::new(time, "run", Op::Run, phase);
        end.why = outcome.err().map(Text::from);
        self.records.push(end);
    }

    /// Returns the last record, for what only it says.
    pub fn last_mut(&mut self) -> Option<&mut HistoryLine> {
        self.records.last_mut()
    }

    /// Returns the records so far.
    pub fn records(&self) -> &[HistoryLine] {
        &self.records
    }

    /// Writes the history as JSON lines.
    pub fn write(&self, mut to: impl Write) -> io::Result<()> {
        for record in &self.records {
            serde_json::to_writer(&mut to, record)?;
            to.write_all(b"\n")?;
        }
        to.flush()
    }
}
