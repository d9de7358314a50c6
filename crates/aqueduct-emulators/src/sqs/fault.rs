use serde_json::{Value, json};

/// The error response of an operation.
#[derive(Clone, Debug)]
pub(super) struct Fault {
    pub(super) status: u16,
    /// The error type of the JSON protocol.
    pub(super) shape: &'static str,
    /// The error code of the older query protocol, which clients still prefer.
    pub(super) code: &'static str,
    pub(super) message: String,
}

impl Fault {
    pub(super) fn new(shape: &'static str, message: impl Into<String>) -> Self {
        let code = match shape {
            "QueueDoesNotExist" => "AWS.SimpleQueueService.NonExistentQueue",
            "QueueDeletedRecently" => "AWS.SimpleQueueService.QueueDeletedRecently",
            "QueueNameExists" => "QueueAlreadyExists",
            "BatchRequestTooLong" => "AWS.SimpleQueueService.BatchRequestTooLong",
            "BatchEntryIdsNotDistinct" => "AWS.SimpleQueueService.BatchEntryIdsNotDistinct",
            "TooManyEntriesInBatchRequest" => "AWS.SimpleQueueService.TooManyEntriesInBatchRequest",
            "EmptyBatchRequest" => "AWS.SimpleQueueService.EmptyBatchRequest",
            "InvalidBatchEntryId" => "AWS.SimpleQueueService.InvalidBatchEntryId",
            "MessageNotInflight" => "AWS.SimpleQueueService.MessageNotInflight",
            "UnsupportedOperation" => "AWS.SimpleQueueService.UnsupportedOperation",
            other => other,
        };
        Self {
            status: 400,
            shape,
            code,
            message: message.into(),
        }
    }

    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self::new("InvalidParameterValue", message)
    }

    pub(super) fn missing(name: &str) -> Self {
        let message = format!("The request must contain the parameter {name}.");
        Self::new("MissingParameter", message)
    }

    pub(super) fn no_queue() -> Self {
        Self::new("QueueDoesNotExist", "The specified queue does not exist.")
    }

    pub(super) fn forbidden() -> Self {
        Self {
            status: 403,
            ..Self::new(
                "InvalidClientTokenId",
                "The security token included in the request is invalid.",
            )
        }
    }

    pub(super) fn body(&self) -> Value {
        let kind = format!("com.amazonaws.sqs#{}", self.shape);
        json!({ "__type": kind, "message": self.message })
    }

    /// Returns the result of a batch entry that failed.
    pub(super) fn entry(&self, id: &str) -> Value {
        let (code, message) = (self.code, &self.message);
        json!({ "Id": id, "SenderFault": true, "Code": code, "Message": message })
    }
}
