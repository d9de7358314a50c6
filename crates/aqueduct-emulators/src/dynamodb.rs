use std::fmt;
use std::io;
use std::sync::Arc;

use aws_smithy_runtime_api::client::http::SharedHttpClient;
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Request, Response, StatusCode};
use winterbaume_core::{MockAws, MockRequest, MockService as _};
use winterbaume_dynamodb::DynamoDbService;

use crate::ListenOptions;
use crate::listen::Listening;

/// Returns an empty DynamoDB as an HTTP client. Clients that share it see the same
/// tables.
pub fn dynamodb() -> SharedHttpClient {
    let service = MockAws::builder().with_service(DynamoDbService::new());
    service.build().http_client()
}

/// DynamoDB on a port of the loopback interface. Dropping it stops the server.
pub struct DynamoDbServer(Listening);

impl DynamoDbServer {
    /// Starts an empty server on the current Tokio runtime.
    ///
    /// # Errors
    /// The I/O error if the port cannot be opened.
    pub async fn start(listen: &ListenOptions) -> io::Result<Self> {
        let service = Arc::new(DynamoDbService::new());
        let app = Router::new().fallback(move |request: Request<Body>| {
            let service = service.clone();
            async move { serve(&service, request).await }
        });
        Ok(Self(Listening::start(listen, |_| app).await?))
    }

    /// Returns its URL, for the option `endpoint`.
    pub fn endpoint(&self) -> &str {
        self.0.endpoint()
    }
}

async fn serve(service: &DynamoDbService, request: Request<Body>) -> Response<Body> {
    /// A request of the service has at most 16 MB.
    const LARGEST: usize = 16 << 20;
    let (parts, body) = request.into_parts();
    let Ok(body) = to_bytes(body, LARGEST).await else {
        return status(StatusCode::PAYLOAD_TOO_LARGE);
    };
    let request = MockRequest {
        method: parts.method.to_string(),
        // The service takes the region from the signature.
        uri: "https://dynamodb.us-east-1.amazonaws.com/".to_owned(),
        headers: parts.headers,
        body,
    };
    let answered = service.handle(request).await;
    let mut response = Response::new(Body::from(answered.body));
    *response.status_mut() =
        StatusCode::from_u16(answered.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    *response.headers_mut() = answered.headers;
    response
}

fn status(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

impl fmt::Debug for DynamoDbServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DynamoDbServer")
            .field("endpoint", &self.endpoint())
            .finish_non_exhaustive()
    }
}
