use aqueduct_core::{
    Checkpoint, Effect, Error, ErrorKind, ReadFrom, ResolvedStart, Swap, Timestamp,
};

use super::*;

/// Partitions that are idle, as far as the member asks; counts how often it looks at one.
#[derive(Default)]
struct Idle {
    looks: usize,
}

impl Work for Idle {
    fn snapshot(&mut self, _: &PartitionId) -> Option<Snapshot> {
        self.looks += 1;
        None
    }

    fn needs_alone(&mut self, _: &PartitionId) -> bool {
        false
    }

    fn quiet(&mut self) -> bool {
        true
    }

    fn release(&mut self) {}

    fn keep_company(&mut self, _: &PartitionId) {}

    fn mark(&mut self, _: &PartitionId, _: bool) -> Option<Snapshot> {
        None
    }

    fn withdraw(&mut self, _: &PartitionId) {}

    fn stop(&mut self, _: &PartitionId, _: Revocation) -> Option<Snapshot> {
        None
    }

    fn is_dead(&self, _: &OwnerId) -> bool {
        false
    }
}

fn at(seconds: u64) -> Instant {
    Instant::after_origin(Duration::from_secs(seconds))
}

fn member() -> Member {
    let start = ResolvedStart {
        at: Timestamp::EPOCH,
        partitions: Vec::new(),
    };
    let group = GroupRecord::new(start, 0, Timestamp::EPOCH);
    let timings = Timings::new(&GroupOptions::new("billing".into()));
    let key = GroupKey::new("billing", "orders");
    Member::new(timings, key, "me".into(), group, 7, at(0))
}

fn row(owner: &str) -> Lease {
    let mut row = Lease::new("p0".into(), Checkpoint::Start(ReadFrom::Earliest));
    row.owner = Some(owner.into());
    row.generation = 2;
    row.counter = 9;
    row
}

fn listing(row: &Lease) -> Input {
    Input::Listed(Ok(Listing {
        partitions: vec![Partition::new(row.partition.clone())],
        leases: vec![row.clone()],
    }))
}

fn write_of(commands: &[Command]) -> Option<(u64, Lease, Lease)> {
    commands.iter().find_map(|command| match command {
        Command::Write {
            op, current, next, ..
        } => Some((*op, (**current).clone(), (**next).clone())),
        _ => None,
    })
}

/// A member that was handed `p0` and has sent its acceptance.
fn accepting() -> (Member, u64) {
    let mut member = member();
    member.handle(Input::Tick, at(0), &mut Idle::default());
    let commands = member.handle(listing(&row("me")), at(0), &mut Idle::default());
    let (op, _, _) = write_of(&commands).unwrap();
    (member, op)
}

#[test]
fn an_acceptance_that_is_refused_is_sent_again() {
    let (mut member, op) = accepting();
    let mut unchanged = row("me");
    unchanged.wanted_by = Some("other".into());
    let refused = Input::Written("p0".into(), op, Ok(Swap::Lost(Some(unchanged.clone()))));
    let commands = member.handle(refused, at(1), &mut Idle::default());
    assert!(matches!(commands[..], [Command::List(_)]), "{commands:?}");
    let commands = member.handle(listing(&unchanged), at(2), &mut Idle::default());
    assert!(write_of(&commands).is_some(), "{commands:?}");
}

#[test]
fn a_close_after_a_refused_acceptance_gives_the_row_up_and_ends() {
    for unreachable in [false, true] {
        let (mut member, op) = accepting();
        let answer = match unreachable {
            true => Err(Error::new(ErrorKind::Unavailable, "no store")),
            false => Ok(Swap::Lost(Some(row("me")))),
        };
        member.handle(Input::Close, at(1), &mut Idle::default());
        let commands = member.handle(
            Input::Written("p0".into(), op, answer),
            at(1),
            &mut Idle::default(),
        );
        let (op, current, next) = write_of(&commands).unwrap();
        assert_eq!((current.owner.is_some(), next.owner.clone()), (true, None));
        let written = Input::Written("p0".into(), op, Ok(Swap::Swapped(next)));
        let commands = member.handle(written, at(1), &mut Idle::default());
        assert!(commands.contains(&Command::Closed { kept: Vec::new() }));
    }
}

#[test]
fn a_lease_does_not_expire_while_the_watcher_cannot_reach_the_store() {
    let taken_at = |outage: std::ops::Range<u64>| {
        let mut member = member();
        (0..90).find(|now| {
            let mut commands = member.handle(Input::Tick, at(*now), &mut Idle::default());
            while matches!(commands[..], [Command::List(_)]) {
                let answer = match outage.contains(now) {
                    true => Input::Listed(Err(Error::new(ErrorKind::Unavailable, "no store"))),
                    false => listing(&row("other")),
                };
                commands = member.handle(answer, at(*now), &mut Idle::default());
            }
            write_of(&commands).is_some()
        })
    };
    let calm = taken_at(0..0).unwrap();
    assert!((30..50).contains(&calm), "{calm}");
    for from in 1..20 {
        // Short enough for the watcher to list in between as if nothing had been.
        let after = taken_at(from..from + 18).unwrap();
        assert!(
            after >= 40,
            "taken after {after} s, an outage of 18 s from {from} on"
        );
    }
}

/// A partition that is open, settled and drained.
struct Drained;

impl Work for Drained {
    fn snapshot(&mut self, _: &PartitionId) -> Option<Snapshot> {
        Some(Snapshot {
            progress: Progress {
                ack_floor: Checkpoint::Start(ReadFrom::Earliest),
                resume_token: None,
                handed_out: None,
                attempts: None,
                dirty: false,
                urgent: false,
                announces: false,
                settled: 0,
                caught_up_at: None,
            },
            wants_mark: false,
            mark: false,
            alone: false,
            marked: false,
            unclaimed: false,
            drained: true,
            ended: None,
        })
    }

    fn needs_alone(&mut self, _: &PartitionId) -> bool {
        false
    }

    fn quiet(&mut self) -> bool {
        true
    }

    fn release(&mut self) {}

    fn keep_company(&mut self, _: &PartitionId) {}

    fn mark(&mut self, _: &PartitionId, _: bool) -> Option<Snapshot> {
        None
    }

    fn withdraw(&mut self, _: &PartitionId) {}

    fn stop(&mut self, partition: &PartitionId, _: Revocation) -> Option<Snapshot> {
        self.snapshot(partition)
    }

    fn is_dead(&self, _: &OwnerId) -> bool {
        false
    }
}

#[test]
fn a_withdrawn_hand_off_goes_to_the_next_that_asks_or_to_none() {
    let withdrawn: [(Option<&str>, bool); 4] = [
        (None, false),
        (None, true),
        (Some("third"), false),
        (Some("third"), true),
    ];
    for (wanted_by, response_lost) in withdrawn {
        let (mut member, op) = accepting();
        let mut owned = row("me");
        owned.counter += 1;
        let accepted = Input::Written("p0".into(), op, Ok(Swap::Swapped(owned.clone())));
        member.handle(accepted, at(1), &mut Drained);
        let mut asked = owned.clone();
        asked.wanted_by = Some("other".into());
        let commands = member.handle(listing(&asked), at(2), &mut Drained);
        let (op, _, next) = write_of(&commands).unwrap();
        assert_eq!(next.owner, Some("other".into()), "{commands:?}");

        // The other leaves before the hand-off is stored.
        let mut stored = asked.clone();
        stored.wanted_by = wanted_by.map(OwnerId::from);
        let commands = if response_lost {
            let error = Error::new(ErrorKind::TimedOut, "late").with_effect(Effect::Unknown);
            member.handle(
                Input::Written("p0".into(), op, Err(error)),
                at(3),
                &mut Drained,
            );
            let commands = member.handle(Input::Tick, at(8), &mut Drained);
            let read = commands.iter().find_map(|command| match command {
                Command::Read(_, op) => Some(*op),
                _ => None,
            });
            let read = Input::Read("p0".into(), read.unwrap(), Ok(Some(stored)));
            member.handle(read, at(8), &mut Drained)
        } else {
            let lost = Input::Written("p0".into(), op, Ok(Swap::Lost(Some(stored))));
            member.handle(lost, at(3), &mut Drained)
        };
        let (_, _, next) = write_of(&commands).unwrap();
        assert_eq!(next.owner, wanted_by.map(OwnerId::from), "{response_lost}");
    }
}

/// Runs a member alone with so many idle partitions for ten minutes; returns how often it looked at one,
/// and how often it wrote a lease.
fn idle_minutes(partitions: usize) -> (usize, usize) {
    let (mut member, mut work) = (member(), Idle::default());
    let rows: Vec<Lease> = (0..partitions)
        .map(|n| {
            let name = PartitionId::new(format!("p{n}"));
            Lease::new(name, Checkpoint::Start(ReadFrom::Earliest))
        })
        .collect();
    let mut stored: BTreeMap<_, _> = rows
        .into_iter()
        .map(|row| (row.partition.clone(), row))
        .collect();
    let (mut now, mut writes) = (at(0), 0);
    let mut inputs = std::collections::VecDeque::from([Input::Tick]);
    while now < at(600) {
        let Some(input) = inputs.pop_front() else {
            now = now.max(member.next_wake());
            inputs.push_back(Input::Tick);
            continue;
        };
        for command in member.handle(input, now, &mut work) {
            match command {
                Command::List(_) => inputs.push_back(Input::Listed(Ok(Listing {
                    partitions: stored.keys().cloned().map(Partition::new).collect(),
                    leases: stored.values().cloned().collect(),
                }))),
                Command::Write { op, next, .. } => {
                    writes += 1;
                    stored.insert(next.partition.clone(), (*next).clone());
                    let answer = Ok(Swap::Swapped((*next).clone()));
                    inputs.push_back(Input::Written(next.partition.clone(), op, answer));
                }
                Command::Gone(partition, why) => panic!("{partition} is gone: {why}"),
                _ => {}
            }
        }
    }
    (work.looks, writes)
}

#[test]
fn the_cost_of_idle_partitions_grows_with_their_number_and_not_with_its_square() {
    let (few_looks, few_writes) = idle_minutes(20);
    let (many_looks, many_writes) = idle_minutes(400);
    // The first takes go beside the renewals.
    assert!(
        few_writes >= 20 * 60 && many_writes <= 400 * 75,
        "{many_writes}"
    );
    assert!(
        many_writes <= few_writes * 21,
        "{few_writes}, {many_writes}"
    );
    assert!(many_looks <= few_looks * 30, "{few_looks}, {many_looks}");
    // About one look a second, and one for each write.
    assert!(many_looks <= 400 * 600 * 2, "{many_looks}");
}
