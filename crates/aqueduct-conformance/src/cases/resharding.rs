use aqueduct_core::{Capability, Event};

use crate::case::{Case, Need, case};
use crate::context::Context;
use crate::harness::Harness;
use crate::stop::Outcome;
use crate::workload::{Seen, interleaved};

const KEYS: [&str; 12] = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"];

pub(super) const CASES: &[Case] = &[
    case!(Flow splitting_under_load_keeps_order, [2, 8], [Need::Producer, Need::Group, Need::Can(Capability::Resharding), Need::Can(Capability::Admin)]),
    case!(Flow merging_under_load_keeps_order, [2, 8], [Need::Producer, Need::Group, Need::Can(Capability::Resharding), Need::Can(Capability::Admin)]),
    case!(Flow children_wait_for_their_parent, [2, 8], [Need::Producer, Need::Group, Need::Can(Capability::Resharding), Need::Can(Capability::Admin)]),
];

async fn splitting_under_load_keeps_order(context: &Context<'_>) -> Outcome {
    reshard_under_load(context, 1, 3).await
}

async fn merging_under_load_keeps_order(context: &Context<'_>) -> Outcome {
    reshard_under_load(context, 3, 1).await
}

async fn children_wait_for_their_parent(context: &Context<'_>) -> Outcome {
    let harness = context.harness(1).await?;
    let events = interleaved(&KEYS, 4);
    let (early, late) = events.split_at(KEYS.len());
    let member = harness.join("group").mortal().open().await?;
    harness.send(early).await?;
    let mut out = member.take(context, early.len()).await?;
    reshard(&harness, 2).await?;
    harness.send(late).await?;
    let held = out.pop();
    crate::member::ack_all(out).await?;
    member.silent(context).await?;
    let mut seen = Seen::default();
    early.iter().for_each(|event| {
        seen.note(event);
    });
    if let Some(held) = held {
        held.ack().await?;
    }
    member.work(context, &mut seen, events.len()).await?;
    seen.check_complete(&events)?;
    seen.check_once()?;
    seen.check_order(&events)?;
    member.close(context).await
}

async fn reshard_under_load(context: &Context<'_>, from: u32, to: u32) -> Outcome {
    let harness = context.harness(from).await?;
    let member = harness.join("group").mortal().open().await?;
    let events = interleaved(&KEYS, 30);
    let mut seen = Seen::default();
    let sending = async {
        for (at, call) in events.chunks(KEYS.len()).enumerate() {
            if at == 10 {
                reshard(&harness, to).await?;
            }
            harness.send(call).await?;
        }
        Ok(())
    };
    let working = member.work(context, &mut seen, events.len());
    futures::try_join!(sending, working)?;
    seen.check_complete(&events)?;
    seen.check_order(&events)?;
    check_flows_on(&harness, &member).await?;
    member.close(context).await
}

/// Checks that new events of every key still arrive.
async fn check_flows_on(harness: &Harness<'_>, member: &crate::member::Member) -> Outcome {
    let more: Vec<Event> = interleaved(&KEYS, 1);
    harness.send(&more).await?;
    let mut seen = Seen::default();
    member.work(harness.context, &mut seen, more.len()).await?;
    seen.check_complete(&more)
}

async fn reshard(harness: &Harness<'_>, partitions: u32) -> Outcome {
    let admin = harness.admin().await?;
    let resharding = admin.reshard(partitions);
    harness.context.within("resharding", resharding).await??;
    Ok(())
}
