//! Refusals of the service, and the errors that report them.

use aqueduct_core::{Capability, Claim, Effect, ErrorKind, PartitionId};
use aqueduct_emulators::HttpFault;

use crate::support::{Place, SHARD, fresh, key, swapped, taken};

#[tokio::test]
async fn every_refusal_has_its_kind_retry_and_effect() {
    let place = Place::new().await;
    let store = place.leases(&[]).await;
    let made = store.create(&key(), fresh(SHARD)).await.unwrap();
    let error = |status, code, message| HttpFault::Error(status, code, message);
    for (fault, kind, retryable, effect) in [
        (
            error(400, "ProvisionedThroughputExceededException", "slow down"),
            ErrorKind::Throttled,
            true,
            Effect::None,
        ),
        (
            error(400, "ThrottlingException", "slow"),
            ErrorKind::Throttled,
            true,
            Effect::None,
        ),
        (
            error(400, "ResourceNotFoundException", "gone"),
            ErrorKind::NotFound,
            false,
            Effect::None,
        ),
        (
            error(400, "UnrecognizedClientException", "who?"),
            ErrorKind::Denied,
            false,
            Effect::None,
        ),
        (
            error(400, "AccessDeniedException", "no"),
            ErrorKind::Denied,
            false,
            Effect::None,
        ),
        (
            error(
                400,
                "ValidationException",
                "Item size has exceeded the maximum allowed size",
            ),
            ErrorKind::TooLarge,
            false,
            Effect::None,
        ),
        (
            error(400, "ValidationException", "wrong"),
            ErrorKind::Invalid,
            false,
            Effect::None,
        ),
        (
            error(400, "TransactionConflictException", "busy"),
            ErrorKind::Unavailable,
            true,
            Effect::None,
        ),
        (
            error(500, "InternalServerError", "oh"),
            ErrorKind::Unavailable,
            true,
            Effect::Unknown,
        ),
        (
            HttpFault::LoseAnswer,
            ErrorKind::Unavailable,
            true,
            Effect::Unknown,
        ),
    ] {
        let shown = format!("{fault:?}");
        let current = store.read(&key(), &made.partition).await.unwrap().unwrap();
        place.faults.inject("UpdateItem", fault);
        let next = taken(&current, "me");
        let error = store.swap(&key(), &current, next).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{shown}: {error}");
        assert_eq!(error.is_retryable(), retryable, "{shown}: {error}");
        assert_eq!(error.effect(), effect, "{shown}: {error}");
        let said = error.to_string();
        assert!(
            said.contains("UpdateItem") && said.contains(&place.table),
            "{said}"
        );
    }
    let current = store.read(&key(), &made.partition).await.unwrap().unwrap();
    swapped(
        store
            .swap(&key(), &current, taken(&current, "me"))
            .await
            .unwrap(),
    );
}

#[tokio::test]
async fn an_endpoint_that_is_no_dynamodb_is_named() {
    let place = Place::new().await;
    place
        .faults
        .inject("DescribeTable", HttpFault::Answer("<html>hello</html>"));
    let error = place.try_leases(&[]).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains("is `endpoint` right"), "{error}");
}

#[tokio::test]
async fn a_lease_that_is_too_large_says_so() {
    if crate::common::in_process() {
        // The emulator accepts rows of any size.
        return;
    }
    let place = Place::new().await;
    let store = place.leases(&[]).await;
    let mut lease = fresh(SHARD);
    lease.parents = (0..900)
        .map(|n| PartitionId::new(format!("{n}{}", "x".repeat(500))))
        .collect();
    let error = store.create(&key(), lease).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge, "{error}");
}

#[tokio::test]
async fn what_it_does_not_offer_is_unsupported() {
    let place = Place::new().await;
    let resource = place
        .server
        .resource(&place.table, &place.faults, &[])
        .unwrap();
    let claims = resource.claims();
    for capability in [
        Capability::Leases,
        Capability::Idempotency,
        Capability::Durable,
        Capability::Shared,
    ] {
        assert_eq!(*claims.get(capability), Claim::Yes, "{capability}");
    }
    assert!(!claims.has(Capability::DeadLetters));
    let refused = [
        resource.producer(&place.runtime).await.err().unwrap(),
        resource.source(&place.runtime).await.err().unwrap(),
        resource.dead_letters(&place.runtime).await.err().unwrap(),
    ];
    for error in refused {
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.to_string().starts_with("dynamodb:"), "{error}");
    }
    assert_eq!(place.faults.all_requests().len(), 0, "nothing was opened");
}
