use aws_smithy_runtime_api::client::http::SharedHttpClient;
use winterbaume_core::MockAws;
use winterbaume_dynamodb::DynamoDbService;

/// Returns an empty DynamoDB as an HTTP client. Clients that share it see the same
/// tables.
pub fn dynamodb() -> SharedHttpClient {
    let service = MockAws::builder().with_service(DynamoDbService::new());
    service.build().http_client()
}
