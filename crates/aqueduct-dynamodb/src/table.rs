use aqueduct_core::{Result, SmallStr};
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::delete_item::DeleteItemError;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::{ReturnValue, ReturnValuesOnConditionCheckFailure};

use crate::error::failed;
use crate::expression::Expression;
use crate::item::{Item, Row, text};

/// A table with a single string key.
#[derive(Clone)]
pub(crate) struct Table {
    pub(crate) client: Client,
    /// Its name, which is part of rows' keys, so it is the same if the table is named by its ARN.
    pub(crate) name: SmallStr,
    /// The name in requests: the ARN if the configuration has one, since the table may belong to another
    /// account.
    pub(crate) address: SmallStr,
    /// The name of the key attribute.
    pub(crate) key: &'static str,
}

/// The outcome of a conditional write.
pub(crate) enum Written {
    /// Written; the row as requested by the call's return value.
    Done(Option<Item>),
    /// The condition did not hold; the stored row, if it exists.
    Refused(Option<Item>),
}

impl Table {
    pub(crate) fn row<'a>(&'a self, item: &'a Item) -> Row<'a> {
        Row {
            item,
            table: &self.name,
            key: self.key,
        }
    }

    /// Reads a row (strongly consistent).
    pub(crate) async fn get(&self, key: &str) -> Result<Option<Item>> {
        count("GetItem");
        let request = self.client.get_item().table_name(self.address.as_str());
        let sent = request
            .key(self.key, text(key))
            .consistent_read(true)
            .send();
        match sent.await {
            Ok(answer) => Ok(answer.item),
            Err(error) => Err(failed("GetItem", &self.address, error)),
        }
    }

    /// Reads every row that matches the filter, page by page (strongly consistent).
    pub(crate) async fn scan(&self, filter: Option<Expression>) -> Result<Vec<Item>> {
        let mut items = Vec::new();
        let mut start = None;
        loop {
            let page = self.scan_page(filter.clone(), start).await?;
            items.extend(page.0);
            match page.1 {
                Some(next) => start = Some(next),
                None => return Ok(items),
            }
        }
    }

    /// Reads one page; returns its rows and the start of the next page.
    pub(crate) async fn scan_page(
        &self,
        filter: Option<Expression>,
        start: Option<Item>,
    ) -> Result<(Vec<Item>, Option<Item>)> {
        count("Scan");
        let mut request = self
            .client
            .scan()
            .table_name(self.address.as_str())
            .consistent_read(true)
            .set_exclusive_start_key(start);
        if let Some(filter) = filter {
            let parts = filter.into_parts();
            request = request
                .set_filter_expression(parts.condition)
                .set_expression_attribute_names(parts.names)
                .set_expression_attribute_values(parts.values);
        }
        match request.send().await {
            Ok(answer) => Ok((
                answer.items.unwrap_or_default(),
                answer.last_evaluated_key.filter(|key| !key.is_empty()),
            )),
            Err(error) => Err(failed("Scan", &self.address, error)),
        }
    }

    /// Updates a row if the condition holds, and returns the row before or after, as `answer` asks.
    pub(crate) async fn update(
        &self,
        key: &str,
        change: Expression,
        answer: ReturnValue,
    ) -> Result<Written> {
        count("UpdateItem");
        let parts = change.into_parts();
        let sent = self
            .client
            .update_item()
            .table_name(self.address.as_str())
            .key(self.key, text(key))
            .set_update_expression(parts.update)
            .set_condition_expression(parts.condition)
            .set_expression_attribute_names(parts.names)
            .set_expression_attribute_values(parts.values)
            .return_values(answer)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .send();
        match sent.await {
            Ok(answer) => Ok(Written::Done(answer.attributes)),
            Err(error) => match error.as_service_error() {
                Some(UpdateItemError::ConditionalCheckFailedException(refused)) => {
                    self.refused(key, refused.item.clone()).await
                }
                _ => Err(failed("UpdateItem", &self.address, error)),
            },
        }
    }

    /// Replaces a whole row if the condition holds.
    pub(crate) async fn put(&self, item: Item, condition: Expression) -> Result<Written> {
        count("PutItem");
        let key = self.row(&item).need_text(self.key)?.to_owned();
        let parts = condition.into_parts();
        let sent = self
            .client
            .put_item()
            .table_name(self.address.as_str())
            .set_item(Some(item))
            .set_condition_expression(parts.condition)
            .set_expression_attribute_names(parts.names)
            .set_expression_attribute_values(parts.values)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .send();
        match sent.await {
            Ok(_) => Ok(Written::Done(None)),
            Err(error) => match error.as_service_error() {
                Some(PutItemError::ConditionalCheckFailedException(refused)) => {
                    self.refused(&key, refused.item.clone()).await
                }
                _ => Err(failed("PutItem", &self.address, error)),
            },
        }
    }

    /// Deletes a row if the condition holds, and returns the deleted row.
    pub(crate) async fn delete(&self, key: &str, condition: Expression) -> Result<Written> {
        count("DeleteItem");
        let parts = condition.into_parts();
        let sent = self
            .client
            .delete_item()
            .table_name(self.address.as_str())
            .key(self.key, text(key))
            .set_condition_expression(parts.condition)
            .set_expression_attribute_names(parts.names)
            .set_expression_attribute_values(parts.values)
            .return_values(ReturnValue::AllOld)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .send();
        match sent.await {
            Ok(answer) => Ok(Written::Done(answer.attributes)),
            Err(error) => match error.as_service_error() {
                Some(DeleteItemError::ConditionalCheckFailedException(refused)) => {
                    self.refused(key, refused.item.clone()).await
                }
                _ => Err(failed("DeleteItem", &self.address, error)),
            },
        }
    }

    /// Returns the row of a refusal; reads it if the server did not include it.
    async fn refused(&self, key: &str, shown: Option<Item>) -> Result<Written> {
        metrics::counter!("aqueduct_dynamodb_refused_writes_total").increment(1);
        match shown.filter(|item| !item.is_empty()) {
            Some(item) => Ok(Written::Refused(Some(item))),
            None => Ok(Written::Refused(self.get(key).await?)),
        }
    }
}

pub(crate) fn count(operation: &'static str) {
    metrics::counter!("aqueduct_dynamodb_requests_total", "operation" => operation).increment(1);
}
