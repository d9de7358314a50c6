use std::time::Duration;

use aqueduct_core::{Capability, ErrorKind, Event, PartitionState, ReadFrom};

use super::log::{first_of, open, read_quietly, single};
use crate::case::{Case, Need, case};
use crate::context::Context;
use crate::fixture::Fault;
use crate::harness::Harness;
use crate::observer::read_records;
use crate::stop::{Outcome, check, check_eq};
use crate::workload::{Seen, counted, interleaved, keyed, number};

pub(super) const CASES: &[Case] = &[
    case!(Store expired_position_says_so, [9], [Need::Log, Need::Producer, Need::Fault(Fault::Expire)]),
    case!(Store cut_reader_goes_on_behind_the_last, [9], [Need::Log, Need::Producer, Need::Fault(Fault::Cut)]),
    case!(Store parents_end_and_name_their_children, [8], [Need::Log, Need::Producer, Need::Can(Capability::Resharding), Need::Can(Capability::Admin)]),
    case!(Store merging_keeps_key_order, [8], [Need::Log, Need::Producer, Need::Can(Capability::Resharding), Need::Can(Capability::Admin)]),
];

async fn expired_position_says_so(context: &Context<'_>) -> Outcome {
    let harness = context.harness(1).await?;
    let (log, partition) = single(&harness).await?;
    harness
        .send(&(0..20).map(counted).collect::<Vec<_>>())
        .await?;
    let start = (ReadFrom::Earliest, None);
    let first = read_records(&harness, &*log, &partition, start, 3)
        .await?
        .remove(0);
    let (old, token) = (first.position, first.resume_token);
    harness.inject(Fault::Expire).await?;
    harness.send(&[counted(100)]).await?;
    for from in [ReadFrom::At(old), ReadFrom::After(old)] {
        let mut request = open(&partition, from);
        if from == ReadFrom::After(old) {
            request.resume_token.clone_from(&token);
        }
        let mut reader = match log.open(&request).await {
            Ok(reader) => reader,
            Err(error) => {
                check_eq!(error.kind(), ErrorKind::PositionExpired, "opening {from:?}");
                continue;
            }
        };
        let read = context
            .within("a read from an expired position", reader.read(10))
            .await?;
        let kind = read.err().map(|error| error.kind());
        check_eq!(kind, Some(ErrorKind::PositionExpired), "reading {from:?}");
    }
    let (event, _) = first_of(&harness, ReadFrom::Earliest, &partition).await?;
    check!(number(&event)? >= 19, "an expired event is still read");
    Ok(())
}

async fn cut_reader_goes_on_behind_the_last(context: &Context<'_>) -> Outcome {
    let harness = context.harness(1).await?;
    let (log, partition) = single(&harness).await?;
    let events: Vec<Event> = (0..40).map(|n| keyed("k", n)).collect();
    harness.send(&events[..20]).await?;
    let mut reader = log.open(&open(&partition, ReadFrom::Earliest)).await?;
    let mut seen = Seen::default();
    let (mut errors, mut cut) = (0, false);
    while seen.distinct() < events.len() {
        let what = format!("{} records, {} are read", events.len(), seen.distinct());
        match context.within(&what, reader.read(6)).await? {
            Ok(batch) => {
                for record in batch.records {
                    check!(
                        seen.note(&record.event),
                        "record {} read twice",
                        record.position
                    );
                }
            }
            Err(error) => {
                check!(error.is_retryable(), "a cut connection returned {error:?}");
                errors += 1;
                check!(errors < 100, "the reader does not reconnect");
                context.runtime.sleep(Duration::from_millis(20)).await;
            }
        }
        if seen.distinct() >= 12 && !cut {
            cut = true;
            harness.inject(Fault::Cut).await?;
            harness.send(&events[20..]).await?;
        }
    }
    seen.check_order(&events)
}

async fn parents_end_and_name_their_children(context: &Context<'_>) -> Outcome {
    let harness = context.harness(1).await?;
    let (log, parent) = single(&harness).await?;
    let keys: Vec<String> = (0..12).map(|n| format!("k{n}")).collect();
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    let events = interleaved(&keys, 8);
    let (early, late) = events.split_at(48);
    harness.send(early).await?;
    reshard(&harness, 2).await?;
    harness.send(late).await?;

    let partitions = log.partitions().await?;
    let listed = partitions.iter().find(|partition| partition.id == parent);
    if let Some(listed) = listed {
        check_eq!(listed.state, PartitionState::Closed, "the parent");
    }
    let mut seen = Seen::default();
    let mut reader = log.open(&open(&parent, ReadFrom::Earliest)).await?;
    let children = loop {
        let batch = context
            .within("the end of the parent", reader.read(100))
            .await??;
        batch.records.iter().for_each(|record| {
            seen.note(&record.event);
        });
        if let Some(end) = batch.end {
            break end.children;
        }
    };
    check!(!children.is_empty(), "the end names no children");
    for child in &children {
        let listed = partitions.iter().find(|partition| partition.id == *child);
        let parents = listed.map(|child| child.parents.clone());
        check_eq!(
            parents,
            Some(vec![parent.clone()]),
            "the parents of {child}"
        );
        for event in read_quietly(&harness, child, ReadFrom::Earliest).await? {
            seen.note(&event);
        }
    }
    seen.check_complete(&events)?;
    seen.check_once()?;
    seen.check_order(&events)
}

async fn merging_keeps_key_order(context: &Context<'_>) -> Outcome {
    let harness = context.harness(2).await?;
    let mut observer = harness.observe().await?;
    let events = interleaved(&["a", "b", "c", "d", "e", "f"], 8);
    let (early, late) = events.split_at(24);
    harness.send(early).await?;
    observer.collect(early.len()).await?;
    reshard(&harness, 1).await?;
    harness.send(late).await?;
    let seen = observer.collect(events.len()).await?;
    seen.check_complete(&events)?;
    seen.check_once()?;
    seen.check_order(&events)
}

/// Changes the number of open partitions and waits until it is visible.
async fn reshard(harness: &Harness<'_>, partitions: u32) -> Outcome {
    let resharding = harness.admin().await?;
    let resharding = async { resharding.reshard(partitions).await };
    harness.context.within("resharding", resharding).await??;
    let log = harness.log().await?;
    let open = async || {
        let listed = log.partitions().await?;
        let open = |it: &&aqueduct_core::Partition| it.state == PartitionState::Open;
        Ok((listed.iter().filter(open).count() == partitions as usize).then_some(()))
    };
    harness
        .context
        .until("resharding to become visible", open)
        .await
}
