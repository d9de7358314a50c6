use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use tokio::sync::Notify;

use super::error::AmqpError;

/// A link that reads a partition for a consumer group.
#[derive(Clone, Debug)]
pub(super) struct Receiver {
    pub(super) group: String,
    pub(super) partition: String,
    /// The owner level: the highest one reads alone.
    pub(super) epoch: Option<i64>,
    pub(super) name: String,
    pub(super) connection: Weak<Notify>,
}

/// The receivers of a hub, and why some lost their link.
#[derive(Debug, Default)]
pub(super) struct Receivers {
    next: u64,
    attached: BTreeMap<u64, Receiver>,
    lost: BTreeMap<u64, AmqpError>,
}

/// The most receivers without an epoch of one group on one partition.
const MOST: usize = 5;

impl Receivers {
    /// Adds a receiver, and takes the link from those it displaces: with an epoch, every other one
    /// with a lower or the same epoch, or none.
    ///
    /// # Errors
    /// The error for the link, if another one has a higher epoch or too many read.
    pub(super) fn attach(&mut self, receiver: Receiver) -> Result<u64, AmqpError> {
        let others: Vec<_> = (self.attached.iter())
            .filter(|(_, it)| it.partition == receiver.partition)
            .filter(|(_, it)| it.group.eq_ignore_ascii_case(&receiver.group))
            .map(|(id, it)| (*id, it.epoch, it.connection.strong_count() == 0))
            .collect();
        for (id, _, _) in others.iter().filter(|(_, _, gone)| *gone) {
            self.attached.remove(id);
        }
        let others: Vec<_> = others.into_iter().filter(|(_, _, gone)| !gone).collect();
        let highest = others.iter().filter_map(|(_, epoch, _)| *epoch).max();
        match (receiver.epoch, highest) {
            (None, Some(highest)) => {
                return Err(AmqpError::stolen(&format!(
                    "A receiver with epoch {highest} reads this partition; a receiver without an epoch is not allowed."
                )));
            }
            (Some(epoch), Some(highest)) if epoch < highest => {
                return Err(AmqpError::stolen(&format!(
                    "Receiver with epoch {epoch} is refused: a receiver with epoch {highest} reads this partition."
                )));
            }
            (None, None) if others.len() >= MOST => {
                return Err(AmqpError::new(
                    "amqp:resource-limit-exceeded",
                    format!(
                        "Exceeded the maximum number of allowed receivers per partition in a consumer group which is {MOST}."
                    ),
                ));
            }
            (None, None) => {}
            (Some(epoch), _) => {
                let text = format!(
                    "New receiver '{}' with epoch {epoch} was created, so the current receiver is disconnected.",
                    receiver.name
                );
                for (id, _, _) in others {
                    self.lose(id, AmqpError::stolen(&text));
                }
            }
        }
        let id = self.next;
        self.next += 1;
        self.attached.insert(id, receiver);
        Ok(id)
    }

    /// Takes the link from the receivers of `group` on `partition`.
    pub(super) fn steal(&mut self, group: &str, partition: &str) -> usize {
        let stolen: Vec<_> = (self.attached.iter())
            .filter(|(_, it)| it.partition == partition && it.group.eq_ignore_ascii_case(group))
            .map(|(id, _)| *id)
            .collect();
        for id in &stolen {
            self.lose(*id, AmqpError::stolen("The link was stolen on demand."));
        }
        stolen.len()
    }

    /// Returns how many receivers of `group` are attached to `partition`.
    pub(super) fn count(&self, group: &str, partition: &str) -> usize {
        let attached = self.attached.values();
        attached
            .filter(|it| it.partition == partition && it.group.eq_ignore_ascii_case(group))
            .filter(|it| it.connection.strong_count() > 0)
            .count()
    }

    /// # Errors
    /// Why the receiver lost its link, if it did.
    pub(super) fn check(&self, id: u64) -> Result<(), AmqpError> {
        if self.attached.contains_key(&id) {
            return Ok(());
        }
        let lost = self.lost.get(&id).cloned();
        Err(lost.unwrap_or_else(|| AmqpError::stolen("The link is gone.")))
    }

    pub(super) fn detach(&mut self, id: u64) {
        self.attached.remove(&id);
        self.lost.remove(&id);
    }

    fn lose(&mut self, id: u64, error: AmqpError) {
        let Some(receiver) = self.attached.remove(&id) else {
            return;
        };
        if let Some(connection) = receiver.connection.upgrade() {
            let connection: Arc<Notify> = connection;
            connection.notify_one();
            self.lost.insert(id, error);
        }
    }
}
