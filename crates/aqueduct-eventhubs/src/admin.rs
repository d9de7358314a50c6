use std::sync::Arc;

use aqueduct_core::{
    Admin, Error, ErrorKind, GroupName, Partition, PartitionLag, Result, StreamDescription,
    StreamSpec,
};
use async_trait::async_trait;

use crate::hub::Hub;

/// Describes one hub. The service manages hubs elsewhere: over Azure Resource Manager, with rights that
/// an application that sends and receives should not have.
pub(crate) struct EventHubsAdmin {
    hub: Arc<Hub>,
}

impl EventHubsAdmin {
    pub(crate) fn new(hub: Arc<Hub>) -> Self {
        Self { hub }
    }

    fn managed_elsewhere<T>(&self, what: &str) -> Result<T> {
        Err(Error::unsupported(format!(
            "{}: {what} is done by Azure Resource Manager (the portal, `az eventhubs eventhub`, or a \
             template), not over AMQP",
            self.hub.shown
        )))
    }
}

#[async_trait]
impl Admin for EventHubsAdmin {
    async fn create(&self, _: &StreamSpec) -> Result<bool> {
        match self.hub.properties().await {
            Ok(_) => Ok(false),
            Err(error) if error.is(ErrorKind::NotFound) => self.managed_elsewhere("creating a hub"),
            Err(error) => Err(error),
        }
    }

    async fn describe(&self) -> Result<StreamDescription> {
        let properties = self.hub.properties().await?;
        let partitions = properties.partitions.into_iter().map(Partition::new);
        let mut description =
            StreamDescription::new(self.hub.config.hub.clone(), partitions.collect());
        description.created = properties.created;
        Ok(description)
    }

    async fn lag(&self, group: &GroupName) -> Result<Vec<PartitionLag>> {
        Err(Error::unsupported(format!(
            "{}: Event Hubs keeps no positions of groups, and group {group} keeps its own with its \
             leases; a running consumer reports the lag of each partition",
            self.hub.shown
        )))
    }

    async fn reshard(&self, _: u32) -> Result<()> {
        self.managed_elsewhere("changing the number of partitions")
    }

    async fn delete(&self) -> Result<()> {
        self.managed_elsewhere("deleting a hub")
    }
}
