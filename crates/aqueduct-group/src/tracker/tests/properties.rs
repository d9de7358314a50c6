use proptest::collection::vec;
use proptest::prelude::*;

use super::model::Model;
use super::*;

#[derive(Clone, Debug)]
enum Step {
    Fetch(Vec<Option<u8>>),
    Take(usize),
    Settle(usize, How),
    Pass(u64),
}

#[derive(Clone, Debug)]
enum How {
    Ack,
    Nack(u64),
    BackOff(u64),
    Defer(u64),
    Abandon(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let key = prop_oneof![1 => Just(None), 4 => (0..6u8).prop_map(Some)];
    let how = prop_oneof![
        8 => Just(How::Ack),
        1 => (0..50u64).prop_map(How::Nack),
        1 => any::<u64>().prop_map(How::BackOff),
        1 => (0..50u64).prop_map(How::Defer),
        1 => any::<u64>().prop_map(How::Abandon),
    ];
    prop_oneof![
        2 => vec(key, 1..12).prop_map(Step::Fetch),
        3 => (1..12usize).prop_map(Step::Take),
        9 => (any::<usize>(), how).prop_map(|(which, how)| Step::Settle(which, how)),
        1 => (1..100u64).prop_map(Step::Pass),
    ]
}

/// The tracker and its model, side by side.
struct Pair {
    tracker: Tracker,
    model: Model,
    /// Everything handed out and not dropped, with the take that did: stale ones too.
    held: Vec<(Parts, usize)>,
    now: u64,
    next: u64,
}

impl Pair {
    fn new() -> Self {
        Self {
            tracker: tracker(),
            model: Model::default(),
            held: Vec::new(),
            now: 0,
            next: 1,
        }
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Fetch(keys) => self.fetch(keys),
            Step::Take(max) => self.take(*max),
            Step::Settle(which, how) if !self.held.is_empty() => {
                let held = self.held.swap_remove(which % self.held.len());
                self.settle(&held, how);
            }
            Step::Settle(..) => {}
            Step::Pass(millis) => self.now += millis,
        }
        self.model.check(&self.tracker);
    }

    fn fetch(&mut self, keys: &[Option<u8>]) {
        let mut batch = Vec::new();
        for key in keys.iter().take(self.tracker.room()) {
            let name = key.map(|key| key.to_string());
            batch.push(record(self.next, name.as_deref()));
            self.model.fetched(self.next, *key);
            self.next += 2;
        }
        let fetched = !batch.is_empty();
        self.tracker.fetched(batch, at(self.now));
        assert!(!fetched || self.model.unparked() <= OPTIONS.max_unsettled);
    }

    fn take(&mut self, max: usize) {
        let out = take(&mut self.tracker, max, at(self.now));
        let take = self.model.taken(&out, max, at(self.now));
        self.held.extend(out.into_iter().map(|parts| (parts, take)));
    }

    fn settle(&mut self, held: &(Parts, usize), how: &How) {
        let parts = &held.0;
        let now = at(self.now);
        let millis = Duration::from_millis;
        let failed = parts.attempt;
        let backed_off = |random: u64| {
            let part = (random >> 11) as f64 / (1u64 << 53) as f64;
            now + OPTIONS.redelivery.ceiling(failed).mul_f64(part)
        };
        let nack = |delay| Settlement::Nack { delay, error: None };
        let (settlement, random, due, fails) = match *how {
            How::Ack => (Settlement::Ack, 0, None, false),
            How::Nack(delay) => (
                nack(Some(millis(delay))),
                0,
                Some(now + millis(delay)),
                true,
            ),
            How::BackOff(random) => (nack(None), random, Some(backed_off(random)), true),
            How::Defer(delay) => {
                let delay = millis(delay);
                (Settlement::Defer { delay }, 0, Some(now + delay), false)
            }
            How::Abandon(random) => {
                self.model.settled(held, Some(backed_off(random)), true);
                self.tracker.abandon(parts, now, || random);
                return;
            }
        };
        let accepts = self.model.settled(held, due, fails);
        let is_revoked = self.tracker.revocation(parts.ticket).is_some();
        let answer = self.tracker.settle(parts, &settlement, now, || random);
        assert_eq!(answer.is_ok(), accepts, "{answer:?}");
        assert_eq!(is_revoked, !accepts);
    }

    /// Settles everything, as handlers do once all faults are over.
    fn finish(&mut self) {
        for _ in 0..10_000 {
            while let Some(held) = self.held.pop() {
                self.settle(&held, &How::Ack);
                self.model.check(&self.tracker);
            }
            if self.model.is_empty() {
                assert_eq!(self.tracker.blocked_by(), None);
                assert_eq!(self.tracker.room(), OPTIONS.max_unsettled);
                return;
            }
            self.take(5);
            if self.held.is_empty() {
                let due = self.tracker.next_due().expect("stuck");
                self.now = due.elapsed_since_origin().as_millis() as u64 + 1;
            }
        }
        panic!("never done");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) })]

    #[test]
    fn any_interleaving_does_what_the_model_does(steps in vec(step(), 1..200)) {
        let mut pair = Pair::new();
        for step in &steps {
            pair.step(step);
        }
        pair.finish();
    }
}
