use aqueduct_core::{Checkpoint, Event, ReadFrom};

use super::log::single;
use crate::case::{Case, Need, case};
use crate::context::Context;
use crate::member::ack_all;
use crate::observer::read_records;
use crate::stop::{Outcome, check_eq};
use crate::workload::{Seen, counted};

pub(super) const CASES: &[Case] = &[
    case!(Flow checkpoint_keeps_the_token_of_its_record, [17], [Need::Producer, Need::Group]),
    case!(Flow group_resumes_behind_its_checkpoint, [17], [Need::Producer, Need::Group]),
];

async fn checkpoint_keeps_the_token_of_its_record(context: &Context<'_>) -> Outcome {
    let harness = context.harness(1).await?;
    let (log, partition) = single(&harness).await?;
    harness
        .send(&(0..6).map(counted).collect::<Vec<_>>())
        .await?;
    let start = (ReadFrom::Earliest, None);
    let records = read_records(&harness, &*log, &partition, start, 6).await?;

    let member = harness.join("group").open().await?;
    let mut taken = member.take(context, 6).await?;
    taken.sort_by_key(|delivery| delivery.position());
    // Only the first two are settled without a gap, so the token of the last one would skip two.
    let unsettled: Vec<_> = taken.drain(2..4).collect();
    ack_all(taken).await?;
    member.consumer().flush().await?;
    let store = harness.leases().await?;
    let key = harness.key("group");
    let lease = context
        .until("the checkpoint to be stored", async || {
            let lease = store.read(&key, &partition).await?;
            let settled = Checkpoint::At(records[1].position);
            Ok(lease.filter(|lease| lease.checkpoint == settled))
        })
        .await?;
    check_eq!(
        lease.resume_token,
        records[1].resume_token,
        "the resume token of the checkpoint"
    );
    ack_all(unsettled).await?;
    member.close(context).await?;
    let lease = store.read(&key, &partition).await?;
    check_eq!(
        lease.and_then(|lease| lease.resume_token),
        records[5].resume_token,
        "the resume token after the member has left"
    );
    Ok(())
}

async fn group_resumes_behind_its_checkpoint(context: &Context<'_>) -> Outcome {
    let harness = context.harness(1).await?;
    let events: Vec<Event> = (0..9).map(counted).collect();
    harness.send(&events).await?;
    let mut seen = Seen::default();
    for round in 1..=3 {
        // One delivery at a time, so that a member leaves while records behind its checkpoint are
        // fetched already.
        let member = harness.join("group").open().await?;
        while seen.distinct() < round * 3 {
            let delivery = member.next(context).await?;
            seen.note(delivery.event());
            delivery.ack().await?;
        }
        member.close(context).await?;
    }
    seen.check_order(&events)?;
    seen.check_once()
}
