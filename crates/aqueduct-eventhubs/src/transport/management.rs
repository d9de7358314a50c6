use std::collections::BTreeMap;

use aqueduct_core::{Error, ErrorKind, PartitionId, Result, Timestamp};
use fe2o3_amqp::session::SessionHandle;
use fe2o3_amqp::types::primitives::{SimpleValue, Value};
use std::sync::Arc;

use super::connection::{Connection, Connector};
use super::requests::Requests;
use crate::error;

/// Reads the properties of a hub and of its partitions.
pub(crate) struct Management {
    requests: Requests,
    _session: SessionHandle<()>,
    _connection: Arc<Connection>,
}

/// The properties of a hub.
#[derive(Clone, Debug)]
pub(crate) struct HubProperties {
    pub(crate) created: Option<Timestamp>,
    pub(crate) partitions: Vec<PartitionId>,
}

/// The properties of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PartitionProperties {
    /// The sequence number of the oldest event kept.
    pub(crate) first: i64,
    /// The sequence number of the last event; -1 if there never was one.
    pub(crate) last: i64,
    /// When that event was stored.
    pub(crate) last_stored: Option<Timestamp>,
    pub(crate) is_empty: bool,
}

impl Management {
    pub(crate) async fn open(connector: &Connector, connection: Arc<Connection>) -> Result<Self> {
        let mut session = connection.session().await?;
        let requests = Requests::open(&mut session, "$management", connector.what()).await?;
        Ok(Self {
            requests,
            _session: session,
            _connection: connection,
        })
    }

    pub(crate) async fn hub(&mut self, connector: &Connector, hub: &str) -> Result<HubProperties> {
        let fields = self
            .read(connector, hub, "com.microsoft:eventhub", None)
            .await?;
        let ids = match fields.get("partition_ids") {
            Some(Value::Array(ids)) => ids.0.iter().filter_map(text).collect(),
            Some(Value::List(ids)) => ids.iter().filter_map(text).collect(),
            _ => return Err(self.incomplete("partition_ids")),
        };
        Ok(HubProperties {
            created: time(fields.get("created_at")),
            partitions: ids,
        })
    }

    pub(crate) async fn partition(
        &mut self,
        connector: &Connector,
        hub: &str,
        partition: &PartitionId,
    ) -> Result<PartitionProperties> {
        let kind = "com.microsoft:partition";
        let read = self.read(connector, hub, kind, Some(partition)).await;
        let fields = read.map_err(|error| match error.is(ErrorKind::Invalid) {
            // The service calls a partition that does not exist an invalid argument.
            true => Error::new(ErrorKind::NotFound, error.message().to_owned())
                .context(format_args!("partition {partition}")),
            false => error,
        })?;
        let number = |name| integer(fields.get(name)).ok_or_else(|| self.incomplete(name));
        let last = number("last_enqueued_sequence_number")?;
        Ok(PartitionProperties {
            first: number("begin_sequence_number")?,
            last,
            last_stored: time(fields.get("last_enqueued_time_utc")),
            is_empty: match fields.get("is_partition_empty") {
                Some(Value::Bool(is_empty)) => *is_empty,
                _ => last < 0,
            },
        })
    }

    async fn read(
        &mut self,
        connector: &Connector,
        hub: &str,
        kind: &str,
        partition: Option<&PartitionId>,
    ) -> Result<BTreeMap<String, Value>> {
        let text = |text: &str| SimpleValue::String(text.to_owned());
        let mut properties = vec![
            ("operation", text("READ")),
            ("type", text(kind)),
            ("name", text(hub)),
            (
                "security_token",
                SimpleValue::String(connector.token().await?),
            ),
        ];
        if let Some(partition) = partition {
            properties.push(("partition", text(partition.as_str())));
        }
        let response = self.requests.call(&properties, Value::Null).await?;
        match (response.code, response.body) {
            (200..=299, Value::Map(fields)) => Ok(fields
                .into_iter()
                .filter_map(|(name, value)| match name {
                    Value::String(name) => Some((name, value)),
                    Value::Symbol(name) => Some((name.0, value)),
                    _ => None,
                })
                .collect()),
            (200..=299, _) => Err(self.incomplete("map of properties")),
            (code, _) => Err(error::status(
                self.requests.what(),
                code,
                &response.description,
            )),
        }
    }

    fn incomplete(&self, what: &str) -> Error {
        error::unavailable(
            self.requests.what(),
            format_args!("the response has no valid `{what}`"),
        )
    }
}

fn text(value: &Value) -> Option<PartitionId> {
    match value {
        Value::String(text) => Some(text.as_str().into()),
        Value::Symbol(text) => Some(text.0.as_str().into()),
        _ => None,
    }
}

fn integer(value: Option<&Value>) -> Option<i64> {
    match value? {
        Value::Long(it) => Some(*it),
        Value::Int(it) => Some(i64::from(*it)),
        Value::Ulong(it) => i64::try_from(*it).ok(),
        _ => None,
    }
}

fn time(value: Option<&Value>) -> Option<Timestamp> {
    match value? {
        Value::Timestamp(time) => Some(Timestamp::from_millis(time.clone().into_inner())),
        _ => None,
    }
}
