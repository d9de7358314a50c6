use aqueduct_core::{Result, SmallStr};
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::delete_item::DeleteItemError;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::{ReturnValue, ReturnValuesOnConditionCheckFailure};

use crate::error::failed;
use crate::expression::Expression;
use crate::item::{Item, Row, text};

/// One table with a single key of text.
#[derive(Clone)]
pub(crate) struct Table {
    pub(crate) client: Client,
    /// Its name, which is part of rows' keys: the same for whoever reaches it by its ARN.
    pub(crate) name: SmallStr,
    /// What requests name: the ARN, where the configuration has one, as the table may be another
    /// account's.
    pub(crate) address: SmallStr,
    /// The attribute that is its key.
    pub(crate) key: &'static str,
}

/// What a conditional write came to.
pub(crate) enum Written {
    /// Written: the row as the call asked for it.
    Done(Option<Item>),
    /// The condition did not hold: the row as it stands, if it is there.
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

    /// Reads a row, as of now.
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

    /// Every row, as of now, page by page; those of that filter where there is one.
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

    /// One page and where the next begins.
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

    /// Changes a row where the condition holds, and answers it as it was before or is after.
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

    /// Writes a row as a whole where the condition holds.
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

    /// Deletes a row where the condition holds, and answers it as it was.
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

    /// Not every server shows the row with the refusal: it is read then.
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
