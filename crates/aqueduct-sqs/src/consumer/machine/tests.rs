use std::collections::{BTreeMap, BTreeSet};

use aqueduct_core::{ErrorKind, Event, Parts, Result};
use proptest::prelude::*;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn rules(ordered: bool) -> Rules {
    Rules {
        ordered,
        visibility: 60 * SECOND,
        hold: 900 * SECOND,
        receivers: 4,
        max_unsettled: 100,
        max_unsettled_bytes: 1 << 20,
        count_receipts: false,
    }
}

fn at(seconds: u64) -> Instant {
    Instant::after_origin(Duration::from_secs(seconds))
}

fn arrival(group: &str, n: u64, receipt: u64) -> Arrival {
    Arrival {
        message: format!("{group}-{n}").into(),
        handle: format!("{group}-{n}/{receipt}").into(),
        group: Some(group.into()),
        event: Event::new("t").with_key(group).with_id(n.to_string()),
        bytes: 100,
        stored_at: None,
        receipts: u32::try_from(receipt).unwrap(),
    }
}

fn fed(ordered: bool, group: &str, count: u64) -> Machine {
    let mut machine = Machine::new(rules(ordered));
    machine.demand(10, 0);
    assert_eq!(names(&machine.poll(at(0))), ["receive"]);
    let arrivals = (0..count).map(|n| arrival(group, n, 1)).collect();
    machine.received(arrivals, at(0), at(0));
    machine.demand(0, 10);
    machine
}

fn names(commands: &[Command]) -> Vec<&'static str> {
    commands.iter().map(Command::name).collect()
}

fn ids(parts: &[Parts]) -> Vec<String> {
    parts.iter().map(|it| it.event.id().to_string()).collect()
}

fn failed(seconds: u64) -> Again {
    Again {
        delay: Duration::from_secs(seconds),
        failed: true,
    }
}

/// What is returned: handles and delays in seconds.
fn returned(commands: Vec<Command>) -> Vec<(String, u64)> {
    let mut all = Vec::new();
    for command in commands {
        if let Command::Return { messages } = command {
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
    assert_eq!(machine.held(), 0);
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
    // Somebody gave it to us before: it waits here.
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
    let Some(Command::Delete { messages }) = commands.into_iter().find(|it| it.name() == "delete")
    else {
        panic!("nothing is deleted");
    };
    machine.received(vec![arrival("k", 0, 2), arrival("k", 1, 2)], at(2), at(2));
    assert!(machine.take(2, at(2)).is_empty(), "both are out or handled");
    // The older receipt was deleted: the newer one has to be.
    machine.deleted(&messages, &[Ok(())], at(3));
    let again = machine.poll(at(4));
    let newer = Command::Delete {
        messages: vec![(messages[0].0, "k-0/2".into())],
    };
    assert!(again.contains(&newer), "{again:?}");
    machine.ack(out[1].ticket, at(4)).unwrap();
    assert!(machine.take_failure().is_none());
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
    machine.returned_now();
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
        if machine.held() == 0 {
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
    let mut machine = Machine::new(rules(true));
    machine.demand(100, 0);
    assert_eq!(names(&machine.poll(at(0))), ["receive"]);
    let denied = aqueduct_core::Error::new(ErrorKind::Denied, "no");
    machine.not_received(denied, 5 * SECOND, at(1));
    assert_eq!(machine.unreachable_since(), Some(at(1)));
    assert!(machine.poll(at(2)).is_empty());
    assert_eq!(machine.next_wake(at(2)), Some(at(6)));
    assert!(machine.take_failure().is_some() && machine.take_failure().is_none());
    assert_eq!(names(&machine.poll(at(6))), ["receive"]);
    machine.received((0..10).map(|n| arrival("k", n, 1)).collect(), at(6), at(6));
    assert_eq!(machine.unreachable_since(), None);
    assert_eq!(
        names(&machine.poll(at(6))),
        ["receive", "receive"],
        "a full answer widens"
    );
}

/// An ordered queue as the service is one, for the machine to read.
#[derive(Default)]
struct Service {
    /// Messages by group, with the moment until when they are hidden and their receipts.
    groups: BTreeMap<u8, Vec<(u64, Instant, u64)>>,
}

impl Service {
    fn receive(&mut self, max: usize, now: Instant) -> Vec<Arrival> {
        let mut given = Vec::new();
        for (group, messages) in &mut self.groups {
            if messages.iter().any(|it| it.1 > now) {
                continue;
            }
            for message in messages.iter_mut().take(max - given.len()) {
                message.1 = now + 60 * SECOND;
                message.2 += 1;
                given.push(arrival(&group.to_string(), message.0, message.2));
            }
        }
        given
    }

    fn find(&mut self, handle: &str, now: Instant) -> Option<(u8, usize)> {
        let (message, receipt) = handle.split_once('/')?;
        let (group, n) = message.split_once('-')?;
        let group: u8 = group.parse().ok()?;
        let place =
            self.groups.get(&group)?.iter().position(|it| {
                it.0.to_string() == n && it.2.to_string() == receipt && it.1 > now
            })?;
        Some((group, place))
    }

    fn hide(&mut self, handle: &str, time: Duration, now: Instant) -> Result<()> {
        let gone = || aqueduct_core::Error::new(ErrorKind::Revoked, "gone");
        let (group, place) = self.find(handle, now).ok_or_else(gone)?;
        self.groups.get_mut(&group).unwrap()[place].1 = now + time;
        Ok(())
    }

    fn delete(&mut self, handle: &str, now: Instant) -> Result<()> {
        let gone = || aqueduct_core::Error::new(ErrorKind::Revoked, "gone");
        let (group, place) = self.find(handle, now).ok_or_else(gone)?;
        self.groups.get_mut(&group).unwrap().remove(place);
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Whatever fails, stalls or is lost: every event is handled, those of a key in order, nothing
    /// that was not out is settled, and no attempt is counted but of what ran.
    #[test]
    fn an_ordered_queue_is_read_in_order(steps in prop::collection::vec((0..12u8, 0..90u8), 1..120)) {
        let mut service = Service::default();
        for group in 0..4u8 {
            service.groups.insert(group, (0..6).map(|n| (n, Instant::default(), 0)).collect());
        }
        let mut machine = Machine::new(rules(true));
        machine.demand(10, 0);
        let mut now = at(1);
        let mut out: Vec<Parts> = Vec::new();
        let mut handled: BTreeMap<String, BTreeSet<u64>> = BTreeMap::new();
        let mut ran: BTreeMap<(String, u64), u32> = BTreeMap::new();
        let calm = std::iter::repeat_n((2u8, 31u8), 400);
        for (act, amount) in steps.into_iter().chain(calm) {
            let lose = act == 11;
            for command in machine.poll(now) {
                let lost = || Err(aqueduct_core::Error::new(ErrorKind::TimedOut, "lost"));
                match command {
                    Command::Receive { max } => {
                        let given = service.receive(max, now);
                        match lose {
                            true => machine.not_received(lost().unwrap_err(), SECOND, now),
                            false => machine.received(given, now, now),
                        }
                    }
                    Command::Delete { messages } => {
                        let done: Vec<Result<()>> = messages
                            .iter()
                            .map(|it| match service.delete(&it.1, now) {
                                Ok(()) if lose => lost(),
                                done => done,
                            })
                            .collect();
                        machine.deleted(&messages, &done, now);
                    }
                    Command::Extend { messages } => {
                        let done: Vec<Result<()>> = messages
                            .iter()
                            .map(|it| match lose {
                                true => lost(),
                                false => service.hide(&it.1, it.2, now),
                            })
                            .collect();
                        machine.extended(&messages, &done, now, now);
                    }
                    Command::Return { messages } => {
                        for (handle, time) in messages {
                            let _ = service.hide(&handle, time, now);
                        }
                        machine.returned_now();
                    }
                }
            }
            out.retain(|it| machine.revocation(it.ticket, now).is_none() || {
                *ran.entry((
                    it.event.key().unwrap().to_owned(),
                    it.event.id().to_string().parse().unwrap(),
                )).or_default() += 1;
                false
            });
            for parts in machine.take(1 + usize::from(amount % 4), now) {
                let key = parts.event.key().unwrap().to_owned();
                let n: u64 = parts.event.id().to_string().parse().unwrap();
                let runs = ran.get(&(key.clone(), n)).copied().unwrap_or(0);
                prop_assert!(parts.attempt <= runs + 1, "{} of {runs} at {key}-{n}", parts.attempt);
                let in_hand = out.iter().filter(|it| it.event.key() == Some(&key));
                let before: BTreeSet<u64> = in_hand
                    .map(|it| it.event.id().to_string().parse().unwrap())
                    .chain(handled.get(&key).into_iter().flatten().copied())
                    .collect();
                prop_assert!((0..n).all(|earlier| before.contains(&earlier)), "{key}-{n} overtakes");
                out.push(parts);
            }
            let calm = act == 2 && amount == 31;
            if !out.is_empty() && (act < 9 || calm) {
                let parts = out.remove(0);
                let key = parts.event.key().unwrap().to_owned();
                let n: u64 = parts.event.id().to_string().parse().unwrap();
                *ran.entry((key.clone(), n)).or_default() += 1;
                match act {
                    0 => { let _ = machine.again(parts.ticket, failed(u64::from(amount)), now); }
                    1 => machine.abandon(parts.ticket, failed(1), now),
                    _ => if machine.ack(parts.ticket, now).is_ok() {
                        handled.entry(key).or_default().insert(n);
                    } else {
                        machine.abandon(parts.ticket, failed(1), now);
                    }
                }
            }
            now = now + Duration::from_secs(match act { 9 => u64::from(amount), 10 => 70, _ => 1 });
        }
        prop_assert_eq!(handled.values().map(BTreeSet::len).sum::<usize>(), 24);
    }
}
