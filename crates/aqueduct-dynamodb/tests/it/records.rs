//! Idempotency records as rows.

use std::time::Duration;

use aqueduct_core::{Claimed, Event, EventClaim, GroupName, IdempotencyScope};
use aws_sdk_dynamodb::types::TimeToLiveStatus;

use crate::support::Place;

fn scope() -> IdempotencyScope {
    IdempotencyScope {
        group: GroupName::new("g/1"),
        handlers: "h".into(),
        replay: 2,
    }
}

fn claim_of(id: &str, nonce: u64) -> EventClaim {
    EventClaim::new(&Event::new("t").with_source("/shop").with_id(id), nonce)
}

#[tokio::test]
async fn a_row_counts_although_its_time_is_up() {
    let place = Place::new().await;
    let store = place.records(&[("idempotency_retention", "7d")]).await;
    assert_eq!(store.retention(), Some(Duration::from_secs(7 * 86_400)));
    let claims = [claim_of("1", 1)];
    store.claim(&scope(), &claims).await.unwrap();
    store.complete(&scope(), &claims).await.remove(0).unwrap();
    let rows = place.state_rows().await;
    assert_eq!(rows.len(), 1);
    let mut row = rows[0].clone();
    assert_eq!(row["key"].as_s().unwrap(), "event/g%2F1/h/2/%2Fshop/1");
    let completed: i64 = row["completed"].as_n().unwrap().parse().unwrap();
    let expires: i64 = row["expires"].as_n().unwrap().parse().unwrap();
    let kept = expires - completed / 1000;
    assert!(kept >= 7 * 86_400, "removed after {kept} s already");

    // DynamoDB removes a row up to some days after it expires; until then it counts.
    row.insert("expires".to_owned(), crate::support::n(1));
    if crate::common::in_process() {
        let put = place.client.put_item().table_name(place.state_table());
        put.set_item(Some(row)).send().await.unwrap();
        let seen = store.claim(&scope(), &[claim_of("1", 2)]).await.unwrap();
        assert_eq!(seen, [Claimed::Completed]);
    }
}

#[tokio::test]
async fn a_table_that_expires_by_another_attribute_is_refused() {
    let place = Place::new().await;
    place.records(&[]).await;
    let other = aws_sdk_dynamodb::types::TimeToLiveSpecification::builder()
        .attribute_name("ends")
        .enabled(true)
        .build()
        .unwrap();
    let update = place.client.update_time_to_live();
    let update = update.table_name(place.state_table());
    update
        .time_to_live_specification(other)
        .send()
        .await
        .unwrap();
    let error = place.try_records(&[("idempotency_retention", "7d")]).await;
    let error = error.err().unwrap();
    assert_eq!(error.kind(), aqueduct_core::ErrorKind::Config);
    let said = error.to_string();
    assert!(
        said.contains("`ends`") && said.contains("`expires`"),
        "{said}"
    );
}

#[tokio::test]
async fn expiry_is_switched_on_where_records_end() {
    let place = Place::new().await;
    place.records(&[]).await;
    assert_eq!(place.faults.requests("UpdateTimeToLive"), 0);
    place.records(&[("idempotency_retention", "7d")]).await;
    place.records(&[("idempotency_retention", "7d")]).await;
    assert_eq!(place.faults.requests("UpdateTimeToLive"), 1);
    let describe = place.client.describe_time_to_live();
    let answer = describe
        .table_name(place.state_table())
        .send()
        .await
        .unwrap();
    let ttl = answer.time_to_live_description().unwrap();
    assert_eq!(ttl.attribute_name(), Some("expires"));
    let status = ttl.time_to_live_status();
    assert!(
        matches!(
            status,
            Some(TimeToLiveStatus::Enabled | TimeToLiveStatus::Enabling)
        ),
        "{status:?}"
    );
}

#[tokio::test]
async fn parts_of_any_length_and_kind_make_a_key() {
    let place = Place::new().await;
    let store = place.records(&[]).await;
    let long = "x".repeat(3000);
    let ids = ["a/b", "a%2Fb", &long, &format!("{long}y"), "ü"];
    for (at, id) in ids.iter().enumerate() {
        let claimed = store.claim(&scope(), &[claim_of(id, 1)]).await.unwrap();
        assert_eq!(claimed, [Claimed::New], "id {at}");
        let again = store.claim(&scope(), &[claim_of(id, 2)]).await.unwrap();
        assert!(
            matches!(again[..], [Claimed::Held { nonce: 1, .. }]),
            "id {at}"
        );
    }
    assert_eq!(place.state_rows().await.len(), ids.len());
}

#[tokio::test]
async fn a_heartbeat_of_a_claim_that_was_taken_over_is_refused() {
    let place = Place::new().await;
    let store = place.records(&[]).await;
    let (old, new) = ([claim_of("1", 1)], [claim_of("1", 2)]);
    store.claim(&scope(), &old).await.unwrap();
    // Another owner that saw the claim stalled releases it on its behalf.
    store.release(&scope(), &old).await.remove(0).unwrap();
    assert_eq!(store.claim(&scope(), &new).await.unwrap(), [Claimed::New]);
    let late = store.heartbeat(&scope(), &old).await.remove(0).unwrap_err();
    assert!(late.is(aqueduct_core::ErrorKind::Conflict));
    let late = store.complete(&scope(), &old).await.remove(0).unwrap_err();
    assert!(late.is(aqueduct_core::ErrorKind::Conflict));
    store.complete(&scope(), &new).await.remove(0).unwrap();
    store.heartbeat(&scope(), &old).await.remove(0).unwrap();
}
