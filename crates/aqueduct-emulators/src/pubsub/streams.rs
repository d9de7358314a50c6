use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;
use tonic::Status;

/// The open streaming pulls.
#[derive(Debug)]
pub(super) struct Streams {
    open: Mutex<HashMap<String, usize>>,
    /// Ends all streams that listen when it changes.
    end: watch::Sender<Option<Status>>,
    random: Mutex<u64>,
}

impl Streams {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            open: Mutex::default(),
            end: watch::Sender::new(None),
            random: Mutex::new(seed),
        }
    }

    pub(super) fn add(&self, subscription: &str) {
        *self.lock().entry(subscription.to_owned()).or_default() += 1;
    }

    pub(super) fn remove(&self, subscription: &str) {
        let mut open = self.lock();
        if let Some(count) = open.get_mut(subscription) {
            *count -= 1;
            if *count == 0 {
                open.remove(subscription);
            }
        }
    }

    pub(super) fn count(&self, subscription: &str) -> usize {
        self.lock().get(subscription).copied().unwrap_or_default()
    }

    pub(super) fn end_all(&self, status: Status) {
        self.end.send_replace(Some(status));
    }

    pub(super) fn ended(&self) -> watch::Receiver<Option<Status>> {
        self.end.subscribe()
    }

    /// Returns a number from 1 to `most`: small ones as often as large ones, as the service's batches are.
    pub(super) fn batch(&self, most: usize) -> usize {
        let mut state = self.random.lock().unwrap_or_else(PoisonError::into_inner);
        // SplitMix64.
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = *state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        let doublings = u64::from(usize::BITS - most.leading_zeros());
        let within = 1_usize << (mixed % doublings);
        let most = (within * 2 - 1).min(most) as u64;
        usize::try_from(1 + (mixed >> 32) % most).unwrap_or(1)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, usize>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
