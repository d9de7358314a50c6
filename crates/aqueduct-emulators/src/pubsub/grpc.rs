use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use axum::routing::post;
use futures::future::BoxFuture;
use prost::Message;
use tonic::server::{Grpc, UnaryService};
use tonic::{Response, Status};
use tonic_prost::ProstCodec;

use super::service::Service;
use super::wire::Connection;
use super::{calls, pulls};

/// The service's limit of a request is checked by the machine; this one lets requests over it come that far.
pub(super) const LARGEST_REQUEST: usize = 32 << 20;

/// Returns the routes of the gRPC services `Publisher` and `Subscriber`.
pub(super) fn router(service: &Arc<Service>) -> Router {
    let routes = Routes {
        router: Router::new(),
        service: Arc::clone(service),
    };
    let routes = routes
        .unary(
            "/google.pubsub.v1.Publisher/CreateTopic",
            calls::create_topic,
        )
        .unary(
            "/google.pubsub.v1.Publisher/UpdateTopic",
            calls::update_topic,
        )
        .unary("/google.pubsub.v1.Publisher/Publish", calls::publish)
        .unary("/google.pubsub.v1.Publisher/GetTopic", calls::get_topic)
        .unary("/google.pubsub.v1.Publisher/ListTopics", calls::list_topics)
        .unary(
            "/google.pubsub.v1.Publisher/ListTopicSubscriptions",
            calls::list_topic_subscriptions,
        )
        .unary(
            "/google.pubsub.v1.Publisher/ListTopicSnapshots",
            calls::list_topic_snapshots,
        )
        .unary(
            "/google.pubsub.v1.Publisher/DeleteTopic",
            calls::delete_topic,
        )
        .unary(
            "/google.pubsub.v1.Publisher/DetachSubscription",
            calls::detach_subscription,
        )
        .unary(
            "/google.pubsub.v1.Subscriber/CreateSubscription",
            calls::create_subscription,
        )
        .unary(
            "/google.pubsub.v1.Subscriber/GetSubscription",
            calls::get_subscription,
        )
        .unary(
            "/google.pubsub.v1.Subscriber/UpdateSubscription",
            calls::update_subscription,
        )
        .unary(
            "/google.pubsub.v1.Subscriber/ListSubscriptions",
            calls::list_subscriptions,
        )
        .unary(
            "/google.pubsub.v1.Subscriber/DeleteSubscription",
            calls::delete_subscription,
        )
        .unary(
            "/google.pubsub.v1.Subscriber/ModifyAckDeadline",
            calls::modify_ack_deadline,
        )
        .unary(
            "/google.pubsub.v1.Subscriber/Acknowledge",
            calls::acknowledge,
        )
        .unary(
            "/google.pubsub.v1.Subscriber/ModifyPushConfig",
            calls::modify_push_config,
        )
        .unary(
            "/google.pubsub.v1.Subscriber/GetSnapshot",
            calls::get_snapshot,
        )
        .unary(
            "/google.pubsub.v1.Subscriber/ListSnapshots",
            calls::list_snapshots,
        )
        .unary(
            "/google.pubsub.v1.Subscriber/CreateSnapshot",
            calls::create_snapshot,
        )
        .unary(
            "/google.pubsub.v1.Subscriber/UpdateSnapshot",
            calls::update_snapshot,
        )
        .unary(
            "/google.pubsub.v1.Subscriber/DeleteSnapshot",
            calls::delete_snapshot,
        )
        .unary("/google.pubsub.v1.Subscriber/Seek", calls::seek);
    pulls::add(routes.router, service)
}

/// Adds routes of one service.
struct Routes {
    router: Router,
    service: Arc<Service>,
}

/// A unary method without waiting.
type Run<Q, R> = fn(&Service, Q) -> Result<R, Status>;

impl Routes {
    fn unary<Q, R>(self, path: &'static str, run: Run<Q, R>) -> Self
    where
        Q: Message + Default + 'static,
        R: Message + Default + 'static,
    {
        let Self { router, service } = self;
        let method = method(path);
        let shared = Arc::clone(&service);
        let router = router.route(
            path,
            post(move |request: Request<Body>| {
                let call = Call {
                    connection: connection(&request),
                    service: Arc::clone(&shared),
                    method,
                    run,
                };
                async move {
                    let codec = ProstCodec::<R, Q>::default();
                    let mut grpc = Grpc::new(codec).max_decoding_message_size(LARGEST_REQUEST);
                    grpc.unary(call, request).await.map(Body::new)
                }
            }),
        );
        Self { router, service }
    }
}

/// Returns the name of a method in a path.
pub(super) fn method(path: &'static str) -> &'static str {
    path.rsplit('/').next().unwrap_or(path)
}

pub(super) fn connection<B>(request: &Request<B>) -> Connection {
    request.extensions().get().cloned().unwrap_or_default()
}

struct Call<Q, R> {
    service: Arc<Service>,
    connection: Connection,
    method: &'static str,
    run: Run<Q, R>,
}

impl<Q: Send + 'static, R: Default + Send + 'static> UnaryService<Q> for Call<Q, R> {
    type Response = R;
    type Future = BoxFuture<'static, Result<Response<R>, Status>>;

    fn call(&mut self, request: tonic::Request<Q>) -> Self::Future {
        let (service, run, method) = (Arc::clone(&self.service), self.run, self.method);
        let connection = self.connection.clone();
        Box::pin(async move {
            let request = request.into_inner();
            let response = service
                .call(method, &connection, || run(&service, request))
                .await;
            response.map(Response::new)
        })
    }
}
