//! Tables that are missing, invalid, or owned by another group.

use aqueduct_core::{ErrorKind, GroupKey, GroupRecord, ResolvedStart};
use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType,
};

use crate::support::{Place, SHARD, fresh, item, kcl2, kcl3, key, n, s};

#[tokio::test]
async fn missing_tables_are_made_once_and_on_demand() {
    let place = Place::new().await;
    let (one, other) = futures::join!(place.try_leases(&[]), place.try_leases(&[]));
    let (one, other) = (one.unwrap(), other.unwrap());
    let made = one.create(&key(), fresh(SHARD)).await.unwrap();
    let seen = other.read(&key(), &made.partition).await.unwrap();
    assert_eq!(seen, Some(made));
    let describe = place.client.describe_table().table_name(&place.table);
    let table = describe.send().await.unwrap().table.unwrap();
    let billing = table.billing_mode_summary().unwrap();
    assert_eq!(billing.billing_mode(), Some(&BillingMode::PayPerRequest));
}

#[tokio::test]
async fn missing_tables_are_refused_where_none_may_be_made() {
    let place = Place::new().await;
    let error = place
        .try_leases(&[("create", "never")])
        .await
        .err()
        .unwrap();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    let said = error.to_string();
    assert!(
        said.contains(&place.table) && said.contains("create"),
        "{said}"
    );
    assert_eq!(place.faults.requests("CreateTable"), 0);
}

#[tokio::test]
async fn a_table_that_is_no_lease_table_is_refused() {
    let place = Place::new().await;
    let attribute = |name: &str, kind| {
        let built = AttributeDefinition::builder().attribute_name(name);
        built.attribute_type(kind).build().unwrap()
    };
    let part = |name: &str, kind| {
        let built = KeySchemaElement::builder().attribute_name(name);
        built.key_type(kind).build().unwrap()
    };
    let create = place.client.create_table().table_name(&place.table);
    create
        .attribute_definitions(attribute("customer", ScalarAttributeType::S))
        .attribute_definitions(attribute("at", ScalarAttributeType::N))
        .key_schema(part("customer", KeyType::Hash))
        .key_schema(part("at", KeyType::Range))
        .billing_mode(BillingMode::PayPerRequest)
        .send()
        .await
        .unwrap();
    let error = place.try_leases(&[]).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert_eq!(
        error.to_string(),
        format!(
            "table {} is not a valid lease table: its key is customer (S, HASH) and at (N, RANGE) \
             (expected only leaseKey (S, HASH))",
            place.table
        )
    );
}

#[tokio::test]
async fn a_table_of_another_group_is_refused() {
    let place = Place::new().await;
    let store = place.leases(&[]).await;
    let at = "2026-02-01T00:00:00Z".parse().unwrap();
    let start = ResolvedStart {
        at,
        partitions: Vec::new(),
    };
    let record = GroupRecord::new(start, 0, at);
    store.create_group(&key(), record.clone()).await.unwrap();
    store.create(&key(), fresh(SHARD)).await.unwrap();
    for other in [
        GroupKey::new("shipping", "orders"),
        GroupKey::new("billing", "returns"),
    ] {
        let errors = [
            store.group(&other).await.unwrap_err(),
            store
                .create_group(&other, record.clone())
                .await
                .unwrap_err(),
            store.list(&other, &[]).await.unwrap_err(),
            store.create(&other, fresh(SHARD)).await.unwrap_err(),
            store
                .reset_group(&other, 0, record.clone())
                .await
                .unwrap_err(),
        ];
        for error in errors {
            assert_eq!(error.kind(), ErrorKind::Conflict);
            let said = error.to_string();
            assert!(
                said.contains("belongs to group billing on stream orders"),
                "{said}"
            );
            assert!(said.contains("layout = \"shared\""), "{said}");
        }
    }
}

#[tokio::test]
async fn layouts_are_not_mixed() {
    let place = Place::new().await;
    let multi = [("layout", "kcl-multi"), ("stream_ids", "1:orders:2")];
    place.leases(&[]).await;
    for other in [&[("layout", "shared")][..], &multi] {
        let error = place.try_leases(other).await.err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Conflict);
        assert!(
            error.to_string().contains("is kept in layout \"kcl\""),
            "{error}"
        );
    }

    // A table of KCL that Aqueduct has not opened yet.
    let place = Place::new().await;
    place.leases(&[]).await;
    place.put(kcl2(SHARD, None, "TRIM_HORIZON", 0)).await;
    let forget = place.client.delete_item().table_name(place.state_table());
    let forget = forget.key("key", s(&format!("layout/{}", place.table)));
    forget.send().await.unwrap();
    let error = place
        .try_leases(&[("layout", "shared")])
        .await
        .err()
        .unwrap();
    assert!(
        error.to_string().contains("belongs to a KCL application"),
        "{error}"
    );
    let several = place.leases(&multi).await;
    let error = several.list(&key(), &[]).await.unwrap_err();
    assert!(
        error.to_string().contains("leases of layout \"kcl\""),
        "{error}"
    );

    let place = Place::new().await;
    let one = place.leases(&[]).await;
    let mut row = kcl3("1:orders:2:shardId-0", None, "TRIM_HORIZON", 0);
    row.insert("streamName".to_owned(), s("1:orders:2"));
    place.put(row).await;
    let error = one.list(&key(), &[]).await.unwrap_err();
    assert!(
        error.to_string().contains("leases of layout \"kcl-multi\""),
        "{error}"
    );
}

#[tokio::test]
async fn a_damaged_row_is_named_with_its_attribute() {
    let place = Place::new().await;
    let store = place.leases(&[]).await;
    for (attribute, value, expected) in [
        ("checkpoint", s("soon"), "neither a sentinel"),
        ("leaseCounter", s("17"), "not of type number"),
        ("startingHashKey", s("x"), "not a hash key"),
        ("checkpointSubSequenceNumber", n("1.5"), "not a number"),
    ] {
        let mut row = kcl2(SHARD, None, "TRIM_HORIZON", 0);
        row.insert(attribute.to_owned(), value);
        place.put(row).await;
        let error = store.list(&key(), &[]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        let said = error.to_string();
        assert!(said.contains(SHARD) && said.contains(attribute), "{said}");
        assert!(said.contains(expected), "{said}");
    }
    place
        .put(item(&[("leaseKey", s(SHARD)), ("entityType", s("LEADER"))]))
        .await;
    assert!(store.list(&key(), &[]).await.unwrap().is_empty());
    let error = store.create(&key(), fresh(SHARD)).await.unwrap_err();
    assert!(error.to_string().contains("is not a lease"), "{error}");
}

#[tokio::test]
async fn a_table_of_many_pages_is_listed_whole() {
    let place = Place::new().await;
    let store = place.leases(&[]).await;
    // A page is 1 MiB.
    for at in 0..8 {
        let mut row = kcl2(&format!("shardId-{at:012}"), None, "TRIM_HORIZON", 0);
        row.insert("ofSomebodyElse".to_owned(), s(&"x".repeat(300_000)));
        place.put(row).await;
    }
    let scans = place.faults.requests("Scan");
    let listed = store.list(&key(), &[]).await.unwrap();
    assert_eq!(listed.len(), 8);
    let pages = place.faults.requests("Scan") - scans;
    assert!(
        pages >= if crate::common::in_process() { 1 } else { 2 },
        "{pages}"
    );
}

#[tokio::test]
async fn a_refused_write_shows_the_row() {
    let place = Place::new().await;
    let store = place.leases(&[]).await;
    let old = store.create(&key(), fresh(SHARD)).await.unwrap();
    let next = crate::support::taken(&old, "winner");
    let won = store.swap(&key(), &old, next).await.unwrap();
    let reads = place.faults.requests("GetItem");
    let late = crate::support::taken(&old, "loser");
    let lost = store.swap(&key(), &old, late).await.unwrap();
    let winner = crate::support::swapped(won);
    assert_eq!(lost, aqueduct_core::Swap::Lost(Some(winner)));
    // The in-process emulator does not include the row in a refusal, so it is read.
    let reads = place.faults.requests("GetItem") - reads;
    assert_eq!(reads, u64::from(crate::common::in_process()));
}
