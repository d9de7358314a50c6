use std::sync::{Arc, Mutex, PoisonError};

use super::pool::Pool;

/// The long-lived streams of one connection. Few, so that a broken connection interrupts few partitions.
pub(super) const STREAMS: usize = 4;

/// Pools of one connection each, for a few long-lived streams.
#[derive(Default)]
pub(super) struct Lanes(Mutex<Vec<Lane>>);

struct Lane {
    pool: Arc<Pool>,
    /// Its clones are the streams that are open.
    open: Arc<()>,
}

/// A stream's place on a connection; dropping it makes room for another.
pub(super) struct Place {
    _open: Arc<()>,
}

impl Lanes {
    /// Returns a pool with room for one more stream; `make` makes one if all are taken.
    pub(super) fn place(&self, make: impl FnOnce() -> Pool) -> (Arc<Pool>, Place) {
        let mut lanes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let streams = |lane: &Lane| Arc::strong_count(&lane.open) - 1;
        // The fullest that has room, so that others become empty and are closed.
        let chosen = (0..lanes.len())
            .filter(|at| streams(&lanes[*at]) < STREAMS)
            .max_by_key(|at| streams(&lanes[*at]));
        let chosen = chosen.unwrap_or_else(|| {
            lanes.push(Lane {
                pool: Arc::new(make()),
                open: Arc::new(()),
            });
            lanes.len() - 1
        });
        let place = Place {
            _open: lanes[chosen].open.clone(),
        };
        let pool = lanes[chosen].pool.clone();
        lanes.retain(|lane| streams(lane) > 0);
        (pool, place)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::dial::Dial;
    use super::super::pool::Windows;
    use super::super::tls::{Roots, Tls};
    use super::*;

    fn pool() -> Pool {
        let windows = Windows {
            stream: 1 << 16,
            connection: 1 << 16,
        };
        let second = Duration::from_secs(1);
        Pool::new(Dial::new(Tls::new(Roots::System), second), second, windows)
    }

    #[test]
    fn streams_share_a_connection_until_it_is_full_and_leave_it() {
        let lanes = Lanes::default();
        let mut places: Vec<_> = (0..2 * STREAMS).map(|_| lanes.place(pool)).collect();
        let pools = |places: &[(Arc<Pool>, Place)]| {
            let mut all: Vec<_> = places.iter().map(|(pool, _)| Arc::as_ptr(pool)).collect();
            all.sort_unstable();
            all.dedup();
            all.len()
        };
        assert_eq!(pools(&places), 2);
        // The second connection's streams end: the next takes a place beside those left.
        places.truncate(STREAMS + 1);
        places.push(lanes.place(pool));
        assert_eq!(pools(&places), 2);
        places.drain(..STREAMS);
        places.push(lanes.place(pool));
        assert_eq!(pools(&places), 1);
    }
}
