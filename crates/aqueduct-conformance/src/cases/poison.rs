use std::sync::Arc;

use aqueduct_core::{
    Abandoned, Capability, DeadLetterQuery, DeadLetterReason, DeadLetterStore, Delivery, Event,
};
use aqueduct_layers::OnExhausted;

use super::dead::{layer, only_dead_letter};
use super::dead_letters::listed;
use crate::case::{Case, Need, case};
use crate::context::Context;
use crate::harness::Harness;
use crate::member::Member;
use crate::stop::{During as _, Outcome, check, check_eq};
use crate::workload::{Seen, interleaved, keyed};

pub(super) const CASES: &[Case] = &[
    case!(Flow poison_ends_as_a_dead_letter_and_no_innocent_does, [1, 5], [Need::Producer, Need::Group, Need::Can(Capability::DeadLetters)]),
    case!(Flow released_with_something_running_six_times, [5, 14], [Need::Producer, Need::Group, Need::Can(Capability::DeadLetters)]),
    case!(Flow crashes_alone_make_no_dead_letter, [5], [Need::Producer, Need::Group, Need::Can(Capability::DeadLetters)]),
];

async fn poison_ends_as_a_dead_letter_and_no_innocent_does(context: &Context<'_>) -> Outcome {
    let (harness, dead_letters) = super::dead_letters::dead_letters(context).await?;
    let mut events = interleaved(&["a", "b", "c"], 4);
    let poison = keyed("a", 666);
    events.insert(5, poison.clone());
    harness.send(&events).await?;
    let mut seen = Seen::default();
    let mut deaths = 0;
    while seen.distinct() < events.len() - 1 {
        check!(
            deaths < 10,
            "after {deaths} deaths the poison event is not a dead letter yet"
        );
        let member = mortal(&harness, &dead_letters).await?;
        deaths += usize::from(live(context, member, &poison, &mut seen, events.len() - 1).await?);
    }
    check!(deaths > 0, "the poison event never arrived");
    let dead_letter = only_dead_letter(context, &*dead_letters).await?.dead_letter;
    check_eq!(
        dead_letter.event.id(),
        poison.id(),
        "the event in the dead letter"
    );
    check_eq!(
        dead_letter.reason,
        DeadLetterReason::Poison,
        "why it is a dead letter"
    );
    let innocents: Vec<Event> = events
        .iter()
        .filter(|event| event.id() != poison.id())
        .cloned()
        .collect();
    seen.check_complete(&innocents)?;
    seen.check_order(&events)
}

/// A process that stops cancels its handlers, which must never count as failures.
async fn released_with_something_running_six_times(context: &Context<'_>) -> Outcome {
    let (harness, dead_letters) = super::dead_letters::dead_letters(context).await?;
    let events = interleaved(&["a", "b"], 3);
    harness.send(&events).await?;
    for attempts in [1, 2].repeat(3) {
        let layer = layer(context, &dead_letters, attempts, OnExhausted::DeadLetter)?;
        let member = harness.join("group").behind(layer).open().await?;
        let mut running = member.take(context, 2).await?;
        for delivery in &mut running {
            check_eq!(delivery.attempt(), 1, "the attempt that is cancelled");
            delivery.drop_as(Abandoned::Cancelled);
        }
        drop(running);
        member.close(context).await?;
    }
    let layer = layer(context, &dead_letters, 1, OnExhausted::DeadLetter)?;
    let member = harness.join("group").behind(layer).open().await?;
    let mut seen = Seen::default();
    member.work(context, &mut seen, events.len()).await?;
    member.silent(context).await?;
    seen.check_complete(&events)?;
    seen.check_order(&events)?;
    let found = listed(&*dead_letters, &DeadLetterQuery::default()).await?;
    check!(found.is_empty(), "a stop made dead letters: {found:?}");
    member.close(context).await
}

async fn crashes_alone_make_no_dead_letter(context: &Context<'_>) -> Outcome {
    let (harness, dead_letters) = super::dead_letters::dead_letters(context).await?;
    let events: Vec<Event> = (0..6).map(|n| keyed(&format!("k{}", n % 3), n)).collect();
    harness.send(&events).await?;
    for _ in 0..3 {
        let member = mortal(&harness, &dead_letters).await?;
        let held = member.take(context, 1).await?;
        drop(held);
        member.crash();
    }
    let layer = layer(context, &dead_letters, 100, OnExhausted::DeadLetter)?;
    let member = harness.join("group").mortal().behind(layer).open().await?;
    let mut seen = Seen::default();
    member.work(context, &mut seen, events.len()).await?;
    let innocent: Vec<Event> = events
        .iter()
        .filter(|event| event.key() != Some("k0"))
        .cloned()
        .collect();
    for dead_letter in listed(&*dead_letters, &DeadLetterQuery::default()).await? {
        let id = dead_letter.dead_letter.event.id();
        check!(
            !innocent.iter().any(|event| event.id() == id),
            "a harmless event became a dead letter"
        );
    }
    seen.check_order(&events)?;
    member.close(context).await
}

async fn mortal(harness: &Harness<'_>, dead_letters: &Arc<dyn DeadLetterStore>) -> Outcome<Member> {
    let layer = layer(harness.context, dead_letters, 2, OnExhausted::DeadLetter)?;
    harness.join("group").mortal().behind(layer).open().await
}

/// Runs one process that dies when it handles `poison`. Returns whether it died; otherwise it
/// closes after `count` different events were handled.
async fn live(
    context: &Context<'_>,
    member: Member,
    poison: &Event,
    seen: &mut Seen,
    count: usize,
) -> Outcome<bool> {
    while seen.distinct() < count {
        let receiving = member.consumer().receive_batch(10);
        let received = context.within("the next events", receiving).await?;
        let mut received: Vec<Delivery> = received.during("receiving")?;
        let at = received
            .iter()
            .position(|it| it.event().id() == poison.id());
        let behind = at.map(|at| received.split_off(at));
        for delivery in received {
            seen.note(delivery.event());
            delivery.ack().await.during("acknowledging")?;
        }
        if let Some(behind) = behind {
            member.crash();
            drop(behind);
            return Ok(true);
        }
    }
    member.close(context).await?;
    Ok(false)
}
