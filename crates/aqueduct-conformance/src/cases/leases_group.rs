use aqueduct_core::{
    Capability, Checkpoint, GroupKey, GroupRecord, LeaseStore, OwnerId, PartitionId, Position,
    ReadFrom, ResolvedStart, StreamId, Timestamp,
};

use super::leases::{lease, owned, partition, swapped};
use crate::case::{Case, Need, case};
use crate::context::Context;
use crate::stop::{Outcome, check, check_eq};

pub(super) const CASES: &[Case] = &[
    case!(Store group_is_recorded_once, [7], [Need::Can(Capability::Leases)]),
    case!(Store group_record_keeps_every_start, [7], [Need::Can(Capability::Leases)]),
    case!(Store reset_deletes_leases_in_one_step, [7], [Need::Can(Capability::Leases)]),
    case!(Store reset_that_comes_late_changes_nothing, [7], [Need::Can(Capability::Leases)]),
    case!(Store reset_fences_the_old_owner, [6, 7], [Need::Can(Capability::Leases)]),
    case!(Store living_member_is_not_dead, [6], [Need::Can(Capability::Leases)]),
];

async fn group_is_recorded_once(context: &Context<'_>) -> Outcome {
    let harness = context.harness(1).await?;
    let (leases, key) = (harness.leases().await?, harness.key("group"));
    check_eq!(leases.group(&key).await?, None, "a group before it began");
    let first = record(0, Vec::new())?;
    let stored = leases.create_group(&key, first.clone()).await?;
    check_eq!(stored, first, "the created record");
    let places = vec![(partition(), Checkpoint::At(Position::new(3)))];
    let returned = leases.create_group(&key, record(5, places)?).await?;
    check_eq!(returned, first, "the existing record");
    check_eq!(leases.group(&key).await?, Some(first), "the stored record");
    let other = GroupKey::new("other", key.stream.text());
    check_eq!(leases.group(&other).await?, None, "another group");
    Ok(())
}

async fn group_record_keeps_every_start(context: &Context<'_>) -> Outcome {
    let harness = context.harness(1).await?;
    let leases = harness.leases().await?;
    let wide = "9".repeat(56).parse::<Position>()?.with_sub(3);
    let time: Timestamp = "2026-01-31T12:00:00.123456Z".parse()?;
    let checkpoints = [
        Checkpoint::Start(ReadFrom::Earliest),
        Checkpoint::Start(ReadFrom::Time(time)),
        Checkpoint::Start(ReadFrom::At(wide)),
        Checkpoint::Start(ReadFrom::After(wide)),
        Checkpoint::At(wide),
        Checkpoint::End,
    ];
    let place =
        |(n, checkpoint): (usize, Checkpoint)| (PartitionId::new(format!("p{n}")), checkpoint);
    let places: Vec<_> = checkpoints.into_iter().enumerate().map(place).collect();
    let key = harness.key("starts");
    // Opaque: an ARN with a time, a random number, or anything else.
    let stream =
        StreamId::new("arn:aws:kinesis:eu-west-1:1:stream/orders 2026-01-31T12:00:00Z äöü");
    let written = record(7, places)?.with_stream_id(Some(stream));
    leases.create_group(&key, written.clone()).await?;
    check_eq!(
        leases.group(&key).await?,
        Some(written),
        "the record read again"
    );
    Ok(())
}

async fn reset_deletes_leases_in_one_step(context: &Context<'_>) -> Outcome {
    let harness = context.harness(1).await?;
    let (leases, key) = (harness.leases().await?, harness.key("group"));
    leases.create_group(&key, record(0, Vec::new())?).await?;
    leases.create(&key, lease()).await?;
    let other = GroupKey::new("other", key.stream.text());
    leases.create(&other, lease()).await?;
    let next = record(
        1,
        vec![(partition(), Checkpoint::Start(ReadFrom::Earliest))],
    )?;
    let stored = leases.reset_group(&key, 0, next.clone()).await?;
    check_eq!(stored, next, "the result of the reset");
    check_eq!(leases.group(&key).await?, Some(next), "the stored record");
    check!(
        leases.list(&key, &[]).await?.is_empty(),
        "leases are left after the reset"
    );
    check_eq!(
        leases.list(&other, &[]).await?.len(),
        1,
        "leases of another group"
    );
    Ok(())
}

async fn reset_that_comes_late_changes_nothing(context: &Context<'_>) -> Outcome {
    let harness = context.harness(1).await?;
    let (leases, key) = (harness.leases().await?, harness.key("group"));
    leases.create_group(&key, record(0, Vec::new())?).await?;
    let first = record(1, Vec::new())?;
    leases.reset_group(&key, 0, first.clone()).await?;
    leases.create(&key, lease()).await?;
    let late = vec![(partition(), Checkpoint::End)];
    let returned = leases.reset_group(&key, 0, record(1, late)?).await?;
    check_eq!(returned, first, "the result of a late reset");
    check_eq!(
        leases.list(&key, &[]).await?.len(),
        1,
        "leases after a late reset"
    );
    Ok(())
}

async fn reset_fences_the_old_owner(context: &Context<'_>) -> Outcome {
    let harness = context.harness(1).await?;
    let (leases, key) = (harness.leases().await?, harness.key("group"));
    leases.create_group(&key, record(0, Vec::new())?).await?;
    let mine = owned(&*leases, &key, "me").await?;
    leases.reset_group(&key, 0, record(1, Vec::new())?).await?;
    let mut renewed = mine.clone();
    renewed.counter += 1;
    renewed.nonce = 9;
    let swap = leases.commit(&key, &mine, renewed).await?;
    check_eq!(
        swap,
        aqueduct_core::Swap::Lost(None),
        "a commit after the reset"
    );
    Ok(())
}

async fn living_member_is_not_dead(context: &Context<'_>) -> Outcome {
    let harness = context.harness(1).await?;
    let (leases, key) = (harness.leases().await?, harness.key("group"));
    let me = OwnerId::new("conformance-member-1");
    leases.join(&me).await?;
    check!(
        !leases.is_dead(&me),
        "a member that just joined counts as dead"
    );
    let row = owned(&*leases, &key, me.as_str()).await?;
    swapped(release(&*leases, &key, &row).await?)?;
    leases.leave(&me).await?;
    Ok(())
}

async fn release(
    leases: &dyn LeaseStore,
    key: &GroupKey,
    row: &aqueduct_core::Lease,
) -> Outcome<aqueduct_core::Swap> {
    let mut next = row.clone();
    next.owner = None;
    next.counter += 1;
    next.nonce += 1;
    let swap = leases.swap(key, row, next).await?;
    let stored = leases.read(key, &row.partition).await?;
    check_eq!(
        stored.and_then(|row| row.owner),
        None,
        "the owner after a release"
    );
    Ok(swap)
}

fn record(replay: u64, partitions: Vec<(PartitionId, Checkpoint)>) -> Outcome<GroupRecord> {
    let at: Timestamp = "2026-02-01T00:00:00.25Z".parse()?;
    let created: Timestamp = "2026-02-01T00:00:01.5Z".parse()?;
    let start = ResolvedStart { at, partitions };
    Ok(GroupRecord::new(start, replay, created))
}
