use std::time::Duration;

use aqueduct_core::{Error, ErrorKind, Result, Runtime};
use aws_sdk_dynamodb::operation::create_table::CreateTableError;
use aws_sdk_dynamodb::operation::describe_table::DescribeTableError;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType,
    TableDescription, TableStatus, TimeToLiveSpecification, TimeToLiveStatus,
};

use crate::error::failed;
use crate::table::{Table, count};

/// The longest wait for a table to become active. A new table is usually ready within seconds.
const PATIENCE: Duration = Duration::from_secs(120);

impl Table {
    /// Waits until the table is active and checks its key; creates it if it is missing and `create`
    /// is set.
    pub(crate) async fn open(&self, what: &str, create: bool, runtime: &Runtime) -> Result<()> {
        let until = runtime.now() + PATIENCE;
        let mut pause = Duration::from_millis(50);
        loop {
            match aqueduct_aws::first_call(|| self.describe()).await? {
                None if !create => {
                    return Err(Error::new(
                        ErrorKind::NotFound,
                        format!(
                            "{what} {} does not exist, and create = \"never\" is set: create the table, or \
                             set create = \"missing\"",
                            self.address
                        ),
                    ));
                }
                None => self.create(what).await?,
                Some(table) => {
                    self.check_key(what, &table)?;
                    match table.table_status() {
                        None | Some(TableStatus::Active | TableStatus::Updating) => return Ok(()),
                        Some(TableStatus::Creating | TableStatus::Deleting) => {}
                        Some(other) => {
                            let message = format!("{what} {} is {}", self.address, other.as_str());
                            return Err(Error::new(ErrorKind::Unavailable, message));
                        }
                    }
                }
            }
            if runtime.now() >= until {
                let message = format!("{what} {} is not active after {PATIENCE:?}", self.address);
                return Err(Error::new(ErrorKind::TimedOut, message));
            }
            runtime.sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(2));
        }
    }

    /// Enables DynamoDB's expiry (TTL) by `attribute`, a time in seconds. A failure is only logged: the
    /// table works without expiry, but keeps growing.
    ///
    /// # Errors
    /// `Config` if the table expires by another attribute: it belongs to others, or would never
    /// remove these rows.
    pub(crate) async fn expire_by(&self, attribute: &str) -> Result<()> {
        match self.enable_expiry(attribute).await {
            Err(error) if error.is(ErrorKind::Config) => Err(error),
            Err(error) => {
                tracing::warn!(
                    table = %self.address, %error,
                    "could not enable expiry: old rows are not removed"
                );
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    async fn enable_expiry(&self, attribute: &str) -> Result<()> {
        count("DescribeTimeToLive");
        let name = self.address.as_str();
        let request = self.client.describe_time_to_live().table_name(name);
        let described = request.send().await;
        let described = described.map_err(|error| failed("DescribeTimeToLive", name, error))?;
        let ttl = described.time_to_live_description();
        let status = ttl.and_then(|ttl| ttl.time_to_live_status());
        if let Some(TimeToLiveStatus::Enabled | TimeToLiveStatus::Enabling) = status {
            return match ttl.and_then(|ttl| ttl.attribute_name()) {
                Some(other) if other != attribute => Err(Error::config(format!(
                    "table {}: its TTL is on the attribute `{other}`, and rows of this store expire \
                     by `{attribute}`: use another table, or change its TTL",
                    self.address
                ))),
                _ => Ok(()),
            };
        }
        let specification = TimeToLiveSpecification::builder()
            .attribute_name(attribute)
            .enabled(true)
            .build()
            .map_err(incomplete)?;
        count("UpdateTimeToLive");
        let request = self.client.update_time_to_live().table_name(name);
        let sent = request.time_to_live_specification(specification).send();
        let updated = sent.await.map(drop);
        updated.map_err(|error| failed("UpdateTimeToLive", name, error))
    }

    async fn describe(&self) -> Result<Option<TableDescription>> {
        count("DescribeTable");
        let request = self
            .client
            .describe_table()
            .table_name(self.address.as_str());
        match request.send().await {
            Ok(answer) => Ok(answer.table),
            Err(error) => match error.as_service_error() {
                Some(DescribeTableError::ResourceNotFoundException(_)) => Ok(None),
                _ => Err(failed("DescribeTable", &self.address, error)),
            },
        }
    }

    async fn create(&self, what: &str) -> Result<()> {
        count("CreateTable");
        tracing::info!(table = %self.address, "{what} does not exist: creating it");
        let attribute = AttributeDefinition::builder()
            .attribute_name(self.key)
            .attribute_type(ScalarAttributeType::S)
            .build()
            .map_err(incomplete)?;
        let key = KeySchemaElement::builder()
            .attribute_name(self.key)
            .key_type(KeyType::Hash)
            .build()
            .map_err(incomplete)?;
        let sent = self
            .client
            .create_table()
            .table_name(self.address.as_str())
            .attribute_definitions(attribute)
            .key_schema(key)
            .billing_mode(BillingMode::PayPerRequest)
            .send();
        match sent.await {
            Ok(_) => Ok(()),
            Err(error) => match error.as_service_error() {
                // Another member created it first.
                Some(CreateTableError::ResourceInUseException(_)) => Ok(()),
                _ => Err(failed("CreateTable", &self.address, error)),
            },
        }
    }

    fn check_key(&self, what: &str, table: &TableDescription) -> Result<()> {
        let mut found = Vec::new();
        for element in table.key_schema() {
            let name = element.attribute_name();
            let definitions = table.attribute_definitions();
            let typed = definitions.iter().find(|it| it.attribute_name() == name);
            let typed = typed.map_or("?", |it| it.attribute_type().as_str());
            found.push(format!("{name} ({typed}, {})", element.key_type().as_str()));
        }
        let expected = format!("{} (S, HASH)", self.key);
        if found == [expected.as_str()] {
            return Ok(());
        }
        Err(Error::config(format!(
            "table {} is not a valid {what}: its key is {} (expected only {expected})",
            self.address,
            found.join(" and ")
        )))
    }
}

fn incomplete(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::new(ErrorKind::Internal, "could not build a request").with_source(error)
}
