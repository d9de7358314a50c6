//! Services that push: their clients renew leases, keys are not locked, acks go in order.

use super::tests::{SECOND, arrival, at, failed, ids, returned, settings};
use super::*;

/// A service whose client pushes messages and renews their leases, and that locks no key.
fn pushed(settings: QueueSettings, count: u64) -> Machine {
    let mut settings = settings;
    settings.client_leases = true;
    settings.locks_keys = false;
    settings.repeats = true;
    settings.longest_delay = Duration::ZERO;
    settings.longest_lease = Duration::from_secs(3600);
    let mut machine = Machine::new(settings);
    machine.demand(10, 0);
    machine.poll(at(100));
    let mut arrivals: Vec<_> = (0..count).map(|n| arrival("k", n, 1)).collect();
    for arrival in &mut arrivals {
        arrival.held = Duration::from_secs(60);
    }
    machine.received(arrivals, at(100), at(100));
    machine.demand(0, 10);
    machine
}

#[test]
fn leases_that_the_client_renews_last_and_their_messages_are_let_go_of_at_the_end() {
    let mut machine = pushed(settings(true), 2);
    let run = machine.take(1, at(100));
    assert!(
        machine
            .extend(run[0].ticket, 600 * SECOND, at(100))
            .unwrap()
            .is_none()
    );
    let end = 40 + 3600 - 1;
    assert_eq!(
        machine.next_wake(at(100)),
        Some(at(end)),
        "no extension is due"
    );
    assert!(machine.poll(at(end - 1)).is_empty());
    assert_eq!(
        returned(machine.poll(at(end))),
        [("k-0/1".to_owned(), 0), ("k-1/1".to_owned(), 0)],
        "the client forgets it, and what is behind it comes again behind it"
    );
    assert_eq!(
        machine.revocation(run[0].ticket, at(end)),
        Some(Revocation::Expired)
    );
}

#[test]
fn nothing_is_given_back_while_an_earlier_message_is_handled_where_keys_are_not_locked() {
    let mut machine = pushed(settings(true), 4);
    let run = machine.take(2, at(100));
    machine.drain(at(101));
    assert!(returned(machine.poll(at(101))).is_empty());
    machine.ack(run[0].ticket, at(102)).unwrap();
    assert!(
        returned(machine.poll(at(102))).is_empty(),
        "the second is handled"
    );
    machine.ack(run[1].ticket, at(103)).unwrap();
    let back = returned(machine.poll(at(103)));
    assert_eq!(back, [("k-2/1".to_owned(), 0), ("k-3/1".to_owned(), 0)]);
    let mut machine = pushed(settings(true), 3);
    machine.take(1, at(100));
    machine.close(at(101));
    let back = returned(machine.poll(at(101)));
    let receipts: Vec<_> = back.iter().map(|it| it.0.as_str()).collect();
    assert_eq!(receipts, ["k-0/1", "k-1/1", "k-2/1"], "in order");
}

#[test]
fn a_message_that_comes_again_after_its_ack_is_acknowledged_unseen_in_order_too() {
    let mut machine = pushed(settings(true), 1);
    let run = machine.take(1, at(100));
    machine.ack(run[0].ticket, at(101)).unwrap();
    let acks = acknowledged(machine.poll(at(102)));
    machine.acked(&acks, &[Ok(())], at(102));
    machine.demand(10, 0);
    machine.poll(at(103));
    machine.received(
        vec![arrival("k", 0, 2), arrival("k", 1, 1)],
        at(103),
        at(103),
    );
    assert_eq!(ids(&machine.take(9, at(103))), ["1"]);
    let again = acknowledged(machine.poll(at(104)));
    assert_eq!(again[0].1.as_str(), "k-0/2");
}

fn acknowledged(commands: Vec<Command>) -> Vec<(u64, SmallStr)> {
    let acks = commands.into_iter().filter_map(|command| match command {
        Command::Ack { messages } => Some(messages),
        _ => None,
    });
    acks.flatten().collect()
}

#[test]
fn acks_wait_for_those_before_them_where_the_service_takes_them_in_order() {
    let mut ordered = settings(true);
    ordered.acks_in_order = true;
    let mut machine = pushed(ordered, 4);
    let run = machine.take(4, at(100));
    machine.ack(run[1].ticket, at(101)).unwrap();
    machine.ack(run[2].ticket, at(101)).unwrap();
    assert!(acknowledged(machine.poll(at(102))).is_empty());
    assert!(machine.is_flushed(), "a flush waits for what can be sent");
    machine.ack(run[0].ticket, at(103)).unwrap();
    let acks = acknowledged(machine.poll(at(104)));
    let receipts: Vec<_> = acks.iter().map(|it| it.1.as_str()).collect();
    assert_eq!(receipts, ["k-0/1", "k-1/1", "k-2/1"]);
    machine.acked(&acks, &vec![Ok(()); 3], at(104));
    assert_eq!(machine.in_flight(), 1);
}

#[test]
fn a_handled_message_behind_one_that_is_given_back_comes_again_behind_it() {
    let mut ordered = settings(true);
    ordered.acks_in_order = true;
    let mut machine = pushed(ordered, 2);
    let run = machine.take(2, at(100));
    machine.ack(run[1].ticket, at(101)).unwrap();
    machine.drain(at(102));
    machine.again(run[0].ticket, failed(0), at(102)).unwrap();
    let back = returned(machine.poll(at(102)));
    assert_eq!(back, [("k-0/1".to_owned(), 0), ("k-1/1".to_owned(), 0)]);
    assert_eq!(machine.in_flight(), 0);
    assert!(machine.recent.of(&"k-1".into()).done);
}
