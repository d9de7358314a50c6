use std::collections::BTreeMap;

use aqueduct_core::{
    Checkpoint, Error, ErrorKind, GroupKey, GroupRecord, Lease, LeaseStore, OpenPartition,
    PartitionId, PartitionedLog, Position, ReadFrom, Result, ResumeToken, Runtime, Start, Swap,
};

use crate::GroupOptions;
use crate::consumer::resolve;

pub(crate) async fn reset(
    log: &dyn PartitionedLog,
    leases: &dyn LeaseStore,
    start: &Start,
    options: &GroupOptions,
    runtime: &Runtime,
) -> Result<GroupRecord> {
    let key = key_of(log, options);
    alone(leases, &key, options, runtime).await?;
    let Some(current) = leases.group(&key).await? else {
        let record = resolve(log, start, 0, runtime).await?;
        return leases.create_group(&key, record).await;
    };
    let record = resolve(log, start, current.replay + 1, runtime).await?;
    let stored = leases
        .reset_group(&key, current.replay, record.clone())
        .await?;
    if stored != record {
        let message =
            format!("{key}: another process reset it meanwhile: read its record and decide again");
        return Err(Error::new(ErrorKind::Conflict, message));
    }
    Ok(stored)
}

pub(crate) async fn seek(
    log: &dyn PartitionedLog,
    leases: &dyn LeaseStore,
    partition: &PartitionId,
    to: Checkpoint,
    options: &GroupOptions,
    runtime: &Runtime,
) -> Result<()> {
    let key = key_of(log, options);
    alone(leases, &key, options, runtime).await?;
    let lease = match leases.read(&key, partition).await? {
        Some(lease) => lease,
        None => {
            let listed = log.partitions().await?;
            let Some(listed) = listed.into_iter().find(|it| it.id == *partition) else {
                let message = format!("{key}: unknown partition {partition}");
                return Err(Error::new(ErrorKind::NotFound, message));
            };
            let mut lease = Lease::new(partition.clone(), to);
            lease.parents = listed.parents;
            lease.range = listed.range;
            lease.nonce = runtime.random();
            leases.create(&key, lease).await?
        }
    };
    let token = token_at(log, partition, to, options).await?;
    if is_before(to, lease.checkpoint)
        && let Some(group) = leases.group(&key).await?
    {
        return replay_from(leases, &key, group, partition, (to, token), runtime).await;
    }
    move_to(leases, &key, lease, (to, token), runtime).await
}

/// Returns the resume token of the record that `to` follows, which only the log knows (rule 17);
/// `None` if the log has none, or no longer has the record.
async fn token_at(
    log: &dyn PartitionedLog,
    partition: &PartitionId,
    to: Checkpoint,
    options: &GroupOptions,
) -> Result<Option<ResumeToken>> {
    let (Checkpoint::At(position) | Checkpoint::Start(ReadFrom::After(position))) = to else {
        return Ok(None);
    };
    let from = ReadFrom::At(position);
    let request = OpenPartition::new(options.group.clone(), partition.clone(), from);
    let read = async { log.open(&request).await?.read(1).await };
    let gone = |error: &Error| error.is(ErrorKind::PositionExpired);
    let records = match read.await {
        Ok(batch) => batch.records,
        Err(error) if gone(&error) => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut records = records.into_iter();
    let record = records.find(|record| record.position == position);
    Ok(record.and_then(|record| record.resume_token))
}

/// Returns whether `to` delivers settled events again.
fn is_before(to: Checkpoint, settled: Checkpoint) -> bool {
    match (to, settled) {
        (Checkpoint::At(to), Checkpoint::At(settled)) => to < settled,
        (Checkpoint::Start(_), Checkpoint::Start(_)) | (Checkpoint::End, _) => false,
        (_, Checkpoint::Start(_)) => false,
        (_, Checkpoint::At(_) | Checkpoint::End) => true,
    }
}

/// Returns whether everything that `settled` covers stays settled at `to`.
fn is_forward(settled: Checkpoint, to: Checkpoint) -> bool {
    match (settled, to) {
        (_, Checkpoint::End) => true,
        (Checkpoint::At(settled), Checkpoint::At(to)) => settled <= to,
        _ => false,
    }
}

/// Begins a new replay generation in which one partition is at `to` and the others keep their
/// positions: handled events are handled again there, even if idempotency records have their ids.
async fn replay_from(
    leases: &dyn LeaseStore,
    key: &GroupKey,
    group: GroupRecord,
    partition: &PartitionId,
    (to, token): (Checkpoint, Option<ResumeToken>),
    runtime: &Runtime,
) -> Result<()> {
    let mut kept = leases.list(key, &[]).await?;
    for lease in &mut kept {
        if lease.partition == *partition {
            lease.checkpoint = to;
            lease.resume_token.clone_from(&token);
        }
    }
    let mut next = group.clone();
    next.replay += 1;
    let begun = &mut next.start.partitions;
    begun.retain(|(id, _)| kept.iter().all(|lease| lease.partition != *id));
    begun.extend(
        kept.iter()
            .map(|lease| (lease.partition.clone(), lease.checkpoint)),
    );
    let stored = leases.reset_group(key, group.replay, next.clone()).await?;
    if stored != next {
        let message =
            format!("{key}: another process reset it meanwhile: read its record and decide again");
        return Err(Error::new(ErrorKind::Conflict, message));
    }
    // The record names them all, so a member that is faster finds the same positions there.
    for lease in kept {
        let mut fresh = Lease::new(lease.partition, lease.checkpoint);
        fresh.resume_token = lease.resume_token;
        fresh.generation = lease.generation;
        fresh.parents = lease.parents;
        fresh.children = lease.children;
        fresh.range = lease.range;
        fresh.nonce = runtime.random();
        leases.create(key, fresh).await?;
    }
    Ok(())
}

pub(crate) async fn skip(
    log: &dyn PartitionedLog,
    leases: &dyn LeaseStore,
    partition: &PartitionId,
    position: Position,
    options: &GroupOptions,
    runtime: &Runtime,
) -> Result<()> {
    let key = key_of(log, options);
    alone(leases, &key, options, runtime).await?;
    let Some(lease) = leases.read(&key, partition).await? else {
        let message =
            format!("{key}: partition {partition} has no lease: no member has read it yet");
        return Err(Error::new(ErrorKind::NotFound, message));
    };
    let next = match lease.checkpoint.read_from() {
        None => None,
        Some(from) => {
            let group = options.group.clone();
            let mut request = OpenPartition::new(group, partition.clone(), from);
            request.resume_token.clone_from(&lease.resume_token);
            let batch = log.open(&request).await?.read(1).await?;
            batch.records.into_iter().next()
        }
    };
    let token = next.as_ref().and_then(|record| record.resume_token.clone());
    let next = next.map(|record| record.position);
    if next != Some(position) {
        let next = next.map_or_else(|| "none".to_owned(), |next| next.to_string());
        return Err(Error::new(
            ErrorKind::Invalid,
            format!(
                "{key}, partition {partition}: position {position} cannot be skipped, the next \
                 one is {next}"
            ),
        ));
    }
    move_to(
        leases,
        &key,
        lease,
        (Checkpoint::At(position), token),
        runtime,
    )
    .await
}

async fn move_to(
    leases: &dyn LeaseStore,
    key: &GroupKey,
    lease: Lease,
    (to, token): (Checkpoint, Option<ResumeToken>),
    runtime: &Runtime,
) -> Result<()> {
    let mut next = lease.clone();
    next.owner = None;
    next.wanted_by = None;
    next.counter += 1;
    next.nonce = runtime.random();
    next.checkpoint = to;
    next.resume_token = token;
    if !is_forward(lease.checkpoint, to) {
        // It said that everything up to the old checkpoint was settled.
        next.caught_up_at = None;
    }
    next.handed_out = None;
    next.attempts = None;
    next.unclean = 0;
    match leases.swap(key, &lease, next).await? {
        Swap::Swapped(_) => Ok(()),
        Swap::Lost(_) => Err(Error::new(
            ErrorKind::Conflict,
            format!(
                "{key}, partition {}: a member took it meanwhile",
                lease.partition
            ),
        )),
    }
}

/// Makes sure that no member lives: each lease is free, its owner is dead, or it is unchanged for a
/// whole ttl.
async fn alone(
    leases: &dyn LeaseStore,
    key: &GroupKey,
    options: &GroupOptions,
    runtime: &Runtime,
) -> Result<()> {
    options.validate()?;
    let until = runtime.now() + options.lease_ttl;
    let mut seen: BTreeMap<PartitionId, (u64, u64)> = BTreeMap::new();
    loop {
        let late = runtime.now() >= until;
        let mut doubtful = 0;
        for lease in leases.list(key, &[]).await? {
            let Some(owner) = &lease.owner else { continue };
            if leases.is_dead(owner) {
                continue;
            }
            let stands = (lease.generation, lease.counter);
            let before = seen.insert(lease.partition.clone(), stands);
            let moved = before.is_some_and(|before| before != stands);
            if moved || (late && before.is_none()) {
                return Err(Error::new(
                    ErrorKind::Conflict,
                    format!(
                        "{key}: member {owner} lives and owns partition {}; stop every member \
                         first",
                        lease.partition
                    ),
                ));
            }
            doubtful += 1;
        }
        if doubtful == 0 || late {
            return Ok(());
        }
        runtime.sleep(options.lease_ttl / 8).await;
    }
}

fn key_of(log: &dyn PartitionedLog, options: &GroupOptions) -> GroupKey {
    GroupKey {
        group: options.group.clone(),
        stream: log.stream().clone(),
    }
}
