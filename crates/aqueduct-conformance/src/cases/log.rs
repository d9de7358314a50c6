use std::collections::BTreeSet;
use std::time::Duration;

use aqueduct_core::{
    Capability, ErrorKind, Event, GroupName, OpenPartition, PartitionId, PartitionState, Position,
    ReadFrom, Start,
};

use crate::case::{Case, Need, case};
use crate::context::Context;
use crate::harness::Harness;
use crate::observer::{read_records, read_some};
use crate::stop::{During as _, Outcome, Stop, check, check_eq};
use crate::workload::{Seen, counted, interleaved, keyed, number};
use crate::wrap::cancel_after;

pub(super) const CASES: &[Case] = &[
    case!(Store partitions_are_listed, [8], [Need::Log]),
    case!(Store positions_rise_as_told, [3], [Need::Log, Need::Producer]),
    case!(Store reader_starts_where_it_is_told, [7], [Need::Log, Need::Producer]),
    case!(Store reader_starts_at_a_time, [7], [Need::Log, Need::Producer, Need::Can(Capability::StartAtTime)]),
    case!(Store latest_resolves_once, [7], [Need::Log, Need::Producer]),
    case!(Store tail_is_the_last_position, [15], [Need::Log, Need::Producer]),
    case!(Store read_waits_and_wakes, [], [Need::Log, Need::Producer]),
    case!(Store read_keeps_to_its_maximum, [10], [Need::Log, Need::Producer]),
    case!(Store cancelled_read_loses_nothing, [1], [Need::Log, Need::Producer]),
    case!(Store unknown_partition_is_not_found, [], [Need::Log]),
    case!(Store readers_do_not_disturb_each_other, [1], [Need::Log, Need::Producer]),
    case!(Store peer_sees_the_same_log, [1], [Need::Log, Need::Producer, Need::Peer]),
];

async fn partitions_are_listed(context: &Context<'_>) -> Outcome {
    let harness = context.harness(3).await?;
    let partitions = harness.log().await?.partitions().await?;
    let ids: BTreeSet<_> = partitions.iter().map(|partition| &partition.id).collect();
    check_eq!(
        (partitions.len(), ids.len()),
        (3, 3),
        "partitions, and their names"
    );
    for partition in &partitions {
        check_eq!(
            partition.state,
            PartitionState::Open,
            "partition {}",
            partition.id
        );
        check!(
            partition.parents.is_empty(),
            "partition {} has parents",
            partition.id
        );
    }
    let ranges: Vec<_> = partitions
        .iter()
        .filter_map(|partition| partition.range)
        .collect();
    for (at, range) in ranges.iter().enumerate() {
        let overlaps = |other: &&aqueduct_core::HashRange| other.contains(range.first);
        let shared = ranges.iter().enumerate().filter(|(other, _)| *other != at);
        check!(
            !shared.map(|(_, range)| range).any(|range| overlaps(&range)),
            "ranges overlap"
        );
    }
    Ok(())
}

async fn positions_rise_as_told(context: &Context<'_>) -> Outcome {
    let harness = context.harness(1).await?;
    let (log, partition) = single(&harness).await?;
    let events: Vec<Event> = (0..40).map(|n| keyed("k", n)).collect();
    let receipts = harness.send(&events).await?;
    let read = read_some(&harness, &*log, &partition, ReadFrom::Earliest, 40).await?;
    for (pair, (event, _)) in read.windows(2).zip(&read) {
        check!(
            pair[0].1 < pair[1].1,
            "the position went backwards after event {}",
            event.id()
        );
    }
    for ((sent, receipt), (event, position)) in events.iter().zip(&receipts).zip(&read) {
        check_eq!(event.id(), sent.id(), "order");
        let told = receipt.position.is_none_or(|told| told == *position);
        check!(
            told,
            "the receipt says {:?}, the log {position}",
            receipt.position
        );
    }
    Ok(())
}

async fn reader_starts_where_it_is_told(context: &Context<'_>) -> Outcome {
    let harness = context.harness(1).await?;
    let (log, partition) = single(&harness).await?;
    let events: Vec<Event> = (0..10).map(counted).collect();
    harness.send(&events).await?;
    let start = (ReadFrom::Earliest, None);
    let all = read_records(&harness, &*log, &partition, start, 10).await?;
    for (at, record) in all.iter().enumerate().take(9) {
        let behind = record.resume_token.clone();
        for (from, token, first) in [
            (ReadFrom::At(record.position), None, at),
            (ReadFrom::After(record.position), behind, at + 1),
        ] {
            let found = read_records(&harness, &*log, &partition, (from, token), 1).await?;
            let Some(found) = found.first() else {
                return Err(Stop::failed(format!("nothing to read from {from:?}")));
            };
            let event = number(&found.event)?;
            check_eq!(event, first as u64, "first event from {from:?}");
            check_eq!(found.position, all[first].position, "its position");
        }
    }
    Ok(())
}

async fn reader_starts_at_a_time(context: &Context<'_>) -> Outcome {
    let harness = context.harness(1).await?;
    let (log, partition) = single(&harness).await?;
    harness.send(&[counted(0), counted(1)]).await?;
    context.runtime.sleep(context.timing.quiet).await;
    let between = log.resolve(&Start::Latest).await?.at;
    context.runtime.sleep(context.timing.quiet).await;
    harness.send(&[counted(2), counted(3)]).await?;
    let (event, _) = first_of(&harness, ReadFrom::Time(between), &partition).await?;
    check_eq!(number(&event)?, 2, "the first event since {between}");
    let long_ago = between.saturating_sub(Duration::from_secs(3600));
    let (event, _) = first_of(&harness, ReadFrom::Time(long_ago), &partition).await?;
    check_eq!(number(&event)?, 0, "the first event of the last hour");
    let resolved = log.resolve(&Start::Time(between)).await?;
    let place = resolved.partitions.iter().find(|(id, _)| *id == partition);
    let from = place.and_then(|(_, checkpoint)| checkpoint.read_from());
    let from = from.unwrap_or(ReadFrom::Earliest);
    let (event, _) = first_of(&harness, from, &partition).await?;
    check_eq!(number(&event)?, 2, "the first event from the resolved time");
    Ok(())
}

async fn latest_resolves_once(context: &Context<'_>) -> Outcome {
    let harness = context.harness(2).await?;
    let log = harness.log().await?;
    harness
        .send(&interleaved(&["a", "b", "c", "d", "e"], 3))
        .await?;
    let resolved = log.resolve(&Start::Latest).await?;
    let later = interleaved(&["a", "b", "c", "d", "e"], 2);
    harness.send(&later).await?;
    let mut seen = Seen::default();
    for partition in log.partitions().await? {
        let place = resolved
            .partitions
            .iter()
            .find(|(id, _)| *id == partition.id);
        let Some((_, checkpoint)) = place else {
            check!(
                false,
                "`latest` resolves to no position in partition {}",
                partition.id
            );
            return Ok(());
        };
        let Some(from) = checkpoint.read_from() else {
            continue;
        };
        for event in read_quietly(&harness, &partition.id, from).await? {
            seen.note(&event);
        }
    }
    seen.check_complete(&later)?;
    let earliest = log.resolve(&Start::Earliest).await?;
    check!(
        earliest.at >= resolved.at,
        "the server's time went backwards"
    );
    Ok(())
}

async fn tail_is_the_last_position(context: &Context<'_>) -> Outcome {
    let harness = context.harness(1).await?;
    let (log, partition) = single(&harness).await?;
    let before = log.tail(&partition).await?;
    check_eq!(before.last, None, "the last position of an empty partition");
    harness.send(&[counted(0), counted(1), counted(2)]).await?;
    let read = read_some(&harness, &*log, &partition, ReadFrom::Earliest, 3).await?;
    let last = context
        .until("the tail to be reported", async || {
            Ok(log
                .tail(&partition)
                .await?
                .last
                .filter(|last| *last >= read[2].1))
        })
        .await?;
    check_eq!(last, read[2].1, "the last position");
    Ok(())
}

async fn read_waits_and_wakes(context: &Context<'_>) -> Outcome {
    let harness = context.harness(1).await?;
    let (log, partition) = single(&harness).await?;
    let mut brief = open(&partition, ReadFrom::Earliest);
    brief.max_wait = context.timing.quiet / 2;
    let mut reader = log.open(&brief).await?;
    let batch = context
        .within("a read of nothing to end", reader.read(10))
        .await??;
    check!(
        batch.records.is_empty() && batch.end.is_none(),
        "a read of an empty partition returned {batch:?}"
    );

    let mut patient = open(&partition, ReadFrom::Earliest);
    patient.max_wait = context.timing.deadline;
    let mut reader = log.open(&patient).await?;
    let reading = context.spawn(async move { reader.read(10).await });
    context.runtime.sleep(context.timing.quiet / 2).await;
    let began = context.runtime.now();
    harness.send(&[counted(7)]).await?;
    let batch = context
        .within("a waiting read to wake", reading)
        .await???;
    let took = context.runtime.now().since(began);
    check_eq!(batch.records.len(), 1, "records read");
    check!(
        took < context.timing.deadline / 2,
        "the reader woke after {took:?}"
    );
    Ok(())
}

async fn read_keeps_to_its_maximum(context: &Context<'_>) -> Outcome {
    let harness = context.harness(1).await?;
    let (log, partition) = single(&harness).await?;
    let events: Vec<Event> = (0..20).map(counted).collect();
    harness.send(&events).await?;
    let mut reader = log.open(&open(&partition, ReadFrom::Earliest)).await?;
    let mut seen = Seen::default();
    while seen.distinct() < events.len() {
        let batch = context
            .within("three more records", reader.read(3))
            .await??;
        check!(
            batch.records.len() <= 3,
            "asked for 3, read {}",
            batch.records.len()
        );
        for record in &batch.records {
            check!(
                seen.note(&record.event),
                "record {} read twice",
                record.position
            );
        }
    }
    seen.check_complete(&events)
}

async fn cancelled_read_loses_nothing(context: &Context<'_>) -> Outcome {
    let harness = context.harness(1).await?;
    let (log, partition) = single(&harness).await?;
    let events: Vec<Event> = (0..60).map(|n| keyed("k", n)).collect();
    let mut reader = log.open(&open(&partition, ReadFrom::Earliest)).await?;
    let mut seen = Seen::default();
    for (polls, call) in events.chunks(3).enumerate() {
        harness.send(call).await?;
        for polls in [1, 1 + polls % 5] {
            let limit = context.runtime.sleep(Duration::from_millis(5));
            if let Some(batch) = cancel_after(polls, reader.read(2), limit).await {
                for record in batch.during("reading")?.records {
                    check!(
                        seen.note(&record.event),
                        "record {} read twice",
                        record.position
                    );
                }
            }
        }
    }
    while seen.distinct() < events.len() {
        let what = format!("{} records, {} are read", events.len(), seen.distinct());
        for record in context.within(&what, reader.read(100)).await??.records {
            check!(
                seen.note(&record.event),
                "record {} read twice",
                record.position
            );
        }
    }
    seen.check_order(&events)
}

async fn unknown_partition_is_not_found(context: &Context<'_>) -> Outcome {
    let harness = context.harness(1).await?;
    let log = harness.log().await?;
    let unknown = PartitionId::new("no-such-partition");
    let error = log.open(&open(&unknown, ReadFrom::Earliest)).await.err();
    let kind = error.map(|error| error.kind());
    check_eq!(
        kind,
        Some(ErrorKind::NotFound),
        "opening an unknown partition"
    );
    let kind = log.tail(&unknown).await.err().map(|error| error.kind());
    check_eq!(
        kind,
        Some(ErrorKind::NotFound),
        "the tail of an unknown partition"
    );
    Ok(())
}

async fn readers_do_not_disturb_each_other(context: &Context<'_>) -> Outcome {
    let harness = context.harness(1).await?;
    let (log, partition) = single(&harness).await?;
    let events: Vec<Event> = (0..30).map(counted).collect();
    harness.send(&events).await?;
    let reading = (0..4).map(|reader| {
        let (log, harness, partition) = (&log, &harness, &partition);
        async move {
            let from = ReadFrom::Earliest;
            let read = read_some(harness, &**log, partition, from, 30).await;
            read.during(format!("reader {reader}"))
        }
    });
    for read in futures::future::try_join_all(reading).await? {
        let mut seen = Seen::default();
        read.iter().for_each(|(event, _)| {
            seen.note(event);
        });
        seen.check_complete(&events)?;
        seen.check_once()?;
    }
    Ok(())
}

async fn peer_sees_the_same_log(context: &Context<'_>) -> Outcome {
    let harness = context.harness(1).await?;
    let Some(peer) = &harness.subject.peer else {
        return Err(Stop::Lacking(
            "the fixture cannot open a stream as another process".to_owned(),
        ));
    };
    let (_, partition) = single(&harness).await?;
    let aqueduct_core::Source::Log(theirs) = peer.source(context.runtime).await? else {
        return Err(Stop::failed("the peer is not a log"));
    };
    let mut patient = open(&partition, ReadFrom::Earliest);
    patient.max_wait = context.timing.deadline;
    let mut reader = theirs.open(&patient).await?;
    let reading = context.spawn(async move { reader.read(10).await });
    context.runtime.sleep(context.timing.quiet / 4).await;
    harness.send(&[counted(7)]).await?;
    let batch = context
        .within("the peer to see the event", reading)
        .await???;
    check_eq!(batch.records.len(), 1, "records that the peer read");
    check_eq!(
        number(&batch.records[0].event)?,
        7,
        "the event that the peer read"
    );
    Ok(())
}

/// Returns the stream's log and its only partition.
pub(super) async fn single(
    harness: &Harness<'_>,
) -> Outcome<(
    std::sync::Arc<dyn aqueduct_core::PartitionedLog>,
    PartitionId,
)> {
    let log = harness.log().await?;
    let mut partitions = log.partitions().await?;
    check_eq!(
        partitions.len(),
        1,
        "the partitions of a stream made with one"
    );
    Ok((log, partitions.remove(0).id))
}

/// Reads the first record from `from` on.
pub(super) async fn first_of(
    harness: &Harness<'_>,
    from: ReadFrom,
    partition: &PartitionId,
) -> Outcome<(Event, Position)> {
    let log = harness.log().await?;
    let mut read = read_some(harness, &*log, partition, from, 1).await?;
    match read.pop() {
        Some(first) => Ok(first),
        None => Err(Stop::failed(format!("nothing to read from {from:?}"))),
    }
}

/// Reads all records from `from` on, until a read returns none.
pub(super) async fn read_quietly(
    harness: &Harness<'_>,
    partition: &PartitionId,
    from: ReadFrom,
) -> Outcome<Vec<Event>> {
    let context = harness.context;
    let mut request = open(partition, from);
    request.max_wait = context.timing.quiet;
    let mut reader = harness
        .log()
        .await?
        .open(&request)
        .await
        .during("opening a partition")?;
    let mut read = Vec::new();
    loop {
        let batch = context
            .within("all stored records", reader.read(100))
            .await??;
        if batch.records.is_empty() {
            return Ok(read);
        }
        read.extend(batch.records.into_iter().map(|record| record.event));
        if batch.end.is_some() {
            return Ok(read);
        }
    }
}

pub(super) fn open(partition: &PartitionId, from: ReadFrom) -> OpenPartition {
    let mut request = OpenPartition::new(GroupName::new("readers"), partition.clone(), from);
    request.max_wait = Duration::from_millis(50);
    request
}
