use aqueduct_core::{Effect, Error, ErrorKind, GroupKey, GroupRecord, Result};
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::types::{
    AttributeValue, CancellationReason, Delete, Put, ReturnValue, TransactWriteItem,
};
use futures::StreamExt as _;

use crate::error::{failed, is_unknown};
use crate::expression::Expression;
use crate::item::{Item, number, text};
use crate::table::{Written, count};

use super::{DynamoDbLeases, LEASE_KEY, columns as col, group};

/// DynamoDB's limit of writes in one transaction.
const TRANSACTION: usize = 100;

/// The number of concurrent deletions.
const CONCURRENCY: usize = 16;

impl DynamoDbLeases {
    /// Replaces the record and deletes the leases: in one transaction if they fit. Otherwise it first
    /// replaces the record with a marked one; the next member that reads the mark deletes the rest.
    pub(super) async fn reset(
        &self,
        key: &GroupKey,
        expected: u64,
        record: GroupRecord,
    ) -> Result<GroupRecord> {
        let place = self.layout.place(key)?;
        let mut leases = Vec::new();
        for item in self.leases.scan(place.filter()).await? {
            let row = self.leases.row(&item);
            if place.partition(row)?.is_some() {
                leases.push(row.need_text(LEASE_KEY)?.to_owned());
            }
        }
        let staged = leases.len() >= TRANSACTION;
        let written = if staged {
            self.mark(key, expected, &record).await
        } else {
            self.reset_at_once(key, expected, &record, &leases).await
        };
        let done = match written {
            Ok(done) => done,
            Err(error) if is_unknown(&error) => match self.stored_record(key).await {
                Ok(stored) if stored == record => true,
                _ => return Err(error),
            },
            Err(error) => return Err(error),
        };
        if !done {
            return self.stored_record(key).await;
        }
        self.remember(key, &record);
        if staged && let Err(error) = self.clear(key, record.replay).await {
            tracing::warn!(
                %key, %error,
                "some old leases are not deleted yet: the next member to join deletes them"
            );
            return Err(error.with_effect(Effect::Unknown));
        }
        Ok(record)
    }

    /// Deletes the remaining leases of replays before `replay`.
    pub(super) async fn clear(&self, key: &GroupKey, replay: u64) -> Result<()> {
        let place = self.layout.place(key)?;
        let mut old = Vec::new();
        for item in self.leases.scan(place.filter()).await? {
            let row = self.leases.row(&item);
            let made_in: Option<u64> = row.number(col::REPLAY)?;
            if place.partition(row)?.is_some() && made_in.is_none_or(|made| made < replay) {
                old.push(row.need_text(LEASE_KEY)?.to_owned());
            }
        }
        let deletions = futures::stream::iter(old.into_iter().map(|lease_key| {
            let table = self.leases.clone();
            async move {
                let mut condition = Expression::default();
                let unsaid = condition.missing(col::REPLAY);
                let (made_in, this) = (condition.name(col::REPLAY), number(replay));
                let this = condition.value(this);
                condition.expect(format!("{unsaid} OR {made_in} < {this}"));
                table.delete(&lease_key, condition).await
            }
        }));
        let mut deletions = deletions.buffer_unordered(CONCURRENCY);
        while let Some(deleted) = deletions.next().await {
            deleted?;
        }
        let mut unmark = Expression::default();
        let same = unmark.equals(group::REPLAY, number(replay));
        unmark.expect(same);
        unmark.remove(group::CLEARING);
        let row_key = self.layout.record_key(&self.leases.name, key);
        self.state
            .update(&row_key, unmark, ReturnValue::None)
            .await
            .map(drop)
    }

    async fn stored_record(&self, key: &GroupKey) -> Result<GroupRecord> {
        let stored = self.read_record(key).await?;
        stored.ok_or_else(|| group::no_group(key))
    }

    /// Returns whether it was done; `false` if the record is not the expected one.
    async fn reset_at_once(
        &self,
        key: &GroupKey,
        expected: u64,
        record: &GroupRecord,
        leases: &[String],
    ) -> Result<bool> {
        let row_key = self.layout.record_key(&self.leases.name, key);
        let condition = self.same_replay(key, expected).into_parts();
        let put = Put::builder()
            .table_name(self.state.address.as_str())
            .set_item(Some(group::write(&row_key, key, record)))
            .set_condition_expression(condition.condition)
            .set_expression_attribute_names(condition.names)
            .set_expression_attribute_values(condition.values)
            .build()
            .map_err(incomplete)?;
        let mut items = vec![TransactWriteItem::builder().put(put).build()];
        for lease_key in leases {
            let delete = Delete::builder()
                .table_name(self.leases.address.as_str())
                .key(LEASE_KEY, text(lease_key.as_str()))
                .build()
                .map_err(incomplete)?;
            items.push(TransactWriteItem::builder().delete(delete).build());
        }
        count("TransactWriteItems");
        let request = self.leases.client.transact_write_items();
        match request.set_transact_items(Some(items)).send().await {
            Ok(_) => Ok(true),
            Err(error) => match error.as_service_error() {
                Some(TransactWriteItemsError::TransactionCanceledException(cancelled)) => {
                    self.cancelled(key, cancelled.cancellation_reasons())
                }
                _ => Err(failed("TransactWriteItems", &self.leases.address, error)),
            },
        }
    }

    /// Replaces the record with one that marks leases of older replays as void. Returns the same as
    /// [`reset_at_once`](Self::reset_at_once).
    async fn mark(&self, key: &GroupKey, expected: u64, record: &GroupRecord) -> Result<bool> {
        let row_key = self.layout.record_key(&self.leases.name, key);
        let mut item: Item = group::write(&row_key, key, record);
        item.insert(group::CLEARING.to_owned(), AttributeValue::Bool(true));
        let written = self
            .state
            .put(item, self.same_replay(key, expected))
            .await?;
        Ok(matches!(written, Written::Done(_)))
    }

    fn same_replay(&self, key: &GroupKey, expected: u64) -> Expression {
        let mut condition = Expression::default();
        for same in [
            condition.equals(group::REPLAY, number(expected)),
            condition.equals(group::GROUP, text(key.group.as_str())),
            condition.equals(group::STREAM, text(key.stream.as_str())),
        ] {
            condition.expect(same);
        }
        condition
    }

    fn cancelled(&self, key: &GroupKey, reasons: &[CancellationReason]) -> Result<bool> {
        let codes = reasons.iter().filter_map(CancellationReason::code);
        let code = codes.into_iter().find(|code| *code != "None");
        let kind = match code {
            Some("ConditionalCheckFailed") => return Ok(false),
            Some("TransactionConflict") | None => ErrorKind::Unavailable,
            Some(code) if code.contains("Throttl") || code.contains("Throughput") => {
                ErrorKind::Throttled
            }
            Some("ItemCollectionSizeLimitExceeded") => ErrorKind::Full,
            Some(_) => ErrorKind::Invalid,
        };
        let code = code.unwrap_or("no reason");
        let message = format!(
            "{key}: the reset of table {} was cancelled: {code}",
            self.leases.name
        );
        Err(Error::new(kind, message))
    }
}

fn incomplete(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::new(ErrorKind::Internal, "could not build a request").with_source(error)
}
