use std::collections::BTreeMap;

use aqueduct_core::{
    Event, Partition, PartitionId, PartitionState, Position, ReadFrom, Record, ResumeToken,
};

/// The events of the stream, with the facts about each.
pub(super) struct Log {
    pub(super) partitions: BTreeMap<PartitionId, LogPartition>,
    pub(super) events: Vec<LogEvent>,
    templates: Vec<Event>,
}

pub(super) struct LogPartition {
    /// The events at positions 1, 2, ...
    pub(super) events: Vec<usize>,
    pub(super) closed: bool,
    pub(super) parents: Vec<PartitionId>,
    pub(super) children: Vec<PartitionId>,
    /// Whether it is still listed.
    pub(super) listed: bool,
}

pub(super) struct LogEvent {
    pub(super) key: Option<usize>,
    pub(super) poison: bool,
}

impl Log {
    pub(super) fn new(partitions: usize, keys: usize) -> Self {
        let mut log = Self {
            partitions: BTreeMap::new(),
            events: Vec::new(),
            templates: (0..keys)
                .map(|key| Event::new("simulated").with_key(format!("k{key}")))
                .collect(),
        };
        for at in 0..partitions {
            log.add(PartitionId::new(format!("p{at}")), Vec::new());
        }
        log
    }

    fn add(&mut self, id: PartitionId, parents: Vec<PartitionId>) {
        self.partitions.insert(
            id,
            LogPartition {
                events: Vec::new(),
                closed: false,
                parents,
                children: Vec::new(),
                listed: true,
            },
        );
    }

    pub(super) fn open(&self) -> Vec<PartitionId> {
        let open = self.partitions.iter().filter(|(_, it)| !it.closed);
        open.map(|(id, _)| id.clone()).collect()
    }

    /// Appends an event; keys go to one of the open partitions, and to its children after it.
    pub(super) fn append(
        &mut self,
        key: Option<usize>,
        partition: &PartitionId,
        poison: bool,
    ) -> usize {
        let event = self.events.len();
        self.events.push(LogEvent { key, poison });
        let partition = self.partitions.get_mut(partition).unwrap();
        assert!(!partition.closed);
        partition.events.push(event);
        event
    }

    /// Splits one partition in two, or merges two.
    pub(super) fn reshard(&mut self, parents: &[PartitionId], children: usize) -> Vec<PartitionId> {
        let count = self.partitions.len();
        let ids: Vec<_> = (0..children)
            .map(|at| PartitionId::new(format!("p{}", count + at)))
            .collect();
        for parent in parents {
            let parent = self.partitions.get_mut(parent).unwrap();
            parent.closed = true;
            parent.children = ids.clone();
        }
        for id in &ids {
            self.add(id.clone(), parents.to_vec());
        }
        ids
    }

    pub(super) fn listing(&self) -> Vec<Partition> {
        let listed = self.partitions.iter().filter(|(_, it)| it.listed);
        listed
            .map(|(id, it)| {
                let mut partition = Partition::new(id.clone());
                partition.parents = it.parents.clone();
                if it.closed {
                    partition.state = PartitionState::Closed;
                }
                partition
            })
            .collect()
    }

    /// Reads behind a record only with its token, as a service does that resumes by token.
    pub(super) fn read(
        &self,
        partition: &PartitionId,
        from: ReadFrom,
        token: Option<&ResumeToken>,
        max: usize,
    ) -> Result<(Vec<Record>, Option<Vec<PartitionId>>), String> {
        if let ReadFrom::After(position) = from
            && token != Some(&token_of(partition, position))
        {
            return Err(format!(
                "{partition}: reading behind {position} with {token:?}"
            ));
        }
        let it = &self.partitions[partition];
        let first = match from {
            ReadFrom::After(position) => position.sequence().unwrap() as usize,
            ReadFrom::At(position) => position.sequence().unwrap() as usize - 1,
            _ => 0,
        };
        let records: Vec<_> = it.events[first.min(it.events.len())..]
            .iter()
            .take(max)
            .enumerate()
            .map(|(at, event)| {
                let event = match self.events[*event].key {
                    Some(key) => self.templates[key].clone(),
                    None => Event::new("simulated"),
                };
                let position = Position::new((first + at + 1) as u64);
                let token = token_of(partition, position);
                Record::new(event, position, None).with_resume_token(token)
            })
            .collect();
        let at_end = it.closed && first + records.len() >= it.events.len();
        Ok((records, at_end.then(|| it.children.clone())))
    }

    pub(super) fn event_at(&self, partition: &PartitionId, position: Position) -> usize {
        self.partitions[partition].events[position.sequence().unwrap() as usize - 1]
    }
}

/// Returns the resume token of a record: unique, and in an order of its own.
pub(super) fn token_of(partition: &PartitionId, position: Position) -> ResumeToken {
    let sequence = position.sequence().unwrap_or_default();
    ResumeToken::new(format!("{:016x}/{partition}", sequence.reverse_bits()))
}
