use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Request, Response, StatusCode, header};
use serde_json::{Value, json};

/// Refuses single records of PutRecords, as a service near its limit does.
#[derive(Clone, Debug, Default)]
pub(crate) struct Refusals(Arc<State>);

#[derive(Debug, Default)]
struct State {
    thousandths: AtomicU64,
    random: AtomicU64,
    refused: AtomicU64,
}

impl Refusals {
    pub(crate) fn set(&self, thousandths: u64) {
        self.0.thousandths.store(thousandths, Ordering::SeqCst);
    }

    pub(crate) fn count(&self) -> u64 {
        self.0.refused.load(Ordering::SeqCst)
    }

    pub(crate) fn over(&self, app: Router) -> Router {
        let refusals = self.clone();
        Router::new().fallback(move |request: Request<Body>| {
            let (refusals, app) = (refusals.clone(), app.clone());
            async move {
                let target = request.headers().get("x-amz-target");
                let puts = target.is_some_and(|it| it.as_bytes().ends_with(b".PutRecords"));
                match puts && refusals.0.thousandths.load(Ordering::SeqCst) > 0 {
                    true => refusals.put(app, request).await,
                    false => call(app, request).await,
                }
            }
        })
    }

    /// Passes on the records that are not refused, and puts the refusals between their results.
    async fn put(&self, app: Router, request: Request<Body>) -> Response<Body> {
        let (mut parts, body) = request.into_parts();
        let Some(mut put) = parse(body).await else {
            return bad();
        };
        let Some(records) = put["Records"].as_array_mut() else {
            return bad();
        };
        let refused: Vec<bool> = records.iter().map(|_| self.refuses()).collect();
        let mut is_refused = refused.iter();
        records.retain(|_| is_refused.next() == Some(&false));
        let mut stored = Vec::new();
        let mut head = Response::new(()).into_parts().0;
        head.headers.insert(
            header::CONTENT_TYPE,
            header::HeaderValue::from_static("application/x-amz-json-1.1"),
        );
        if !records.is_empty() {
            parts.headers.remove(header::CONTENT_LENGTH);
            let request = Request::from_parts(parts, Body::from(put.to_string()));
            let response = call(app, request).await;
            if response.status() != StatusCode::OK {
                return response;
            }
            let (passed, body) = response.into_parts();
            let Some(mut answer) = parse(body).await else {
                return bad();
            };
            head = passed;
            head.headers.remove(header::CONTENT_LENGTH);
            if let Value::Array(results) = answer["Records"].take() {
                stored = results;
            }
        }
        let mut stored = stored.into_iter();
        let results: Vec<Value> = refused
            .iter()
            .filter_map(|refused| match refused {
                true => Some(refusal()),
                false => stored.next(),
            })
            .collect();
        let failed = results.iter().filter(|it| it.get("ErrorCode").is_some());
        let answer = json!({ "FailedRecordCount": failed.count(), "Records": results });
        Response::from_parts(head, Body::from(answer.to_string()))
    }

    fn refuses(&self) -> bool {
        // A Weyl sequence: as even as the test needs it.
        let step = 0x9e37_79b9_7f4a_7c15;
        let drawn = self.0.random.fetch_add(step, Ordering::SeqCst) >> 32;
        let refused = drawn % 1000 < self.0.thousandths.load(Ordering::SeqCst);
        self.0
            .refused
            .fetch_add(u64::from(refused), Ordering::SeqCst);
        refused
    }
}

fn refusal() -> Value {
    json!({
        "ErrorCode": "ProvisionedThroughputExceededException",
        "ErrorMessage": "Rate exceeded for a shard of the stream.",
    })
}

async fn parse(body: Body) -> Option<Value> {
    /// Above the largest request in Base64.
    const LARGEST: usize = 64 << 20;
    let body = to_bytes(body, LARGEST).await.ok()?;
    serde_json::from_slice(&body).ok()
}

async fn call(mut app: Router, request: Request<Body>) -> Response<Body> {
    match tower::Service::call(&mut app, request).await {
        Ok(response) => response,
        Err(never) => match never {},
    }
}

fn bad() -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::BAD_REQUEST;
    response
}
