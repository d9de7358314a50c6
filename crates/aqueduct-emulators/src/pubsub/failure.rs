use std::collections::HashMap;

use prost::Message;
use tonic::{Code, Status};

/// `google.rpc.Status`, which gRPC carries as the details of an error.
#[derive(Clone, PartialEq, Message)]
struct RpcStatus {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<prost_types::Any>,
}

/// `google.rpc.ErrorInfo`.
#[derive(Clone, PartialEq, Message)]
struct ErrorInfo {
    #[prost(string, tag = "1")]
    reason: String,
    #[prost(string, tag = "2")]
    domain: String,
    #[prost(map = "string, string", tag = "3")]
    metadata: HashMap<String, String>,
}

/// Returns the error of acknowledgements that had no effect under exactly-once delivery, with the reason of each.
pub(super) fn invalid_ack_ids(ack_ids: Vec<String>) -> Status {
    let message = "Some acknowledgement ids in the request were invalid. This could be because the acknowledgement ids have \
                   expired or the acknowledgement ids were malformed.";
    let reason = "PERMANENT_FAILURE_INVALID_ACK_ID";
    let ids = ack_ids.into_iter();
    let info = ErrorInfo {
        reason: "EXACTLY_ONCE_ACKID_FAILURE".to_owned(),
        domain: "pubsub.googleapis.com".to_owned(),
        metadata: ids.map(|ack_id| (ack_id, reason.to_owned())).collect(),
    };
    let code = Code::FailedPrecondition;
    let details = RpcStatus {
        code: code as i32,
        message: message.to_owned(),
        details: vec![prost_types::Any {
            type_url: "type.googleapis.com/google.rpc.ErrorInfo".to_owned(),
            value: info.encode_to_vec(),
        }],
    };
    Status::with_details(code, message, details.encode_to_vec().into())
}
