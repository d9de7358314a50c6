use std::sync::atomic::AtomicU64;

use futures::FutureExt as _;
use tokio::sync::Semaphore;

use super::*;
use crate::Transport;

const LIFE: Duration = Duration::from_secs(3600);

/// Hands out numbered credentials that live for an hour: the first at once, later ones when it may.
#[derive(Clone, Debug)]
struct Slow {
    clock: ServiceClock,
    asked: Arc<AtomicU64>,
    may: Arc<Semaphore>,
}

impl ProvideCredentials for Slow {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(async {
            let number = self.asked.fetch_add(1, Ordering::SeqCst);
            if number > 0 {
                self.may.acquire().await.unwrap().forget();
            }
            let expiry = Some(self.clock.now() + LIFE);
            let key = format!("AKID{number}");
            Ok(Credentials::new(key, "s", None, expiry, "test"))
        })
    }
}

fn start() -> (Renewing, Slow) {
    let slow = Slow {
        clock: ServiceClock::default(),
        asked: Arc::default(),
        may: Arc::new(Semaphore::new(0)),
    };
    let options = AwsOptions {
        region: Some("eu-west-1".into()),
        ..AwsOptions::default()
    };
    let renewing = Renewing::new(
        Chain::of(SharedCredentialsProvider::new(slow.clone())),
        options,
        Transport::new().requests(),
        Refused::default(),
        slow.clock.clone(),
    );
    (renewing, slow)
}

async fn key(renewing: &Renewing) -> String {
    renewing.provide().await.unwrap().access_key_id().to_owned()
}

/// Waits until `done` holds, for 30 s at most.
async fn until(done: impl AsyncFn() -> bool) {
    let waiting = async {
        while !done().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), waiting)
        .await
        .unwrap();
}

#[tokio::test]
async fn no_request_waits_for_a_renewal_that_can_be_made_beside() {
    let (renewing, slow) = start();
    assert_eq!(key(&renewing).await, "AKID0");
    slow.clock.advance(LIFE - AHEAD - Duration::from_secs(60));
    assert_eq!(key(&renewing).await, "AKID0");
    assert_eq!(slow.asked.load(Ordering::SeqCst), 1, "too early");

    slow.clock.advance(Duration::from_secs(120));
    // The provider does not return, and no request notices.
    for _ in 0..10 {
        assert_eq!(key(&renewing).await, "AKID0");
    }
    until(async || slow.asked.load(Ordering::SeqCst) == 2).await;
    assert_eq!(key(&renewing).await, "AKID0");
    slow.may.add_permits(1);
    until(async || key(&renewing).await == "AKID1").await;
    assert_eq!(slow.asked.load(Ordering::SeqCst), 2, "it was renewed once");
}

#[tokio::test]
async fn a_request_waits_where_the_credentials_end_before_its_response() {
    let (renewing, slow) = start();
    assert_eq!(key(&renewing).await, "AKID0");
    slow.clock.advance(LIFE - AT_LAST + Duration::from_secs(1));
    assert!(key(&renewing).now_or_never().is_none());
    slow.may.add_permits(2);
    assert_ne!(key(&renewing).await, "AKID0");
}
