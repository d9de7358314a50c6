use std::sync::Arc;

use aqueduct_aws::Aws;
use aqueduct_core::{
    Backend, Capability, Claim, Claims, IdempotencyStore, Identity, LeaseStore, OptionTable,
    Options, Resource, Result, Runtime, SmallStr, StreamName, Url,
};
use async_trait::async_trait;
use aws_sdk_dynamodb::Client;

use crate::config::Config;
use crate::idempotency::DynamoDbRecords;
use crate::leases::{DynamoDbLeases, LEASE_KEY, Layout};
use crate::reference;
use crate::table::Table;

/// The key of the state table.
pub(crate) const STATE_KEY: &str = "key";

/// Stores leases and idempotency records in DynamoDB, under `dynamodb:` URLs: `dynamodb://TABLE`, or
/// `dynamodb:` and the table's ARN, which may belong to another account.
///
/// Clones share their connections and credentials.
#[derive(Clone, Debug, Default)]
pub struct DynamoDbBackend {
    aws: Aws,
}

impl DynamoDbBackend {
    /// Creates a backend with credentials from the SDK's default chain.
    pub fn new() -> Self {
        Self::default()
    }

    /// Creates a backend that connects through `aws`.
    pub fn with(aws: Aws) -> Self {
        Self { aws }
    }
}

impl Backend for DynamoDbBackend {
    fn schemes(&self) -> &[&'static str] {
        &["dynamodb"]
    }

    fn parse(&self, name: &str, url: &Url, options: Options) -> Result<Arc<dyn Resource>> {
        let config = Config::parse(name, url, options)?;
        Ok(Arc::new(DynamoDbResource {
            name: StreamName::new(&config.table),
            aws: self.aws.clone(),
            config,
        }))
    }

    fn options(&self) -> Vec<OptionTable> {
        reference::tables()
    }
}

struct DynamoDbResource {
    name: StreamName,
    aws: Aws,
    config: Config,
}

impl DynamoDbResource {
    async fn tables(&self) -> Result<(Table, Table)> {
        let client = Client::new(&self.aws.config(&self.config.aws).await?);
        let leases = Table {
            client: client.clone(),
            address: self.config.address(&self.config.table),
            name: self.config.table.clone(),
            key: LEASE_KEY,
        };
        let state = Table {
            client,
            address: self.config.address(&self.config.state_table),
            name: self.config.state_table.clone(),
            key: STATE_KEY,
        };
        Ok((leases, state))
    }
}

#[async_trait]
impl Resource for DynamoDbResource {
    fn describe(&self) -> String {
        format!("dynamodb:{}", self.config.address(&self.config.table))
    }

    fn identity(&self) -> Identity {
        let table = Identity::new(format!("dynamodb:{}", self.config.table));
        self.config.aws.identify(table, self.config.account())
    }

    /// Returns whether the table serves one group on one stream alone, as in KCL's layout.
    fn leases_are_exclusive(&self) -> bool {
        self.config.layout == Layout::Kcl
    }

    fn stream(&self) -> &StreamName {
        &self.name
    }

    fn claims(&self) -> Claims {
        let no = |why| Claim::No(SmallStr::literal(why));
        Claims::of(&[
            Capability::Leases,
            Capability::Idempotency,
            Capability::Durable,
            Capability::Shared,
        ])
        .with(
            Capability::Transactions,
            no("the application's own writes are in other tables"),
        )
        .with(Capability::DeadLetters, no("it does not store events"))
    }

    async fn leases(&self, runtime: &Runtime) -> Result<Arc<dyn LeaseStore>> {
        let (leases, state) = self.tables().await?;
        let create = self.config.create;
        leases.open("lease table", create, runtime).await?;
        state.open("state table", create, runtime).await?;
        let store = DynamoDbLeases::open(leases, state, &self.config, runtime).await?;
        Ok(Arc::new(store))
    }

    async fn idempotency(&self, runtime: &Runtime) -> Result<Arc<dyn IdempotencyStore>> {
        let (_, state) = self.tables().await?;
        let create = self.config.create;
        state.open("state table", create, runtime).await?;
        let retention = self.config.idempotency_retention;
        let records = DynamoDbRecords::open(state, retention, create, runtime).await?;
        Ok(Arc::new(records))
    }
}
