use std::time::Duration;

use aqueduct_core::{Backoff, Error, GroupName, QueueSettings, Result};

/// How a group reads a queue.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct QueueOptions {
    /// The group that the deliveries name. All groups that read one queue share its messages.
    pub group: GroupName,
    /// The wait before a failed event comes again if the nack names none; default from 200 ms to
    /// 30 s.
    pub redelivery: Backoff,
    /// Limits the messages in flight; the lower of this and the queue's own limit applies.
    /// Default: no limit beside the queue's.
    pub max_unsettled: usize,
    /// Limits the bytes in flight in the same way.
    pub max_unsettled_bytes: usize,
}

impl QueueOptions {
    /// Creates the default options of `group`.
    pub fn new(group: GroupName) -> Self {
        Self {
            group,
            redelivery: Backoff::new(Duration::from_millis(200), Duration::from_secs(30)),
            max_unsettled: usize::MAX,
            max_unsettled_bytes: usize::MAX,
        }
    }

    /// Returns the settings of the queue with the limits of the group.
    ///
    /// # Errors
    /// `Config` if a limit or a duration is zero, naming it.
    pub(crate) fn limit(&self, mut settings: QueueSettings) -> Result<QueueSettings> {
        settings.max_unsettled = settings.max_unsettled.min(self.max_unsettled);
        settings.max_unsettled_bytes = settings.max_unsettled_bytes.min(self.max_unsettled_bytes);
        let zero = [
            ("batch", settings.batch == 0),
            ("receivers", settings.receivers == 0),
            ("max_unsettled", settings.max_unsettled == 0),
            ("max_unsettled_bytes", settings.max_unsettled_bytes == 0),
            ("wait", settings.wait.is_zero()),
        ];
        if let Some((name, _)) = zero.into_iter().find(|(_, is_zero)| *is_zero) {
            return Err(Error::config(format!(
                "group {}: `{name}` of its queue must be greater than zero",
                self.group
            )));
        }
        if settings.lease < Duration::from_secs(2) || settings.longest_lease < settings.lease {
            return Err(Error::config(format!(
                "group {}: the lease of its queue is {:?}, expected from 2s to {:?}",
                self.group, settings.lease, settings.longest_lease
            )));
        }
        Ok(settings)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_are_refused_by_name() {
        let mut options = QueueOptions::new("g".into());
        assert!(options.limit(QueueSettings::new(true)).is_ok());
        options.max_unsettled = 0;
        let error = options.limit(QueueSettings::new(true)).unwrap_err();
        assert!(error.to_string().contains("max_unsettled"), "{error}");
        let mut settings = QueueSettings::new(true);
        settings.lease = Duration::ZERO;
        let error = QueueOptions::new("g".into()).limit(settings).unwrap_err();
        assert!(error.to_string().contains("lease"), "{error}");
    }
}
