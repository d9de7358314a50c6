use std::fmt;
use std::io;

use axum::body::{Body, to_bytes};
use axum::http::{self, HeaderMap};
use axum::response::Response;

use super::{Request, Sqs};
use crate::ListenOptions;
use crate::listen::Listening;

/// Serves an [`Sqs`] on the loopback interface, for other processes, until it is dropped.
pub struct SqsServer(Listening);

impl Sqs {
    /// Listens on `port`, 0 for a free one, on the current Tokio runtime.
    ///
    /// # Errors
    /// If the port cannot be opened.
    pub async fn serve_on(&self, port: u16) -> io::Result<SqsServer> {
        self.serve_with(&ListenOptions::new().with_port(port)).await
    }

    /// Listens as `listen` says, on the current Tokio runtime.
    ///
    /// # Errors
    /// If the port cannot be opened.
    pub async fn serve_with(&self, listen: &ListenOptions) -> io::Result<SqsServer> {
        let listening = Listening::start(listen, |endpoint| {
            let (sqs, host) = (self.clone(), endpoint.to_owned());
            axum::Router::new().fallback(move |request: http::Request<Body>| {
                let (sqs, host) = (sqs.clone(), host.clone());
                async move { serve(&sqs, host, request).await }
            })
        });
        Ok(SqsServer(listening.await?))
    }
}

impl SqsServer {
    /// Returns its URL, for the option `endpoint`.
    pub fn endpoint(&self) -> &str {
        self.0.endpoint()
    }
}

impl fmt::Debug for SqsServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqsServer")
            .field("endpoint", &self.endpoint())
            .finish_non_exhaustive()
    }
}

async fn serve(sqs: &Sqs, host: String, request: http::Request<Body>) -> Response {
    /// The limit of a request body, far above the size of a full batch.
    const LARGEST: usize = 8 << 20;
    let (parts, body) = request.into_parts();
    let header = |headers: &HeaderMap, name: &str| {
        let value = headers.get(name).and_then(|it| it.to_str().ok());
        value.unwrap_or_default().to_owned()
    };
    let request = Request {
        host,
        target: header(&parts.headers, "x-amz-target"),
        authorization: header(&parts.headers, "authorization"),
        body: to_bytes(body, LARGEST).await.unwrap_or_default().to_vec(),
    };
    let (status, code, body) = sqs.answer(request).await;
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = http::StatusCode::from_u16(status).unwrap_or_default();
    let headers = response.headers_mut();
    let json = http::HeaderValue::from_static("application/x-amz-json-1.0");
    headers.insert(http::header::CONTENT_TYPE, json);
    if let Some(code) = code.and_then(|code| code.parse().ok()) {
        headers.insert("x-amzn-query-error", code);
    }
    response
}
