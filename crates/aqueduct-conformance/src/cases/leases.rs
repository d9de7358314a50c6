use std::sync::Arc;

use aqueduct_core::{
    Capability, Checkpoint, Effect, GroupKey, HashRange, Lease, LeaseStore, OwnerId, PartitionId,
    Position, ReadFrom, ResumeToken, StoredAttempts, Swap, Timestamp,
};

use crate::case::{Case, Need, case};
use crate::context::Context;
use crate::fixture::Fault;
use crate::stop::{Outcome, Stop, check, check_eq};

pub(super) const CASES: &[Case] = &[
    case!(Store lease_is_created_if_absent, [6], [Need::Can(Capability::Leases)]),
    case!(Store lease_keeps_every_field, [5, 6], [Need::Can(Capability::Leases)]),
    case!(Store lease_keeps_every_checkpoint, [3], [Need::Can(Capability::Leases)]),
    case!(Store lost_race_returns_the_winner, [6], [Need::Can(Capability::Leases)]),
    case!(Store one_of_many_takes_the_lease, [6], [Need::Can(Capability::Leases)]),
    case!(Store stale_commit_is_fenced, [6], [Need::Can(Capability::Leases)]),
    case!(Store lease_is_deleted_unchanged_only, [8], [Need::Can(Capability::Leases)]),
    case!(Store late_write_never_lands_on_a_row_created_anew, [8], [Need::Can(Capability::Leases)]),
    case!(Store listing_shows_what_is_stored, [6], [Need::Can(Capability::Leases)]),
    case!(Store many_leases_are_listed, [6], [Need::Can(Capability::Leases)]),
    case!(Store groups_have_leases_of_their_own, [6], [Need::Can(Capability::Leases)]),
    case!(Store lost_lease_response_is_recognised_by_its_nonce, [6], [Need::Can(Capability::Leases), Need::Fault(Fault::LoseLeaseResponse)]),
    case!(Store peer_sees_the_same_leases, [6], [Need::Can(Capability::Leases), Need::Peer]),
];

async fn lease_is_created_if_absent(context: &Context<'_>) -> Outcome {
    let (leases, key) = store(context).await?;
    check_eq!(
        leases.read(&key, &partition()).await?,
        None,
        "a lease before it was created"
    );
    let mut first = lease();
    first.nonce = 1;
    let made = leases.create(&key, first.clone()).await?;
    check_same(&made, &first)?;
    let mut second = lease();
    second.nonce = 2;
    second.checkpoint = Checkpoint::At(Position::new(9));
    let returned = leases.create(&key, second).await?;
    check_same(&returned, &first)?;
    check_eq!(
        leases.read(&key, &partition()).await?,
        Some(made),
        "the stored lease"
    );
    Ok(())
}

async fn lease_keeps_every_field(context: &Context<'_>) -> Outcome {
    let (leases, key) = store(context).await?;
    let wide = "9".repeat(56).parse::<Position>()?.with_sub(7);
    let mut next = leases.create(&key, lease()).await?;
    let current = next.clone();
    check_eq!(next.resume_token, None, "the resume token of a new lease");
    check_eq!(next.caught_up_at, None, "when a new lease was caught up");
    next.owner = Some(OwnerId::new("me/äöü 1"));
    next.generation = 1;
    next.counter = 41;
    next.checkpoint = Checkpoint::At(wide);
    next.handed_out = Some(wide.with_sub(9));
    next.attempts = Some(StoredAttempts {
        position: wide.with_sub(8),
        count: 3,
        started: true,
    });
    next.resume_token = Some(ResumeToken::new("3:äöü/40000000000000000000000000000"));
    next.caught_up_at = Some("2026-01-31T12:00:00.123456Z".parse()?);
    next.unclean = 2;
    next.parents = vec![PartitionId::new("p-1"), PartitionId::new("p-2")];
    next.children = vec![PartitionId::new("c-1")];
    let last = u128::MAX;
    next.range = current.range.or(Some(HashRange {
        first: last / 2 + 1,
        last,
    }));
    next.nonce = u64::MAX;
    let stored = swapped(leases.swap(&key, &current, next.clone()).await?)?;
    check_same(&stored, &next)?;
    check_eq!(stored.range, next.range, "range");
    let read = leases.read(&key, &partition()).await?;
    check_eq!(read.as_ref(), Some(&stored), "the row read again");

    let mut bare = stored.clone();
    bare.counter += 1;
    bare.nonce = 5;
    bare.handed_out = None;
    bare.attempts = None;
    bare.resume_token = None;
    bare.caught_up_at = None;
    bare.unclean = 0;
    let stored = swapped(leases.commit(&key, &stored, bare.clone()).await?)?;
    check_same(&stored, &bare)
}

async fn lease_keeps_every_checkpoint(context: &Context<'_>) -> Outcome {
    let (leases, key) = store(context).await?;
    let at = Position::new(u64::MAX).with_sub(u64::MAX);
    let mut row = owned(&*leases, &key, "me").await?;
    let time: Timestamp = "2026-01-31T12:00:00.123456Z".parse()?;
    for checkpoint in [
        Checkpoint::Start(ReadFrom::Earliest),
        Checkpoint::Start(ReadFrom::Time(time)),
        Checkpoint::Start(ReadFrom::At(at)),
        Checkpoint::Start(ReadFrom::After(Position::MIN)),
        Checkpoint::At(at),
        Checkpoint::End,
    ] {
        let mut next = row.clone();
        next.counter += 1;
        next.nonce += 1;
        next.checkpoint = checkpoint;
        row = swapped(leases.commit(&key, &row, next).await?)?;
        check_eq!(row.checkpoint, checkpoint, "the returned checkpoint");
        let read = leases.read(&key, &partition()).await?;
        let read = read.map(|row| row.checkpoint);
        check_eq!(read, Some(checkpoint), "what is stored");
    }
    Ok(())
}

async fn lost_race_returns_the_winner(context: &Context<'_>) -> Outcome {
    let (leases, key) = store(context).await?;
    let current = leases.create(&key, lease()).await?;
    let winner = swapped(
        leases
            .swap(&key, &current, taken(&current, "a", 10))
            .await?,
    )?;
    match leases
        .swap(&key, &current, taken(&current, "b", 11))
        .await?
    {
        Swap::Lost(Some(row)) => check_eq!(row, winner, "the row that the loser is shown"),
        other => check!(
            false,
            "the second swap from the same row returned {other:?}"
        ),
    }
    let stored = leases.read(&key, &partition()).await?;
    check_eq!(stored, Some(winner), "the stored row");
    let mut elsewhere = lease();
    elsewhere.partition = PartitionId::new("never-made");
    let swap = leases
        .swap(&key, &elsewhere, taken(&elsewhere, "a", 12))
        .await?;
    check_eq!(
        swap,
        Swap::Lost(None),
        "a swap of a row that does not exist"
    );
    Ok(())
}

async fn one_of_many_takes_the_lease(context: &Context<'_>) -> Outcome {
    let (leases, key) = store(context).await?;
    let mut row = leases.create(&key, lease()).await?;
    for round in 0..10 {
        let racing = (0..8).map(|who| {
            let (leases, key, row) = (leases.clone(), key.clone(), row.clone());
            context.spawn(async move {
                let next = taken(&row, &format!("owner-{who}"), 100 * round + who);
                leases.swap(&key, &row, next).await
            })
        });
        let mut winners = Vec::new();
        for racer in futures::future::join_all(racing).await {
            if let Swap::Swapped(row) = racer?? {
                winners.push(row);
            }
        }
        check_eq!(winners.len(), 1, "winners of round {round}");
        row = winners.remove(0);
        let stored = leases.read(&key, &partition()).await?;
        check_eq!(stored.as_ref(), Some(&row), "the row after round {round}");
    }
    Ok(())
}

async fn stale_commit_is_fenced(context: &Context<'_>) -> Outcome {
    let (leases, key) = store(context).await?;
    let mine = owned(&*leases, &key, "me").await?;
    let thief = swapped(leases.swap(&key, &mine, taken(&mine, "thief", 20)).await?)?;
    let mut commit = mine.clone();
    commit.counter += 1;
    commit.nonce = 21;
    commit.checkpoint = Checkpoint::At(Position::new(99));
    match leases.commit(&key, &mine, commit.clone()).await? {
        Swap::Lost(Some(row)) => check_eq!(row, thief, "the row that the fenced owner is shown"),
        other => check!(false, "the commit of a fenced owner returned {other:?}"),
    }
    let mut renewed = thief.clone();
    renewed.counter += 1;
    renewed.nonce = 22;
    let renewed = swapped(leases.commit(&key, &thief, renewed).await?)?;
    let mut again = thief.clone();
    again.counter += 1;
    again.nonce = 23;
    let old = leases.commit(&key, &thief, again).await?;
    check!(
        matches!(old, Swap::Lost(_)),
        "a commit from a row that was renewed since: {old:?}"
    );
    let stored = leases.read(&key, &partition()).await?;
    check_eq!(stored, Some(renewed), "the stored row");
    Ok(())
}

async fn lease_is_deleted_unchanged_only(context: &Context<'_>) -> Outcome {
    let (leases, key) = store(context).await?;
    let old = leases.create(&key, lease()).await?;
    let row = swapped(leases.swap(&key, &old, taken(&old, "me", 60)).await?)?;
    match leases.delete(&key, &old).await? {
        Swap::Lost(Some(found)) => check_eq!(found, row, "the row that was changed meanwhile"),
        other => check!(false, "deleting a changed row returned {other:?}"),
    }
    swapped(leases.delete(&key, &row).await?)?;
    check_eq!(
        leases.read(&key, &partition()).await?,
        None,
        "the deleted row"
    );
    check_eq!(
        leases.delete(&key, &row).await?,
        Swap::Lost(None),
        "deleting it again"
    );
    Ok(())
}

/// A write of before a reset that arrives when the same owner has the partition again would restore
/// an old checkpoint: owner, generation and counter are the same.
async fn late_write_never_lands_on_a_row_created_anew(context: &Context<'_>) -> Outcome {
    let (leases, key) = store(context).await?;
    let old = owned(&*leases, &key, "me").await?;
    let mut late = old.clone();
    late.counter += 1;
    late.nonce = 70;
    late.checkpoint = Checkpoint::At(Position::new(9));
    swapped(leases.delete(&key, &old).await?)?;
    let created = leases.create(&key, lease()).await?;
    let mut own = taken(&created, "me", 71);
    own.checkpoint = Checkpoint::At(Position::new(3));
    let own = swapped(leases.swap(&key, &created, own).await?)?;
    check_eq!(
        (own.generation, own.counter),
        (old.generation, old.counter),
        "generation and counter of the new row"
    );
    let written = leases.commit(&key, &old, late).await?;
    check!(
        matches!(written, Swap::Lost(_)),
        "a write for the deleted row: {written:?}"
    );
    let deleted = leases.delete(&key, &old).await?;
    check!(
        matches!(deleted, Swap::Lost(_)),
        "a delete of the row that was deleted before: {deleted:?}"
    );
    let stored = leases.read(&key, &partition()).await?;
    check_eq!(stored, Some(own), "the stored row");
    Ok(())
}

async fn listing_shows_what_is_stored(context: &Context<'_>) -> Outcome {
    let (leases, key) = store(context).await?;
    for name in ["a", "b", "c"] {
        let lease = Lease::new(
            PartitionId::new(name),
            Checkpoint::Start(ReadFrom::Earliest),
        );
        leases.create(&key, lease).await?;
    }
    let known = sorted(leases.list(&key, &[]).await?);
    check_eq!(known.len(), 3, "leases");
    swapped(
        leases
            .swap(&key, &known[1], taken(&known[1], "me", 70))
            .await?,
    )?;
    leases
        .request(&key, &known[2], &OwnerId::new("guest"))
        .await?;
    swapped(leases.delete(&key, &known[0]).await?)?;
    let fresh = sorted(leases.list(&key, &[]).await?);
    let cheap = sorted(leases.list(&key, &known).await?);
    check_eq!(cheap, fresh, "a listing that may be cached");
    check_eq!(fresh.len(), 2, "leases that are left");
    check_eq!(fresh[0].owner, Some(OwnerId::new("me")), "the owner of b");
    check_eq!(
        fresh[1].wanted_by,
        Some(OwnerId::new("guest")),
        "who wants c"
    );
    Ok(())
}

async fn many_leases_are_listed(context: &Context<'_>) -> Outcome {
    let (leases, key) = store(context).await?;
    let name = |n: usize| PartitionId::new(format!("shardId-{n:012}"));
    for n in 0..150 {
        let lease = Lease::new(name(n), Checkpoint::Start(ReadFrom::Earliest));
        leases.create(&key, lease).await?;
    }
    let listed = sorted(leases.list(&key, &[]).await?);
    let found: Vec<_> = listed.iter().map(|lease| lease.partition.clone()).collect();
    check_eq!(
        found,
        (0..150).map(name).collect::<Vec<_>>(),
        "the listed leases"
    );
    Ok(())
}

async fn groups_have_leases_of_their_own(context: &Context<'_>) -> Outcome {
    let (leases, key) = store(context).await?;
    let others = [
        GroupKey::new("other", key.stream.text()),
        GroupKey::new(key.group.text(), "another-stream"),
        GroupKey::new(key.group.text(), format!("{}/x", key.stream)),
    ];
    let row = leases.create(&key, lease()).await?;
    for other in &others {
        check_eq!(leases.read(other, &partition()).await?, None, "{other}");
        check!(
            leases.list(other, &[]).await?.is_empty(),
            "{other} lists leases of {key}"
        );
        let mut theirs = lease();
        theirs.checkpoint = Checkpoint::End;
        leases.create(other, theirs).await?;
    }
    check_eq!(
        leases.read(&key, &partition()).await?,
        Some(row),
        "the lease of {key}"
    );
    Ok(())
}

async fn lost_lease_response_is_recognised_by_its_nonce(context: &Context<'_>) -> Outcome {
    let harness = context.harness(1).await?;
    let (leases, key) = (harness.leases().await?, harness.key("group"));
    let mine = owned(&*leases, &key, "me").await?;
    let mut next = mine.clone();
    next.counter += 1;
    next.nonce = 80;
    harness.inject(Fault::LoseLeaseResponse).await?;
    let error = leases.commit(&key, &mine, next.clone()).await.err();
    let effect = error.map(|error| error.effect());
    check_eq!(
        effect,
        Some(Effect::Unknown),
        "a commit whose response is lost"
    );
    let row = leases.read(&key, &partition()).await?;
    let row = row.ok_or_else(|| Stop::failed("the row is gone"))?;
    check_eq!(
        (row.nonce, row.counter),
        (next.nonce, next.counter),
        "the row that was written"
    );
    Ok(())
}

async fn peer_sees_the_same_leases(context: &Context<'_>) -> Outcome {
    let harness = context.harness(1).await?;
    let key = harness.key("group");
    let leases = harness.leases().await?;
    let Some(peer) = &harness.subject.peer else {
        return Err(Stop::Lacking(
            "the fixture cannot open a stream as another process".to_owned(),
        ));
    };
    let Ok(theirs) = peer.leases(context.runtime).await else {
        return Err(Stop::NotClaimed(
            "the leases are stored outside the stream".to_owned(),
        ));
    };
    let mine = owned(&*leases, &key, "me").await?;
    check_eq!(
        theirs.read(&key, &partition()).await?.as_ref(),
        Some(&mine),
        "the peer's view"
    );
    let stolen = swapped(theirs.swap(&key, &mine, taken(&mine, "peer", 90)).await?)?;
    let mut next = mine.clone();
    next.counter += 1;
    match leases.commit(&key, &mine, next).await? {
        Swap::Lost(Some(row)) => check_eq!(row, stolen, "the row that the owner is shown"),
        other => check!(
            false,
            "a commit after the peer took the lease returned {other:?}"
        ),
    }
    Ok(())
}

pub(super) async fn store(context: &Context<'_>) -> Outcome<(Arc<dyn LeaseStore>, GroupKey)> {
    let harness = context.harness(1).await?;
    context.step("a lease store");
    Ok((harness.leases().await?, harness.key("group")))
}

pub(super) fn partition() -> PartitionId {
    PartitionId::new("shardId-000000000000")
}

pub(super) fn lease() -> Lease {
    Lease::new(partition(), Checkpoint::Start(ReadFrom::Earliest))
}

/// Returns `current` with `owner` as its owner.
pub(super) fn taken(current: &Lease, owner: &str, nonce: u64) -> Lease {
    let mut next = current.clone();
    next.owner = Some(OwnerId::new(owner));
    next.generation += 1;
    next.counter += 1;
    next.wanted_by = None;
    next.nonce = nonce;
    next
}

/// Returns a lease that `owner` just acquired.
pub(super) async fn owned(leases: &dyn LeaseStore, key: &GroupKey, owner: &str) -> Outcome<Lease> {
    let current = leases.create(key, lease()).await?;
    swapped(
        leases
            .swap(key, &current, taken(&current, owner, 1))
            .await?,
    )
}

pub(super) fn swapped(swap: Swap) -> Outcome<Lease> {
    match swap {
        Swap::Swapped(row) => Ok(row),
        Swap::Lost(row) => Err(Stop::failed(format!(
            "a write without a concurrent one was rejected: {row:?}"
        ))),
    }
}

fn sorted(mut leases: Vec<Lease>) -> Vec<Lease> {
    leases.sort_by(|a, b| a.partition.cmp(&b.partition));
    leases
}

/// Compares the fields that a writer sets; the version belongs to the store.
fn check_same(stored: &Lease, written: &Lease) -> Outcome {
    check_eq!(stored.partition, written.partition, "partition");
    check_eq!(stored.owner, written.owner, "owner");
    check_eq!(stored.generation, written.generation, "generation");
    check_eq!(stored.counter, written.counter, "counter");
    check_eq!(stored.checkpoint, written.checkpoint, "checkpoint");
    check_eq!(stored.resume_token, written.resume_token, "resume token");
    check_eq!(stored.caught_up_at, written.caught_up_at, "caught up at");
    check_eq!(stored.handed_out, written.handed_out, "handed out");
    check_eq!(stored.attempts, written.attempts, "attempts");
    check_eq!(stored.unclean, written.unclean, "unclean takes");
    check_eq!(stored.parents, written.parents, "parents");
    check_eq!(stored.children, written.children, "children");
    check_eq!(stored.nonce, written.nonce, "nonce");
    Ok(())
}
