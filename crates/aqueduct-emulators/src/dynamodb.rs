use aws_smithy_runtime_api::client::http::SharedHttpClient;
use winterbaume_core::MockAws;
use winterbaume_dynamodb::DynamoDbService;

/// An empty DynamoDB of its own, as an HTTP client: every client that shares it sees the same
/// tables.
pub fn dynamodb() -> SharedHttpClient {
    let service = MockAws::builder().with_service(DynamoDbService::new());
    service.build().http_client()
}
