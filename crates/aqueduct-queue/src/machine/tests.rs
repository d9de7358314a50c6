use aqueduct_core::{AttemptCount, ErrorKind, Event, Parts, QueueMessage, Retry};

use super::*;

pub(super) const SECOND: Duration = Duration::from_secs(1);

pub(super) fn settings(ordered: bool) -> QueueSettings {
    let mut settings = QueueSettings::new(ordered);
    settings.max_unsettled = 100;
    settings.max_unsettled_bytes = 1 << 20;
    settings
}

pub(super) fn at(seconds: u64) -> Instant {
    Instant::after_origin(Duration::from_secs(seconds))
}

pub(super) fn arrival(key: &str, n: u64, receipt: u64) -> QueueMessage {
    let event = Event::new("t").with_key(key).with_id(n.to_string());
    let receipt_handle = format!("{key}-{n}/{receipt}").into();
    let mut message = QueueMessage::new(format!("{key}-{n}").into(), receipt_handle, event);
    message.order_key = Some(key.into());
    message.bytes = 100;
    message.receipts = u32::try_from(receipt).unwrap();
    message
}

fn fed(ordered: bool, group: &str, count: u64) -> Machine {
    let mut machine = Machine::new(settings(ordered));
    machine.demand(10, 0);
    assert_eq!(names(&machine.poll(at(0))), ["receive"]);
    let arrivals = (0..count).map(|n| arrival(group, n, 1)).collect();
    machine.received(arrivals, at(0), at(0));
    machine.demand(0, 10);
    machine
}

fn name(command: &Command) -> &'static str {
    match command {
        Command::Receive { .. } => "receive",
        Command::Ack { .. } => "ack",
        Command::Extend { .. } => "extend",
        Command::Release { .. } => "release",
    }
}

fn names(commands: &[Command]) -> Vec<&'static str> {
    commands.iter().map(name).collect()
}

pub(super) fn ids(parts: &[Parts]) -> Vec<String> {
    parts.iter().map(|it| it.event.id().to_string()).collect()
}

pub(super) fn failed(seconds: u64) -> Again {
    Again {
        delay: Duration::from_secs(seconds),
        failed: true,
    }
}

/// Releases: receipts and delays in seconds.
pub(super) fn returned(commands: Vec<Command>) -> Vec<(String, u64)> {
    let mut all = Vec::new();
    for command in commands {
        if let Command::Release { messages } = command {
            let shown = messages.into_iter();
            all.extend(shown.map(|(handle, time)| (handle.to_string(), time.as_secs())));
        }
    }
    all
}

fn extended(commands: Vec<Command>) -> Vec<(u64, SmallStr, Duration)> {
    let mut all = Vec::new();
    for command in commands {
        if let Command::Extend { messages } = command {
            all.extend(messages);
        }
    }
    all
}

#[test]
fn followers_are_held_and_extended_while_their_head_waits() {
    let mut machine = fed(true, "k", 4);
    let run = machine.take(2, at(0));
    assert_eq!(ids(&run), ["0", "1"]);
    machine.again(run[0].ticket, failed(100), at(1)).unwrap();
    assert_eq!(
        machine.revocation(run[1].ticket, at(1)),
        Some(Revocation::Superseded)
    );
    let error = machine.ack(run[1].ticket, at(1)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Superseded);
    assert!(machine.take(9, at(1)).is_empty(), "nothing overtakes it");
    let due = extended(machine.poll(at(30)));
    let times: Vec<u64> = due.iter().map(|it| it.2.as_secs()).collect();
    assert_eq!(
        times,
        [131, 60, 60, 60],
        "the head over its whole delay at once"
    );
    let outcomes = vec![Ok(()); 4];
    machine.extended(&due, &outcomes, at(30), at(30));
    let due = extended(machine.poll(at(60)));
    assert_eq!(due.len(), 3);
    machine.extended(&due, &outcomes, at(60), at(60));
    machine.poll(at(101));
    let again = machine.take(9, at(101));
    assert_eq!(ids(&again), ["0", "1", "2", "3"]);
    let attempts: Vec<u32> = again.iter().map(|it| it.attempt).collect();
    assert_eq!(attempts, [2, 1, 1, 1]);
}

#[test]
fn what_runs_out_goes_and_what_is_behind_comes_again_behind_it() {
    let mut machine = fed(true, "k", 3);
    let run = machine.take(2, at(0));
    let due = extended(machine.poll(at(30)));
    let lost = vec![
        Err(aqueduct_core::Error::new(ErrorKind::Revoked, "gone")),
        Ok(()),
        Ok(()),
    ];
    machine.extended(&due, &lost, at(30), at(30));
    assert_eq!(
        machine.revocation(run[0].ticket, at(30)),
        Some(Revocation::Expired)
    );
    assert_eq!(
        machine.revocation(run[1].ticket, at(30)),
        Some(Revocation::Superseded)
    );
    let back = returned(machine.poll(at(30)));
    assert_eq!(back, [("k-1/1".to_owned(), 0), ("k-2/1".to_owned(), 0)]);
    assert_eq!(machine.in_flight(), 0);
    machine.demand(10, 0);
    machine.poll(at(31));
    machine.received((0..3).map(|n| arrival("k", n, 2)).collect(), at(31), at(31));
    let again = machine.take(9, at(31));
    assert_eq!(ids(&again), ["0", "1", "2"]);
    assert_eq!(again[0].attempt, 2, "it ran until its time was over");
    assert_eq!(again[1].attempt, 1);
}

#[test]
fn a_long_delay_waits_in_the_queue() {
    let mut machine = fed(true, "k", 2);
    let run = machine.take(1, at(0));
    machine.again(run[0].ticket, failed(1000), at(1)).unwrap();
    let back = returned(machine.poll(at(1)));
    assert_eq!(back, [("k-0/1".to_owned(), 1000), ("k-1/1".to_owned(), 0)]);
    // The service handed it out too early: it waits here.
    machine.demand(10, 0);
    machine.poll(at(900));
    machine.received(vec![arrival("k", 0, 2)], at(900), at(900));
    assert!(machine.take(1, at(900)).is_empty());
    let due = extended(machine.poll(at(930)));
    machine.extended(&due, &[Ok(())], at(930), at(930));
    machine.poll(at(1001));
    let again = machine.take(1, at(1001));
    assert_eq!(again[0].attempt, 2);
}

#[test]
fn a_repeated_receipt_is_recognised() {
    let mut machine = fed(false, "k", 2);
    let out = machine.take(2, at(0));
    machine.ack(out[0].ticket, at(1)).unwrap();
    machine.demand(10, 0);
    let commands = machine.poll(at(2));
    let Some(Command::Ack { messages }) = commands.into_iter().find(|it| name(it) == "ack") else {
        panic!("nothing is acknowledged");
    };
    machine.received(vec![arrival("k", 0, 2), arrival("k", 1, 2)], at(2), at(2));
    assert!(machine.take(2, at(2)).is_empty(), "both are out or handled");
    // The older receipt was acknowledged: the newer one has to be.
    machine.acked(&messages, &[Ok(())], at(3));
    let again = machine.poll(at(4));
    let newer = Command::Ack {
        messages: vec![(messages[0].0, "k-0/2".into())],
    };
    assert!(again.contains(&newer), "{again:?}");
    machine.ack(out[1].ticket, at(4)).unwrap();
    assert!(machine.take_failure(at(1)).is_none());
}

#[test]
fn closing_gives_everything_back_in_order() {
    let mut machine = fed(true, "k", 3);
    let run = machine.take(1, at(0));
    machine.close(at(1));
    assert_eq!(
        machine.revocation(run[0].ticket, at(1)),
        Some(Revocation::Shutdown)
    );
    let back = returned(machine.poll(at(1)));
    assert_eq!(back.len(), 3);
    assert_eq!(
        back[2].0, "k-0/1",
        "the first of the key last: until then its group is locked"
    );
    assert!(!machine.is_idle());
    machine.released();
    assert!(machine.is_idle());
}

#[test]
fn twelve_hours_are_the_end() {
    let mut machine = fed(true, "k", 1);
    let run = machine.take(1, at(0));
    let mut now = 0;
    while now < 43_200 {
        assert!(machine.extend(run[0].ticket, SECOND, at(now)).is_ok());
        now = machine
            .next_wake(at(now))
            .unwrap()
            .elapsed_since_origin()
            .as_secs();
        let due = extended(machine.poll(at(now)));
        for (_, _, time) in &due {
            assert!(now + time.as_secs() < 43_200, "{now} + {time:?}");
        }
        machine.extended(&due, &vec![Ok(()); due.len()], at(now), at(now));
        if machine.in_flight() == 0 {
            break;
        }
    }
    assert_eq!(
        machine.revocation(run[0].ticket, at(now)),
        Some(Revocation::Expired)
    );
    assert!((43_190..43_200).contains(&now), "{now}");
}

#[test]
fn a_queue_that_fails_is_asked_less() {
    let mut machine = Machine::new(settings(true));
    machine.demand(100, 0);
    assert_eq!(names(&machine.poll(at(0))), ["receive"]);
    let denied = aqueduct_core::Error::new(ErrorKind::Denied, "no");
    machine.not_received(denied, 5 * SECOND, at(1));
    assert_eq!(machine.unreachable_since(), Some(at(1)));
    assert!(machine.poll(at(2)).is_empty());
    assert_eq!(machine.next_wake(at(2)), Some(at(6)));
    assert!(machine.take_failure(at(1)).is_some() && machine.take_failure(at(1)).is_none());
    assert_eq!(names(&machine.poll(at(6))), ["receive"]);
    machine.received((0..10).map(|n| arrival("k", n, 1)).collect(), at(6), at(6));
    assert_eq!(machine.unreachable_since(), None);
    assert_eq!(
        names(&machine.poll(at(6))),
        ["receive", "receive"],
        "a response with messages widens"
    );
}

#[test]
fn a_role_that_may_not_acknowledge_is_told_of_and_flush_returns() {
    let mut machine = fed(true, "k", 2);
    let out = machine.take(2, at(0));
    machine.ack(out[0].ticket, at(1)).unwrap();
    machine.hurry(true);
    let Some(Command::Ack { messages }) = machine.poll(at(1)).pop() else {
        panic!("nothing is acknowledged");
    };
    let denied = aqueduct_core::Error::new(ErrorKind::Denied, "no");
    assert!(machine.acked(&messages, &[Err(denied)], at(2)), "a warning");
    assert!(!machine.is_flushed());
    assert_eq!(
        machine.ack_failure(at(2)).unwrap().kind(),
        ErrorKind::Denied
    );
    assert_eq!(machine.unreachable_since(), Some(at(2)));
    assert!(machine.take_failure(at(2)).is_some() && machine.take_failure(at(2)).is_none());
    // It is tried again, and mends.
    let Some(Command::Ack { messages }) = machine.poll(at(9)).pop() else {
        panic!("it is not tried again");
    };
    machine.acked(&messages, &[Ok(())], at(9));
    assert!(machine.is_flushed() && machine.ack_failure(at(9)).is_none());
    assert_eq!(machine.unreachable_since(), None);
}

#[test]
fn an_ack_lost_before_the_flush_is_reported_by_it() {
    let mut machine = fed(false, "k", 1);
    let out = machine.take(1, at(0));
    machine.ack(out[0].ticket, at(1)).unwrap();
    let mut commands = machine.poll(at(2)).into_iter();
    let Some(Command::Ack { messages }) = commands.find(|it| name(it) == "ack") else {
        panic!("nothing is acknowledged");
    };
    let gone = aqueduct_core::Error::new(ErrorKind::Revoked, "gone");
    machine.acked(&messages, &[Err(gone)], at(3));
    assert!(machine.is_flushed());
    assert_eq!((machine.take_lost(), machine.take_lost()), (1, 0));
}

#[test]
fn what_the_framework_gives_back_gains_no_attempt() {
    let mut machine = fed(true, "k", 2);
    for n in 1..6 {
        let run = machine.take(2, at(n));
        assert_eq!(
            (run[0].attempt, run[1].attempt),
            (u32::try_from(n).unwrap(), 1)
        );
        // The head fails. The follower is dropped after it was revoked, or deferred before.
        machine.again(run[0].ticket, failed(0), at(n)).unwrap();
        machine.abandon(run[1].ticket, failed(0), at(n));
    }
    let run = machine.take(2, at(9));
    let deferred = Again {
        delay: Duration::ZERO,
        failed: false,
    };
    machine.ack(run[0].ticket, at(9)).unwrap();
    machine.again(run[1].ticket, deferred, at(9)).unwrap();
    let last = machine.take(2, at(9));
    assert_eq!((ids(&last), last[0].attempt), (vec!["1".to_owned()], 1));
    machine.close(at(9));
    machine.abandon(last[0].ticket, failed(0), at(9));
    assert_eq!(
        machine.recent.of(&"k-1".into()).runs,
        0,
        "a shutdown is not a failure"
    );
}

#[test]
fn receipts_count_where_the_queue_says_so() {
    let mut settings = settings(true);
    settings.attempts = AttemptCount::Receipts;
    let mut machine = Machine::new(settings);
    machine.demand(10, 0);
    machine.poll(at(0));
    machine.received(vec![arrival("k", 0, 4)], at(0), at(0));
    assert_eq!(machine.take(1, at(0))[0].attempt, 4);
}

#[test]
fn a_service_without_delays_has_its_messages_held() {
    let mut settings = settings(true);
    settings.longest_delay = Duration::ZERO;
    let mut machine = Machine::new(settings);
    machine.demand(10, 0);
    machine.poll(at(0));
    machine.received(vec![arrival("k", 0, 1)], at(0), at(0));
    let run = machine.take(1, at(0));
    machine.again(run[0].ticket, failed(1000), at(1)).unwrap();
    assert!(returned(machine.poll(at(1))).is_empty());
    machine.drain(at(2));
    assert_eq!(returned(machine.poll(at(2))), [("k-0/1".to_owned(), 0)]);
}

#[test]
fn a_hint_of_the_service_is_waited_for_and_told() {
    let mut machine = Machine::new(settings(true));
    machine.demand(1, 0);
    machine.poll(at(0));
    let hint = Duration::from_secs(3600);
    let error =
        aqueduct_core::Error::new(ErrorKind::Throttled, "slow").with_retry(Retry::After(hint));
    machine.not_received(error, SECOND, at(1));
    assert!(machine.take_failure(at(1)).is_some());
    assert_eq!(machine.next_wake(at(1)), Some(at(3601)));
}
