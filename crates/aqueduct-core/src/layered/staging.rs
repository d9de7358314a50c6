use std::mem;
use std::ops::Range;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::join_all;

use super::settler::{Instead, Interceptors, Settlers};
use crate::{
    Abandoned, Admission, DeadLetter, Delivery, Error, ErrorKind, Next, Result, Settlement,
};

/// Received deliveries that are not handed out yet; survives a cancelled call.
pub(super) struct Staging {
    layers: Interceptors,
    /// In the order of receipt, not wrapped in the layers yet.
    pub(super) waiting: Vec<Delivery>,
    /// Whether all waiting deliveries have passed every layer.
    pub(super) admitted: bool,
    /// The outermost layer that was asked about the waiting deliveries, in this round or in one that was
    /// cancelled or failed: it and the layers further in may hold state for them.
    pub(super) reached: usize,
    /// Deliveries that are never handed out: a layer has settled them, or they are given back.
    owed: Vec<Owed>,
    pub(super) settlers: Settlers,
    /// The number of consecutive calls that failed in a layer.
    pub(super) failures: u32,
}

/// A delivery to settle without handing it out, through the layers from `from` on.
struct Owed {
    delivery: Delivery,
    /// The layers outside of the deciding one that know of the delivery: they see a deferral, so that
    /// they release their state before it is redelivered.
    outside: Range<usize>,
    from: usize,
    settlement: Settlement,
    answer: Option<Result<()>>,
}

impl Owed {
    async fn settle(&mut self, layers: &Interceptors) {
        let (parts, settler) = (self.delivery.parts(), &**self.delivery.settler());
        let inside = Next::new(&layers[self.from..], settler);
        let answer = if self.outside.is_empty() {
            inside.settle(parts, self.settlement.clone()).await
        } else {
            let instead = Instead::new(inside, self.settlement.clone());
            let outside = Next::new(&layers[self.outside.clone()], &instead);
            outside.settle(parts, NOT_NOW).await
        };
        self.answer = Some(answer);
    }
}

impl Staging {
    pub(super) fn new(layers: Interceptors) -> Self {
        Self {
            settlers: Settlers::new(layers.clone()),
            reached: layers.len(),
            layers,
            waiting: Vec::new(),
            admitted: false,
            owed: Vec::new(),
            failures: 0,
        }
    }

    /// Stages a received batch that no layer was asked about yet.
    pub(super) fn receive(&mut self, mut batch: Vec<Delivery>) {
        for delivery in &mut batch {
            // No handler has seen it yet, so dropping it must not count as a failed attempt.
            delivery.drop_as(Abandoned::Cancelled);
        }
        if batch.iter().any(is_for_another_group) {
            // A dead letter is redriven for one group; other groups settle it without handling (rule 12).
            for delivery in batch.extract_if(.., |it| is_for_another_group(it)) {
                self.owed.push(Owed {
                    delivery,
                    outside: 0..0,
                    from: self.layers.len(),
                    settlement: Settlement::Ack,
                    answer: None,
                });
            }
        }
        self.waiting = batch;
        self.admitted = false;
        self.reached = self.layers.len();
    }

    /// Applies the admissions of layer `at`. Returns whether it settled any delivery.
    pub(super) fn decide(&mut self, at: usize, admissions: Vec<Admission>) -> Result<bool> {
        if admissions.len() != self.waiting.len() {
            let message = format!(
                "it returned {} admissions for {} deliveries",
                admissions.len(),
                self.waiting.len()
            );
            return Err(Error::new(ErrorKind::Internal, message));
        }
        if admissions.iter().all(|it| matches!(it, Admission::Pass)) {
            return Ok(false);
        }
        for (delivery, admission) in mem::take(&mut self.waiting).into_iter().zip(admissions) {
            match admission {
                Admission::Pass => self.waiting.push(delivery),
                Admission::Settle(settlement) => self.owed.push(Owed {
                    delivery,
                    outside: self.reached.min(at)..at,
                    from: at + 1,
                    settlement,
                    answer: None,
                }),
            }
        }
        Ok(true)
    }

    /// Gives back deliveries that may no longer be settled: the backend redelivers them.
    pub(super) fn give_back_revoked(&mut self) {
        let is_revoked = |delivery: &Delivery| delivery.revoked().reason().is_some();
        if self.waiting.iter().any(is_revoked) {
            for delivery in mem::take(&mut self.waiting) {
                match is_revoked(&delivery) {
                    true => self.give_back(delivery),
                    false => self.waiting.push(delivery),
                }
            }
        }
    }

    /// Gives back all waiting deliveries: no handler has seen them, so no attempt counts.
    pub(super) fn give_back_all(&mut self) {
        for delivery in mem::take(&mut self.waiting) {
            self.give_back(delivery);
        }
    }

    /// Performs the pending settlements. One with a retryable failure stays pending, any other failed
    /// delivery is redelivered, and a revoked delivery is dropped.
    pub(super) async fn settle_owed(&mut self) -> Result<()> {
        if self.owed.is_empty() {
            return Ok(());
        }
        let layers = &self.layers;
        let unanswered = self.owed.iter_mut().filter(|owed| owed.answer.is_none());
        join_all(unanswered.map(|owed| owed.settle(layers))).await;
        let mut first = None;
        for mut owed in mem::take(&mut self.owed) {
            match owed.answer.take() {
                Some(Ok(())) => owed.delivery.mark_settled(),
                Some(Err(error)) if is_gone(&error) => {}
                Some(Err(error)) => {
                    if error.is_retryable() {
                        self.owed.push(owed);
                    } else {
                        for layer in &self.layers[owed.from..] {
                            let settler = &**owed.delivery.settler();
                            layer.abandoned(owed.delivery.parts(), settler, Abandoned::Cancelled);
                        }
                    }
                    first.get_or_insert(error);
                }
                None => self.owed.push(owed),
            }
        }
        first.map_or(Ok(()), Err)
    }

    /// Takes up to `max` waiting deliveries, wrapped in every layer.
    pub(super) fn hand_out(&mut self, max: usize) -> Vec<Delivery> {
        let mut batch = match self.waiting.len() > max {
            true => self.waiting.drain(..max).collect(),
            false => mem::take(&mut self.waiting),
        };
        for delivery in &mut batch {
            self.settlers.wrap(delivery);
            delivery.drop_as(Abandoned::Dropped);
        }
        batch
    }

    fn give_back(&mut self, delivery: Delivery) {
        self.owed.push(Owed {
            delivery,
            outside: 0..0,
            from: 0,
            settlement: NOT_NOW,
            answer: None,
        });
    }
}

impl Drop for Staging {
    /// Gives back deliveries if that needs no waiting.
    fn drop(&mut self) {
        self.give_back_all();
        let _ = self.settle_owed().now_or_never();
    }
}

const NOT_NOW: Settlement = Settlement::Defer {
    delay: Duration::ZERO,
};

fn is_for_another_group(delivery: &Delivery) -> bool {
    let target = DeadLetter::target_group(delivery.event());
    target.is_some_and(|group| group != delivery.assignment().group.as_str())
}

fn is_gone(error: &Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::Superseded | ErrorKind::Revoked | ErrorKind::Closed
    )
}
