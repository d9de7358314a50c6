use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::http::{HeaderValue, Method, Request, StatusCode, header};
use axum::response::Response;
use googleapis_tonic_google_pubsub_v1::google::pubsub::v1 as wire;
use serde_json::{Value, json};
use tonic::{Code, Status};

use super::grpc::{LARGEST_REQUEST, connection};
use super::json;
use super::machine::Settings;
use super::service::Service;
use super::wire::Connection;
use super::{calls, pulls};

/// Returns the routes of the REST interface, <https://cloud.google.com/pubsub/docs/reference/rest>.
pub(super) fn router(service: &Arc<Service>) -> Router {
    let service = Arc::clone(service);
    Router::new().fallback(move |request: Request<Body>| {
        let service = Arc::clone(&service);
        async move { respond(&service, request).await }
    })
}

async fn respond(service: &Service, request: Request<Body>) -> Response {
    let connection = connection(&request);
    let kind = request.headers().get(header::CONTENT_TYPE);
    if kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc")) {
        let path = request.uri().path();
        return Status::unimplemented(format!("This emulator has no method {path}.")).into_http();
    }
    let (parts, body) = request.into_parts();
    let result = match to_bytes(body, LARGEST_REQUEST).await {
        Ok(body) => {
            let path = percent_decode(parts.uri.path());
            let query = parts.uri.query().unwrap_or_default().to_owned();
            let call = Call {
                method: parts.method,
                path,
                query,
                body,
            };
            run(service, &connection, &call).await
        }
        Err(error) => Err(Status::invalid_argument(format!(
            "The body cannot be read: {error}."
        ))),
    };
    let (status, body) = match result {
        Ok(body) => (StatusCode::OK, body),
        Err(status) => failure(&status),
    };
    let mut response = Response::new(Body::from(body.to_string()));
    *response.status_mut() = status;
    let json = HeaderValue::from_static("application/json; charset=UTF-8");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}

struct Call {
    method: Method,
    path: String,
    query: String,
    body: Bytes,
}

impl Call {
    fn json(&self) -> Result<Value, Status> {
        if self.body.is_empty() {
            return Ok(json!({}));
        }
        serde_json::from_slice(&self.body)
            .map_err(|error| Status::invalid_argument(format!("The body is not JSON: {error}.")))
    }

    /// Returns the field mask, which clients send in the query or in the body.
    fn mask(&self, body: &Value) -> Vec<String> {
        let query = self
            .query
            .split('&')
            .find_map(|pair| pair.strip_prefix("updateMask="));
        let text = match body["updateMask"].as_str() {
            Some(text) => text.to_owned(),
            None => percent_decode(query.unwrap_or_default()),
        };
        let paths = text.split(',').filter(|path| !path.is_empty());
        paths.map(str::to_owned).collect()
    }
}

async fn run(service: &Service, connection: &Connection, call: &Call) -> Result<Value, Status> {
    let path = call.path.strip_prefix("/v1/").unwrap_or_default();
    let (resource, verb) = match path.rsplit_once(':') {
        Some((resource, verb)) if !verb.contains('/') => (resource, Some(verb)),
        _ => (path, None),
    };
    let parts: Vec<&str> = resource.split('/').collect();
    let (kind, place) = match parts.as_slice() {
        ["projects", _, kind] => (*kind, Place::List),
        ["projects", _, kind, _] => (*kind, Place::Resource),
        ["projects", _, "topics", _, kind] => (*kind, Place::OfTopic),
        _ => return Err(unknown(call)),
    };
    let project = parts[..2].join("/");
    let name = resource.to_owned();
    if let (Some("pull"), Place::Resource, "subscriptions") = (verb, &place, kind) {
        let request = json::pull(name, &call.json()?)?;
        return Ok(json::pulled(
            &pulls::pull(service, connection, request).await?,
        ));
    }
    let (method, run): (&str, Box<dyn FnOnce() -> Result<Value, Status> + Send + '_>) =
        match (&call.method, place, kind, verb) {
            (&Method::PUT, Place::Resource, "topics", None) => (
                "CreateTopic",
                Box::new(move || {
                    let settings = json::topic(name, &call.json()?)?;
                    let topic = service.with(|broker, _| broker.create_topic(settings))?;
                    Ok(json::from_topic(&topic))
                }),
            ),
            (&Method::GET, Place::Resource, "topics", None) => (
                "GetTopic",
                Box::new(move || {
                    Ok(json::from_topic(
                        &service.with(|broker, _| broker.topic(&name))?,
                    ))
                }),
            ),
            (&Method::PATCH, Place::Resource, "topics", None) => (
                "UpdateTopic",
                Box::new(move || {
                    let body = call.json()?;
                    let settings: Settings<_> = json::topic(name, wrapped(&body, "topic"))?;
                    let paths = call.mask(&body);
                    let topic = service.with(|broker, _| broker.update_topic(settings, &paths))?;
                    Ok(json::from_topic(&topic))
                }),
            ),
            (&Method::DELETE, Place::Resource, "topics", None) => (
                "DeleteTopic",
                Box::new(move || {
                    service.with(|broker, _| broker.delete_topic(&name))?;
                    Ok(json!({}))
                }),
            ),
            (&Method::GET, Place::List, "topics", None) => (
                "ListTopics",
                Box::new(move || {
                    let all = service.with(|broker, _| broker.list_topics(&project));
                    Ok(json!({ "topics": all.iter().map(json::from_topic).collect::<Vec<_>>() }))
                }),
            ),
            (&Method::GET, Place::OfTopic, "subscriptions", None) => (
                "ListTopicSubscriptions",
                Box::new(move || {
                    let topic = parts[..4].join("/");
                    let all = service.with(|broker, _| broker.topic_subscriptions(&topic))?;
                    Ok(json!({ "subscriptions": all }))
                }),
            ),
            (&Method::GET, Place::OfTopic, "snapshots", None) => (
                "ListTopicSnapshots",
                Box::new(move || {
                    let topic = parts[..4].join("/");
                    let all = service.with(|broker, _| broker.topic_snapshots(&topic));
                    Ok(json!({ "snapshots": all }))
                }),
            ),
            (&Method::POST, Place::Resource, "topics", Some("publish")) => (
                "Publish",
                Box::new(move || {
                    let messages = json::messages(&call.json()?)?;
                    let ids = service.with(|broker, now| broker.publish(&name, messages, now))?;
                    Ok(json!({ "messageIds": ids }))
                }),
            ),
            (&Method::PUT, Place::Resource, "subscriptions", None) => (
                "CreateSubscription",
                Box::new(move || {
                    let settings = json::subscription(name, &call.json()?)?;
                    let made = service.with(|broker, _| broker.create_subscription(settings))?;
                    Ok(json::from_subscription(&made))
                }),
            ),
            (&Method::GET, Place::Resource, "subscriptions", None) => (
                "GetSubscription",
                Box::new(move || {
                    let found = service.with(|broker, _| broker.subscription(&name))?;
                    Ok(json::from_subscription(&found))
                }),
            ),
            (&Method::PATCH, Place::Resource, "subscriptions", None) => (
                "UpdateSubscription",
                Box::new(move || {
                    let body = call.json()?;
                    let settings = json::subscription(name, wrapped(&body, "subscription"))?;
                    let paths = call.mask(&body);
                    let changed =
                        service.with(|broker, _| broker.update_subscription(settings, &paths))?;
                    Ok(json::from_subscription(&changed))
                }),
            ),
            (&Method::DELETE, Place::Resource, "subscriptions", None) => (
                "DeleteSubscription",
                Box::new(move || {
                    service.with(|broker, _| broker.delete_subscription(&name))?;
                    Ok(json!({}))
                }),
            ),
            (&Method::GET, Place::List, "subscriptions", None) => (
                "ListSubscriptions",
                Box::new(move || {
                    let all = service.with(|broker, _| broker.list_subscriptions(&project));
                    let all: Vec<_> = all.iter().map(json::from_subscription).collect();
                    Ok(json!({ "subscriptions": all }))
                }),
            ),
            (&Method::POST, Place::Resource, "subscriptions", Some("detach")) => (
                "DetachSubscription",
                Box::new(move || {
                    service.with(|broker, _| broker.detach(&name))?;
                    Ok(json!({}))
                }),
            ),
            (&Method::POST, Place::Resource, "subscriptions", Some("modifyPushConfig")) => (
                "ModifyPushConfig",
                Box::new(move || {
                    let push = json::push_config(&call.json()?["pushConfig"])?;
                    service.with(|broker, _| broker.modify_push_config(&name, push))?;
                    Ok(json!({}))
                }),
            ),
            (&Method::POST, Place::Resource, "subscriptions", Some("acknowledge")) => (
                "Acknowledge",
                Box::new(move || {
                    let ack_ids = json::ack_ids(&call.json()?)?;
                    let subscription = name;
                    let request = wire::AcknowledgeRequest {
                        subscription,
                        ack_ids,
                    };
                    calls::acknowledge(service, request).map(|()| json!({}))
                }),
            ),
            (&Method::POST, Place::Resource, "subscriptions", Some("modifyAckDeadline")) => (
                "ModifyAckDeadline",
                Box::new(move || {
                    let body = call.json()?;
                    let request = wire::ModifyAckDeadlineRequest {
                        subscription: name,
                        ack_ids: json::ack_ids(&body)?,
                        ack_deadline_seconds: json::number(&body, "ackDeadlineSeconds")?,
                    };
                    calls::modify_ack_deadline(service, request).map(|()| json!({}))
                }),
            ),
            (&Method::POST, Place::Resource, "subscriptions", Some("seek")) => (
                "Seek",
                Box::new(move || {
                    let target = json::seek_target(&call.json()?)?;
                    let subscription = name;
                    let request = wire::SeekRequest {
                        subscription,
                        target,
                    };
                    calls::seek(service, request).map(|_| json!({}))
                }),
            ),
            (&Method::PUT, Place::Resource, "snapshots", None) => (
                "CreateSnapshot",
                Box::new(move || {
                    let request = json::create_snapshot(name, &call.json()?)?;
                    Ok(json::from_snapshot(&calls::create_snapshot(
                        service, request,
                    )?))
                }),
            ),
            (&Method::GET, Place::Resource, "snapshots", None) => (
                "GetSnapshot",
                Box::new(move || {
                    let snapshot = service.with(|broker, now| broker.snapshot(&name, now))?;
                    Ok(json::from_snapshot(&snapshot))
                }),
            ),
            (&Method::PATCH, Place::Resource, "snapshots", None) => (
                "UpdateSnapshot",
                Box::new(move || {
                    let body = call.json()?;
                    let snapshot = json::snapshot(name, wrapped(&body, "snapshot"))?;
                    let paths = call.mask(&body);
                    let changed =
                        service.with(|broker, _| broker.update_snapshot(&snapshot, &paths))?;
                    Ok(json::from_snapshot(&changed))
                }),
            ),
            (&Method::DELETE, Place::Resource, "snapshots", None) => (
                "DeleteSnapshot",
                Box::new(move || {
                    service.with(|broker, _| broker.delete_snapshot(&name))?;
                    Ok(json!({}))
                }),
            ),
            (&Method::GET, Place::List, "snapshots", None) => (
                "ListSnapshots",
                Box::new(move || {
                    let all = service.with(|broker, _| broker.list_snapshots(&project));
                    let all: Vec<_> = all.iter().map(json::from_snapshot).collect();
                    Ok(json!({ "snapshots": all }))
                }),
            ),
            _ => return Err(unknown(call)),
        };
    service.call(method, connection, run).await
}

enum Place {
    List,
    Resource,
    OfTopic,
}

/// Returns the resource in the body of an update, which some clients send bare.
fn wrapped<'a>(body: &'a Value, field: &str) -> &'a Value {
    match &body[field] {
        resource @ Value::Object(_) => resource,
        _ => body,
    }
}

fn unknown(call: &Call) -> Status {
    let (method, path) = (&call.method, &call.path);
    Status::unimplemented(format!("This emulator has no method {method} {path}."))
}

fn failure(status: &Status) -> (StatusCode, Value) {
    let (http, name) = match status.code() {
        Code::InvalidArgument => (400, "INVALID_ARGUMENT"),
        Code::FailedPrecondition => (400, "FAILED_PRECONDITION"),
        Code::OutOfRange => (400, "OUT_OF_RANGE"),
        Code::Unauthenticated => (401, "UNAUTHENTICATED"),
        Code::PermissionDenied => (403, "PERMISSION_DENIED"),
        Code::NotFound => (404, "NOT_FOUND"),
        Code::AlreadyExists => (409, "ALREADY_EXISTS"),
        Code::Aborted => (409, "ABORTED"),
        Code::ResourceExhausted => (429, "RESOURCE_EXHAUSTED"),
        Code::Cancelled => (499, "CANCELLED"),
        Code::Unimplemented => (501, "UNIMPLEMENTED"),
        Code::Unavailable => (503, "UNAVAILABLE"),
        Code::DeadlineExceeded => (504, "DEADLINE_EXCEEDED"),
        Code::Ok | Code::Unknown | Code::Internal | Code::DataLoss => (500, "INTERNAL"),
    };
    let message = status.message();
    let body = json!({ "error": { "code": http, "message": message, "status": name } });
    (StatusCode::from_u16(http).unwrap_or_default(), body)
}

/// Decodes a path or query; bytes that are not UTF-8 become the replacement character.
fn percent_decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let code = bytes.get(at + 1..at + 3).filter(|_| *byte == b'%');
        let code = code.and_then(|code| std::str::from_utf8(code).ok());
        match code.and_then(|code| u8::from_str_radix(code, 16).ok()) {
            Some(code) => {
                decoded.push(code);
                at += 3;
            }
            None => {
                decoded.push(*byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}
