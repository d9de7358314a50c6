use std::collections::HashMap;
use std::sync::Arc;

use aqueduct_core::{
    Checkpoint, GroupKey, IdempotencyStore, Lease, LeaseStore, OwnerId, PartitionId, ReadFrom,
    Runtime, Swap,
};
use aqueduct_emulators::HttpFaults;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::AttributeValue;

use crate::common::Server;

pub type Item = HashMap<String, AttributeValue>;

/// One table, accessed as a member and directly.
pub struct Place {
    pub server: Server,
    pub table: String,
    pub faults: HttpFaults,
    pub client: Client,
    pub runtime: Runtime,
}

impl Place {
    pub async fn new() -> Self {
        let server = Server::start();
        Self {
            table: server.table(),
            faults: server.faults(),
            client: server.client().await,
            runtime: aqueduct_runtime::tokio(),
            server,
        }
    }

    pub async fn leases(&self, options: &[(&str, &str)]) -> Arc<dyn LeaseStore> {
        self.try_leases(options).await.unwrap()
    }

    pub async fn try_leases(
        &self,
        options: &[(&str, &str)],
    ) -> aqueduct_core::Result<Arc<dyn LeaseStore>> {
        let resource = self.server.resource(&self.table, &self.faults, options)?;
        resource.leases(&self.runtime).await
    }

    pub async fn records(&self, options: &[(&str, &str)]) -> Arc<dyn IdempotencyStore> {
        self.try_records(options).await.unwrap()
    }

    pub async fn try_records(
        &self,
        options: &[(&str, &str)],
    ) -> aqueduct_core::Result<Arc<dyn IdempotencyStore>> {
        let resource = self.server.resource(&self.table, &self.faults, options);
        resource.unwrap().idempotency(&self.runtime).await
    }

    pub fn state_table(&self) -> String {
        format!("{}-aqueduct", self.table)
    }

    /// Writes a row directly, as a foreign writer does.
    pub async fn put(&self, item: Item) {
        let put = self.client.put_item().table_name(&self.table);
        put.set_item(Some(item)).send().await.unwrap();
    }

    /// Reads a row directly.
    pub async fn row(&self, key: &str) -> Option<Item> {
        let get = self.client.get_item().table_name(&self.table);
        let get = get.key("leaseKey", s(key)).consistent_read(true);
        get.send().await.unwrap().item
    }

    pub async fn state_rows(&self) -> Vec<Item> {
        let scan = self.client.scan().table_name(self.state_table());
        let answer = scan.consistent_read(true).send().await.unwrap();
        answer.items.unwrap_or_default()
    }
}

pub fn s(text: &str) -> AttributeValue {
    AttributeValue::S(text.to_owned())
}

pub fn n(number: impl ToString) -> AttributeValue {
    AttributeValue::N(number.to_string())
}

pub fn ss(names: &[&str]) -> AttributeValue {
    AttributeValue::Ss(names.iter().map(|name| (*name).to_owned()).collect())
}

pub fn item(attributes: &[(&str, AttributeValue)]) -> Item {
    attributes
        .iter()
        .map(|(name, value)| ((*name).to_owned(), value.clone()))
        .collect()
}

pub const SHARD: &str = "shardId-000000000000";
pub const SEQUENCE: &str = "49590338271490256608559692538361571095921575989136588898";

/// Returns a lease row as KCL 2 writes it.
pub fn kcl2(key: &str, owner: Option<&str>, checkpoint: &str, sub: i64) -> Item {
    let mut row = item(&[
        ("leaseKey", s(key)),
        ("leaseCounter", n(17)),
        ("ownerSwitchesSinceCheckpoint", n(3)),
        ("checkpoint", s(checkpoint)),
        ("checkpointSubSequenceNumber", n(sub)),
        ("startingHashKey", s("0")),
        (
            "endingHashKey",
            s("340282366920938463463374607431768211455"),
        ),
    ]);
    if let Some(owner) = owner {
        row.insert("leaseOwner".to_owned(), s(owner));
    }
    row
}

/// Returns a lease row as KCL 3 writes it.
pub fn kcl3(key: &str, owner: Option<&str>, checkpoint: &str, sub: i64) -> Item {
    let mut row = kcl2(key, owner, checkpoint, sub);
    row.insert("entityType".to_owned(), s("LEASE"));
    row.insert("throughputKBps".to_owned(), n("12.5"));
    row
}

pub fn key() -> GroupKey {
    GroupKey::new("billing", "orders")
}

pub fn fresh(partition: &str) -> Lease {
    let start = Checkpoint::Start(ReadFrom::Earliest);
    Lease::new(PartitionId::new(partition), start)
}

/// Returns `current` taken by `owner`.
pub fn taken(current: &Lease, owner: &str) -> Lease {
    let mut next = current.clone();
    next.owner = Some(OwnerId::new(owner));
    next.generation += 1;
    next.counter += 1;
    next.wanted_by = None;
    next.nonce = 40 + next.counter;
    next
}

pub fn swapped(swap: Swap) -> Lease {
    match swap {
        Swap::Swapped(lease) => lease,
        Swap::Lost(row) => panic!("lost to {row:?}"),
    }
}
