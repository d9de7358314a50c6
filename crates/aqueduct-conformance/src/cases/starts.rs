use aqueduct_core::{Capability, Checkpoint, ErrorKind, Event, ReadFrom, Start};
use aqueduct_group::{Group, GroupOptions, OnGap};

use crate::case::{Case, Need, case};
use crate::context::Context;
use crate::fixture::Fault;
use crate::harness::Harness;
use crate::stop::{During as _, Outcome, check, check_eq};
use crate::workload::{Seen, counted, keyed, number};

pub(super) const CASES: &[Case] = &[
    case!(Flow group_starts_at_the_earliest, [7], [Need::Producer, Need::Group]),
    case!(Flow group_starts_at_the_latest, [7], [Need::Producer, Need::Group]),
    case!(Flow group_starts_at_a_time, [7], [Need::Producer, Need::Group, Need::Can(Capability::StartAtTime)]),
    case!(Flow group_starts_at_positions, [7], [Need::Producer, Need::Group]),
    case!(Flow start_is_resolved_once, [7], [Need::Producer, Need::Group]),
    case!(Flow reset_replays_everything, [7], [Need::Producer, Need::Group, Need::Can(Capability::Replay)]),
    case!(Flow reset_is_refused_while_members_live, [7], [Need::Producer, Need::Group]),
    case!(Store seek_moves_one_partition, [7], [Need::Producer, Need::Group, Need::Can(Capability::Replay)]),
    case!(Flow skip_passes_one_event, [7], [Need::Producer, Need::Group]),
    case!(Flow gap_is_never_silent, [9], [Need::Producer, Need::Group, Need::Fault(Fault::Expire)]),
    case!(Flow gap_goes_on_at_the_earliest, [9], [Need::Producer, Need::Group, Need::Fault(Fault::Expire)]),
    case!(Flow gap_goes_on_at_the_latest, [9], [Need::Producer, Need::Group, Need::Fault(Fault::Expire)]),
];

async fn group_starts_at_the_earliest(context: &Context<'_>) -> Outcome {
    let harness = context.harness(2).await?;
    let events = send(&harness, 0..6).await?;
    sees_exactly(&harness, Start::Earliest, &events).await
}

async fn group_starts_at_the_latest(context: &Context<'_>) -> Outcome {
    let harness = context.harness(2).await?;
    send(&harness, 0..6).await?;
    let member = harness
        .join("group")
        .with(|it| it.start = Start::Latest)
        .open()
        .await?;
    let events = send(&harness, 6..10).await?;
    let mut seen = Seen::default();
    member.work(context, &mut seen, events.len()).await?;
    member.silent(context).await?;
    seen.check_complete(&events)?;
    member.close(context).await
}

async fn group_starts_at_a_time(context: &Context<'_>) -> Outcome {
    let harness = context.harness(2).await?;
    send(&harness, 0..6).await?;
    context.runtime.sleep(context.timing.quiet).await;
    let time = harness.log().await?.resolve(&Start::Latest).await?.at;
    context.runtime.sleep(context.timing.quiet).await;
    let events = send(&harness, 6..10).await?;
    sees_exactly(&harness, Start::Time(time), &events).await
}

async fn group_starts_at_positions(context: &Context<'_>) -> Outcome {
    let harness = context.harness(1).await?;
    let events: Vec<Event> = (0..8).map(counted).collect();
    harness.send(&events).await?;
    let log = harness.log().await?;
    let partition = log.partitions().await?.remove(0).id;
    let all =
        crate::observer::read_some(&harness, &*log, &partition, ReadFrom::Earliest, 8).await?;
    let start = Start::Positions(vec![(partition, ReadFrom::At(all[3].1))]);
    sees_exactly(&harness, start, &events[3..]).await
}

async fn start_is_resolved_once(context: &Context<'_>) -> Outcome {
    let harness = context.harness(2).await?;
    send(&harness, 0..6).await?;
    let member = harness
        .join("group")
        .with(|it| it.start = Start::Latest)
        .open()
        .await?;
    member.close(context).await?;
    let events = send(&harness, 6..10).await?;
    sees_exactly(&harness, Start::Earliest, &events).await
}

async fn reset_replays_everything(context: &Context<'_>) -> Outcome {
    let harness = context.harness(2).await?;
    let events = send(&harness, 0..8).await?;
    let mut replays = Vec::new();
    for round in 0..2 {
        let member = harness.join("group").open().await?;
        let mut seen = Seen::default();
        while seen.distinct() < events.len() {
            let delivery = member
                .next(context)
                .await
                .during(format!("round {round}"))?;
            replays.push(delivery.assignment().replay);
            seen.note(delivery.event());
            delivery.ack().await?;
        }
        member.silent(context).await?;
        seen.check_once()?;
        member.close(context).await?;
        if round == 0 {
            reset(&harness, &Start::Earliest).await??;
        }
    }
    let (first, second) = replays.split_at(events.len());
    let of = |replays: &[u64]| (replays.iter().min().copied(), replays.iter().max().copied());
    check!(
        of(first).1 < of(second).0,
        "the reset did not raise the replay: {replays:?}"
    );
    Ok(())
}

async fn reset_is_refused_while_members_live(context: &Context<'_>) -> Outcome {
    let harness = context.harness(1).await?;
    let events = send(&harness, 0..4).await?;
    let member = harness.join("group").mortal().open().await?;
    let mut seen = Seen::default();
    member.work(context, &mut seen, 2).await?;
    let kind = reset(&harness, &Start::Earliest)
        .await?
        .err()
        .map(|error| error.kind());
    check_eq!(
        kind,
        Some(ErrorKind::Conflict),
        "a reset while a member lives"
    );
    member.work(context, &mut seen, 4).await?;
    seen.check_complete(&events)?;
    member.close(context).await
}

async fn seek_moves_one_partition(context: &Context<'_>) -> Outcome {
    let harness = context.harness(1).await?;
    let events = send(&harness, 0..6).await?;
    let member = harness.join("group").open().await?;
    let mut third = None;
    for n in 0..6 {
        let delivery = member.next(context).await?;
        if n == 2 {
            third = delivery.position();
        }
        delivery.ack().await?;
    }
    member.close(context).await?;
    let (log, leases) = (harness.log().await?, harness.leases().await?);
    let partition = log.partitions().await?.remove(0).id;
    let Some(third) = third else {
        check!(false, "a delivery of a log has no position");
        return Ok(());
    };
    let options = offline(&harness);
    let to = Checkpoint::At(third);
    let seeking = Group::seek(&*log, &*leases, &partition, to, &options, context.runtime);
    context
        .within("seeking", seeking)
        .await?
        .during("seeking")?;
    sees_exactly(&harness, Start::Earliest, &events[3..]).await
}

async fn skip_passes_one_event(context: &Context<'_>) -> Outcome {
    let harness = context.harness(1).await?;
    let events: Vec<Event> = (0..4).map(|n| keyed("k", n)).collect();
    harness.send(&events).await?;
    let member = harness.join("group").open().await?;
    member.next(context).await?.ack().await?;
    let stuck = member.next(context).await?;
    let position = stuck.position();
    stuck.nack(context.timing.deadline).await?;
    member.close(context).await?;
    let (log, leases) = (harness.log().await?, harness.leases().await?);
    let partition = log.partitions().await?.remove(0).id;
    let Some(position) = position else {
        check!(false, "a delivery of a log has no position");
        return Ok(());
    };
    let options = offline(&harness);
    let skipping = Group::skip(
        &*log,
        &*leases,
        &partition,
        position,
        &options,
        context.runtime,
    );
    context
        .within("skipping", skipping)
        .await?
        .during("skipping")?;
    sees_exactly(&harness, Start::Earliest, &events[2..]).await
}

async fn gap_is_never_silent(context: &Context<'_>) -> Outcome {
    let harness = gap(context).await?;
    let member = harness.join("group").open().await?;
    for time in ["at first", "later"] {
        let receiving = member.consumer().receive_batch(10);
        let received = context.within("the gap to be reported", receiving).await?;
        let kind = received
            .map(|received| received.len())
            .map_err(|error| error.kind());
        check_eq!(
            kind,
            Err(ErrorKind::PositionExpired),
            "the result of a gap {time}"
        );
    }
    member.close(context).await
}

async fn gap_goes_on_at_the_earliest(context: &Context<'_>) -> Outcome {
    let harness = gap(context).await?;
    let member = harness
        .join("group")
        .with(|it| it.on_gap = OnGap::Earliest)
        .open()
        .await?;
    let mut last = 0;
    while last < 101 {
        let delivery = member.next(context).await?;
        last = number(delivery.event())?;
        check!(last >= 10, "event {last} is gone, and came");
        delivery.ack().await?;
    }
    member.close(context).await
}

async fn gap_goes_on_at_the_latest(context: &Context<'_>) -> Outcome {
    let harness = gap(context).await?;
    let member = harness
        .join("group")
        .with(|it| it.on_gap = OnGap::Latest)
        .open()
        .await?;
    super::members::owns(context, &member, 1).await?;
    member.silent(context).await?;
    let events = send(&harness, 200..202).await?;
    let mut seen = Seen::default();
    member.work(context, &mut seen, 2).await?;
    seen.check_complete(&events)?;
    member.close(context).await
}

/// Prepares a group that settled 3 events, whose next ones have expired, followed by events 100 and
/// 101.
async fn gap<'a>(context: &'a Context<'a>) -> Outcome<Harness<'a>> {
    let harness = context.harness(1).await?;
    let events: Vec<Event> = (0..12).map(|n| keyed("k", n)).collect();
    harness.send(&events).await?;
    let member = harness.join("group").open().await?;
    for _ in 0..3 {
        member.next(context).await?.ack().await?;
    }
    member.close(context).await?;
    harness.inject(Fault::Expire).await?;
    harness.send(&[keyed("k", 100), keyed("k", 101)]).await?;
    Ok(harness)
}

async fn send(harness: &Harness<'_>, numbers: std::ops::Range<u64>) -> Outcome<Vec<Event>> {
    let events: Vec<Event> = numbers.map(|n| keyed(&format!("k{}", n % 3), n)).collect();
    harness.send(&events).await?;
    Ok(events)
}

/// Opens a member with that start, and checks that it sees these events and no others.
async fn sees_exactly(harness: &Harness<'_>, start: Start, events: &[Event]) -> Outcome {
    let context = harness.context;
    let member = harness
        .join("group")
        .with(|it| it.start = start)
        .open()
        .await?;
    let mut seen = Seen::default();
    member.work(context, &mut seen, events.len()).await?;
    member.silent(context).await?;
    seen.check_complete(events)?;
    seen.check_once()?;
    seen.check_order(events)?;
    member.close(context).await
}

fn offline(harness: &Harness<'_>) -> GroupOptions {
    let life = harness.context.timing.lease_ttl;
    GroupOptions::new("group".into()).with_lease_ttl(life)
}

async fn reset(
    harness: &Harness<'_>,
    start: &Start,
) -> Outcome<aqueduct_core::Result<aqueduct_core::GroupRecord>> {
    let (log, leases) = (harness.log().await?, harness.leases().await?);
    let options = offline(harness);
    let resetting = Group::reset(&*log, &*leases, start, &options, harness.runtime());
    harness.context.within("the reset", resetting).await
}
