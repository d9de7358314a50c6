use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use aqueduct_core::{
    BatchConsumer, Event, GroupName, OpenPartition, PartitionId, PartitionReader, PartitionedLog,
    Position, ReadFrom, Record, ResumeToken, Source,
};
use aqueduct_queue::QueueOptions;

use crate::harness::Harness;
use crate::stop::{During as _, Outcome, Stop};
use crate::workload::Seen;

/// Reads everything that is stored; reads a log without a group.
pub(crate) struct Observer<'a> {
    harness: &'a Harness<'a>,
    from: From,
    seen: Seen,
    places: Vec<(PartitionId, Position)>,
}

enum From {
    Log {
        log: Arc<dyn PartitionedLog>,
        readers: BTreeMap<PartitionId, Box<dyn PartitionReader>>,
        ended: Vec<PartitionId>,
    },
    Queue(Arc<dyn BatchConsumer>),
}

impl<'a> Observer<'a> {
    pub(crate) async fn open(harness: &'a Harness<'a>) -> Outcome<Self> {
        let from = match harness.source().await? {
            Source::Log(log) => From::Log {
                log,
                readers: BTreeMap::new(),
                ended: Vec::new(),
            },
            Source::Queue(queue) => {
                let options = QueueOptions::new(GroupName::new("conformance-observer"));
                let runtime = &harness.context.runtime;
                From::Queue(aqueduct_queue::open(&*queue, options, runtime).await?)
            }
            _ => return Err(Stop::NotClaimed("an unknown kind of source".to_owned())),
        };
        let mut seen = Seen::default();
        if let From::Queue(consumer) = &from {
            seen.expect_of(&consumer.capabilities().claims);
        }
        Ok(Self {
            harness,
            from,
            seen,
            places: Vec::new(),
        })
    }

    /// Reads until `count` different events were seen, and a while longer to detect unexpected
    /// ones. Returns all events seen since the observer was opened.
    pub(crate) async fn collect(&mut self, count: usize) -> Outcome<&Seen> {
        let context = self.harness.context;
        let deadline = context.runtime.now() + context.timing.deadline;
        while self.seen.distinct() < count {
            let (seen, now) = (self.seen.distinct(), context.runtime.now());
            context.step(format!("{count} stored events, {seen} were seen"));
            if now > deadline {
                return Err(Stop::failed(format!(
                    "{count} events should be stored, only {seen} can be read"
                )));
            }
            self.read(Duration::from_millis(50)).await?;
        }
        let until = context.runtime.now() + context.timing.quiet;
        while context.runtime.now() < until {
            self.read(context.timing.quiet / 4).await?;
        }
        Ok(&self.seen)
    }

    /// Returns the position of each different event, in the order of [`Seen::firsts`].
    pub(crate) fn places(&self) -> &[(PartitionId, Position)] {
        &self.places
    }

    async fn read(&mut self, wait: Duration) -> Outcome {
        let runtime = self.harness.runtime();
        match &mut self.from {
            From::Log {
                log,
                readers,
                ended,
            } => {
                for partition in log.partitions().await.during("listing partitions")? {
                    if readers.contains_key(&partition.id) || ended.contains(&partition.id) {
                        continue;
                    }
                    let reader = log.open(&request(&partition.id, wait)).await;
                    let reader = reader.during("opening a partition")?;
                    readers.insert(partition.id, reader);
                }
                let mut finished = Vec::new();
                for (id, reader) in readers.iter_mut() {
                    let batch = reader.read(500).await.during("reading a partition")?;
                    for record in batch.records {
                        if self.seen.note(&record.event) {
                            self.places.push((id.clone(), record.position));
                        }
                    }
                    if batch.end.is_some() {
                        finished.push(id.clone());
                    }
                }
                for id in finished {
                    readers.remove(&id);
                    ended.push(id);
                }
            }
            From::Queue(consumer) => {
                let receiving = consumer.receive_batch(100);
                let Ok(deliveries) = runtime.timeout(wait, "an event", receiving).await else {
                    return Ok(());
                };
                for delivery in deliveries.during("receiving")? {
                    self.seen.note(delivery.event());
                    delivery.ack().await?;
                }
            }
        }
        Ok(())
    }
}

/// Reads `count` records of one partition from `from` on.
pub(crate) async fn read_some(
    harness: &Harness<'_>,
    log: &dyn PartitionedLog,
    partition: &PartitionId,
    from: ReadFrom,
    count: usize,
) -> Outcome<Vec<(Event, Position)>> {
    let records = read_records(harness, log, partition, (from, None), count).await?;
    let records = records.into_iter();
    Ok(records
        .map(|record| (record.event, record.position))
        .collect())
}

/// Reads `count` records of one partition from a place on, with the resume token of that place.
pub(crate) async fn read_records(
    harness: &Harness<'_>,
    log: &dyn PartitionedLog,
    partition: &PartitionId,
    (from, token): (ReadFrom, Option<ResumeToken>),
    count: usize,
) -> Outcome<Vec<Record>> {
    let mut request = request(partition, Duration::from_millis(50));
    request.from = from;
    request.resume_token = token;
    let mut reader = log.open(&request).await.during("opening a partition")?;
    let mut read = Vec::new();
    let reading = async {
        while read.len() < count {
            let batch = reader.read(count - read.len()).await?;
            let ended = batch.end.is_some();
            read.extend(batch.records);
            if ended {
                break;
            }
        }
        Ok::<_, Stop>(())
    };
    let what = format!("{count} records of partition {partition} from {from:?}");
    harness.context.within(&what, reading).await??;
    Ok(read)
}

fn request(partition: &PartitionId, wait: Duration) -> OpenPartition {
    let group = GroupName::new("conformance-observer");
    let mut request = OpenPartition::new(group, partition.clone(), ReadFrom::Earliest);
    request.max_wait = wait;
    request
}
