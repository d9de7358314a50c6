use std::collections::{BTreeMap, BTreeSet};

use aqueduct_core::{ErrorKind, Parts, QueueMessage, Result};
use proptest::prelude::*;

use super::tests::{SECOND, arrival, at, failed, settings};
use super::*;

/// An ordered queue service.
#[derive(Default)]
struct Service {
    /// Messages by group, with the end of their leases and their receipts.
    groups: BTreeMap<u8, Vec<(u64, Instant, u64)>>,
}

impl Service {
    fn receive(&mut self, max: usize, now: Instant) -> Vec<QueueMessage> {
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

    /// With failures, stalls and lost responses: every event is handled, those of a key in order, nothing
    /// that was not out is settled, and no attempt is counted but of what ran.
    #[test]
    fn an_ordered_queue_is_read_in_order(steps in prop::collection::vec((0..12u8, 0..90u8), 1..120)) {
        let mut service = Service::default();
        for group in 0..4u8 {
            service.groups.insert(group, (0..6).map(|n| (n, Instant::default(), 0)).collect());
        }
        let mut machine = Machine::new(settings(true));
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
                            true => drop(machine.not_received(lost().unwrap_err(), SECOND, now)),
                            false => machine.received(given, now, now),
                        }
                    }
                    Command::Ack { messages } => {
                        let done: Vec<Result<()>> = messages
                            .iter()
                            .map(|it| match service.delete(&it.1, now) {
                                Ok(()) if lose => lost(),
                                done => done,
                            })
                            .collect();
                        machine.acked(&messages, &done, now);
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
                    Command::Release { messages } => {
                        for (handle, time) in messages {
                            let _ = service.hide(&handle, time, now);
                        }
                        machine.released();
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
