use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aqueduct_core::sync::lock;
use aqueduct_core::{
    Assignment, BatchConsumer, Checkpoint, ErrorKind, Event, RebalanceListener, Revocation,
};
use async_trait::async_trait;
use futures::future::join_all;

use crate::case::{Case, Need, case};
use crate::context::Context;
use crate::member::{Member, settle_late};
use crate::stop::{During as _, Outcome, Stop, check, check_eq};
use crate::workload::{Seen, interleaved, keyed, number};

pub(super) const CASES: &[Case] = &[
    case!(Flow members_share_the_partitions, [6], [Need::Producer, Need::Group]),
    case!(Flow members_join_under_load, [1, 2, 6], [Need::Producer, Need::Group]),
    case!(Flow leaving_member_hands_off_at_once, [1, 6, 14], [Need::Producer, Need::Group]),
    case!(Flow dead_member_is_replaced, [1, 6], [Need::Producer, Need::Group]),
    case!(Flow lost_lease_revokes_what_is_out, [6], [Need::Producer, Need::Group]),
    case!(Flow new_owner_has_a_higher_generation, [2, 6], [Need::Producer, Need::Group]),
    case!(Flow lost_lease_responses_do_no_harm, [6], [Need::Producer, Need::Group]),
    case!(Flow members_of_any_kind_share_the_events, [1], [Need::Producer, Need::Consumer]),
    case!(Flow rebalances_are_reported, [15], [Need::Producer, Need::Group]),
    case!(Flow member_keeps_to_its_maximum, [15], [Need::Producer, Need::Group]),
];

async fn members_share_the_partitions(context: &Context<'_>) -> Outcome {
    let harness = context.harness(4).await?;
    let one = harness.join("group").mortal().open().await?;
    owns(context, &one, 4).await?;
    let two = harness.join("group").mortal().elsewhere().open().await?;
    owns(context, &two, 2).await?;
    owns(context, &one, 2).await?;
    let events = interleaved(&["a", "b", "c", "d", "e", "f", "g", "h"], 5);
    harness.send(&events).await?;
    let (mut seen, _) = pump(context, &[&one, &two], events.len()).await?;
    seen.check_complete(&events)?;
    seen.check_order(&events)?;
    one.silent(context).await?;
    two.silent(context).await?;
    seen = Seen::default();
    two.close(context).await?;
    owns(context, &one, 4).await?;
    let more = interleaved(&["a", "b", "c", "d", "e", "f", "g", "h"], 1);
    harness.send(&more).await?;
    one.work(context, &mut seen, more.len()).await?;
    one.close(context).await
}

async fn members_join_under_load(context: &Context<'_>) -> Outcome {
    let harness = context.harness(4).await?;
    let one = harness.join("group").mortal().open().await?;
    let events = interleaved(&["a", "b", "c", "d", "e", "f", "g", "h"], 50);
    let sending = async {
        for call in events.chunks(8) {
            harness.send(call).await?;
            context.runtime.sleep(context.timing.lease_ttl / 20).await;
        }
        Ok(())
    };
    let working = async {
        owns(context, &one, 4).await?;
        let two = harness.join("group").mortal().elsewhere().open().await?;
        let (seen, shares) = pump(context, &[&one, &two], events.len()).await?;
        check!(shares[1] > 0, "the member that joined received nothing");
        two.close(context).await?;
        Ok(seen)
    };
    let ((), seen) = futures::try_join!(sending, working)?;
    seen.check_complete(&events)?;
    seen.check_order(&events)?;
    one.close(context).await
}

async fn leaving_member_hands_off_at_once(context: &Context<'_>) -> Outcome {
    let harness = context.harness(2).await?;
    let one = harness.join("group").open().await?;
    let events = interleaved(&["a", "b", "c", "d"], 6);
    harness.send(&events).await?;
    let mut seen = Seen::default();
    one.work(context, &mut seen, 10).await?;
    one.close(context).await?;
    let began = context.runtime.now();
    let two = harness.join("group").elsewhere().open().await?;
    two.work(context, &mut seen, events.len()).await?;
    let took = context.runtime.now().since(began);
    check!(
        took < context.timing.lease_ttl * 4,
        "a released partition was taken over after {took:?}, as if its owner had died"
    );
    two.silent(context).await?;
    seen.check_complete(&events)?;
    seen.check_once()?;
    seen.check_order(&events)?;
    two.close(context).await
}

async fn dead_member_is_replaced(context: &Context<'_>) -> Outcome {
    let harness = context.harness(4).await?;
    let one = harness.join("group").mortal().open().await?;
    let two = harness.join("group").mortal().elsewhere().open().await?;
    owns(context, &two, 2).await?;
    owns(context, &one, 2).await?;
    let events = interleaved(&["a", "b", "c", "d", "e", "f", "g", "h"], 6);
    harness.send(&events).await?;
    let held = two.take(context, 1).await?;
    two.crash();
    let mut seen = Seen::default();
    one.work(context, &mut seen, events.len()).await?;
    drop(held);
    owns(context, &one, 4).await?;
    seen.check_complete(&events)?;
    seen.check_order(&events)?;
    one.close(context).await
}

async fn lost_lease_revokes_what_is_out(context: &Context<'_>) -> Outcome {
    let harness = context.harness(1).await?;
    let one = harness.join("group").mortal().open().await?;
    harness.send(&[keyed("k", 0), keyed("k", 1)]).await?;
    let held = one.next(context).await?;
    let two = harness.join("group").mortal().elsewhere().open().await?;
    two.silent(context)
        .await
        .during("while another member holds the partition")?;
    one.lease_faults().cut();
    let again = two.next(context).await?;
    check_eq!(number(again.event())?, 0, "the event that was in flight");
    let reason = held.revoked().reason();
    check_eq!(
        reason,
        Some(Revocation::Lost),
        "why it is revoked when another member has it"
    );
    let failed = settle_late(context, held).await;
    check_eq!(
        failed,
        Some(ErrorKind::Revoked),
        "settling by a member that lost its lease"
    );
    again.ack().await?;
    one.crash();
    two.close(context).await
}

async fn new_owner_has_a_higher_generation(context: &Context<'_>) -> Outcome {
    let harness = context.harness(1).await?;
    harness.send(&[keyed("k", 0)]).await?;
    let mut last = 0;
    for owner in 0..3 {
        let member = harness.join("group").mortal().open().await?;
        let delivery = member.next(context).await?;
        let generation = delivery.generation();
        check!(
            generation > last,
            "owner {owner} has {generation}, the one before had {last}"
        );
        last = generation;
        match owner {
            0 => member.crash(),
            _ => {
                drop(delivery);
                member.close(context).await?;
            }
        }
    }
    Ok(())
}

async fn lost_lease_responses_do_no_harm(context: &Context<'_>) -> Outcome {
    let harness = context.harness(1).await?;
    // The member loses responses, not its lease, so only its successor uses the short lease.
    let member = harness.join("group").open().await?;
    let events: Vec<Event> = (0..60).map(|n| keyed("k", n)).collect();
    harness.send(&events[..5]).await?;
    let mut seen = Seen::default();
    member.work(context, &mut seen, 5).await?;
    let held = {
        harness.send(&[keyed("held", 0)]).await?;
        member.next(context).await?
    };
    for call in events[5..].chunks(11) {
        member.lease_faults().lose_responses(1);
        harness.send(call).await?;
        let count = seen.distinct() + call.len();
        member.work(context, &mut seen, count).await?;
        context
            .until("a lease write whose response is lost", async || {
                Ok((member.lease_faults().to_lose() == 0).then_some(()))
            })
            .await?;
    }
    check!(
        held.revoked().reason().is_none(),
        "the lease was lost with a response"
    );
    held.ack().await?;
    context
        .within("a flush", member.consumer().flush())
        .await??;
    seen.check_once()?;
    seen.check_order(&events)?;
    member.crash();
    let successor = harness.join("group").mortal().elsewhere().open().await?;
    harness.send(&[keyed("k", 60)]).await?;
    let next = successor.next(context).await?;
    check_eq!(
        number(next.event())?,
        60,
        "the first event after what was flushed"
    );
    next.ack().await?;
    successor.close(context).await
}

async fn members_of_any_kind_share_the_events(context: &Context<'_>) -> Outcome {
    let harness = context.harness(2).await?;
    let one = harness.join("group").mortal().open().await?;
    let two = harness.join("group").mortal().elsewhere().open().await?;
    let events = interleaved(&["a", "b", "c", "d", "e"], 10);
    harness.send(&events).await?;
    let (seen, _) = pump(context, &[&one, &two], events.len()).await?;
    seen.check_complete(&events)?;
    one.close(context).await?;
    two.close(context).await
}

async fn rebalances_are_reported(context: &Context<'_>) -> Outcome {
    let harness = context.harness(1).await?;
    let diary = Arc::new(Diary::default());
    let member = harness
        .join("group")
        .with(|options| options.rebalance_listener = Some(diary.clone()))
        .open()
        .await?;
    harness.send(&[keyed("k", 0)]).await?;
    let delivery = member.next(context).await?;
    let told = diary.read();
    check!(
        matches!(told[..], [Entry::Assigned(_)]),
        "before the first delivery: {told:?}"
    );
    let partition = delivery.partition().map(ToString::to_string);
    check_eq!(
        told,
        [Entry::Assigned(partition.clone())],
        "what was assigned"
    );
    delivery.ack().await?;
    member.close(context).await?;
    let expected = [
        Entry::Assigned(partition.clone()),
        Entry::Revoked(partition, Revocation::Shutdown),
    ];
    check_eq!(
        diary.read(),
        expected,
        "the assignment events until the close"
    );
    Ok(())
}

async fn member_keeps_to_its_maximum(context: &Context<'_>) -> Outcome {
    let harness = context.harness(3).await?;
    let limited = harness
        .join("group")
        .mortal()
        .with(|options| options.max_partitions = Some(1))
        .open()
        .await?;
    owns(context, &limited, 1).await?;
    context.runtime.sleep(context.timing.lease_ttl).await;
    owns(context, &limited, 1).await?;
    let other = harness.join("group").mortal().elsewhere().open().await?;
    owns(context, &other, 2).await?;
    owns(context, &limited, 1).await?;
    limited.close(context).await?;
    other.close(context).await
}

/// Lets every member receive and acknowledge until they have received `count` different events in
/// total. Returns the events in the order of receipt, and how many each member received.
async fn pump(
    context: &Context<'_>,
    members: &[&Member],
    count: usize,
) -> Outcome<(Seen, Vec<usize>)> {
    let seen = Mutex::new((Seen::default(), vec![0; members.len()]));
    let lock = || lock(&seen);
    let work = |who: usize, consumer: Arc<dyn BatchConsumer>| async move {
        while lock().0.distinct() < count {
            let receiving = consumer.receive_batch(10);
            let wait = Duration::from_millis(20);
            let Ok(received) = context.runtime.timeout(wait, "an event", receiving).await else {
                continue;
            };
            for delivery in received.during("receiving")? {
                {
                    let mut seen = lock();
                    seen.0.note(delivery.event());
                    seen.1[who] += 1;
                }
                match delivery.ack().await {
                    Err(failed) if !failed.error.is(ErrorKind::Revoked) => {
                        return Err(Stop::from(failed));
                    }
                    _ => {}
                }
            }
        }
        Ok(())
    };
    let working = members
        .iter()
        .enumerate()
        .map(|(who, member)| work(who, member.consumer().clone()));
    let what = format!("{count} events at {} members", members.len());
    for worked in context.within(&what, join_all(working)).await? {
        worked?;
    }
    Ok(seen.into_inner().unwrap_or_else(PoisonError::into_inner))
}

/// Waits until the member owns `count` partitions.
pub(super) async fn owns(context: &Context<'_>, member: &Member, count: usize) -> Outcome {
    let what = format!("a member to own {count} partitions");
    let mut last = 0;
    let owned = context
        .until(&what, async || {
            last = member.consumer().status().partitions.len();
            Ok((last == count).then_some(()))
        })
        .await;
    owned.during(format!("it owns {last}"))
}

#[derive(Clone, Debug, PartialEq)]
enum Entry {
    Assigned(Option<String>),
    Revoked(Option<String>, Revocation),
}

/// Records the assignment events.
#[derive(Default)]
struct Diary(Mutex<Vec<Entry>>);

impl Diary {
    fn read(&self) -> Vec<Entry> {
        lock(&self.0).clone()
    }

    fn write(&self, entry: Entry) {
        lock(&self.0).push(entry);
    }
}

#[async_trait]
impl RebalanceListener for Diary {
    async fn assigned(&self, assignment: &Assignment, _start: &Checkpoint) {
        let partition = assignment.partition.as_ref().map(ToString::to_string);
        self.write(Entry::Assigned(partition));
    }

    async fn revoked(&self, assignment: &Assignment, why: Revocation) {
        let partition = assignment.partition.as_ref().map(ToString::to_string);
        self.write(Entry::Revoked(partition, why));
    }
}
