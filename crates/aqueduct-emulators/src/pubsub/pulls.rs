use std::pin::pin;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use axum::routing::post;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use googleapis_tonic_google_pubsub_v1::google::pubsub::v1::{
    PullRequest, PullResponse, StreamingPullRequest, StreamingPullResponse,
};
use tokio::sync::mpsc;
use tonic::server::{Grpc, StreamingService, UnaryService};
use tonic::{Response, Status, Streaming};
use tonic_prost::ProstCodec;

use super::fault::PubSubFault;
use super::grpc::{LARGEST_REQUEST, connection};
use super::machine::Limits;
use super::service::Service;
use super::stream::Stream;
use super::wire::Connection;

/// Adds the routes of the methods that wait for messages.
pub(super) fn add(router: Router, service: &Arc<Service>) -> Router {
    let (unary, streaming) = (Arc::clone(service), Arc::clone(service));
    let pull = move |request: Request<Body>| {
        let call = Pull(Arc::clone(&unary), connection(&request));
        async move {
            let codec = ProstCodec::<PullResponse, PullRequest>::default();
            Grpc::new(codec).unary(call, request).await.map(Body::new)
        }
    };
    let streaming_pull = move |request: Request<Body>| {
        let call = StreamingPull(Arc::clone(&streaming), connection(&request));
        async move {
            let codec = ProstCodec::<StreamingPullResponse, StreamingPullRequest>::default();
            let mut grpc = Grpc::new(codec).max_decoding_message_size(LARGEST_REQUEST);
            grpc.streaming(call, request).await.map(Body::new)
        }
    };
    router
        .route("/google.pubsub.v1.Subscriber/Pull", post(pull))
        .route(
            "/google.pubsub.v1.Subscriber/StreamingPull",
            post(streaming_pull),
        )
}

/// Waits for messages of a unary pull; empty if none comes in time.
pub(super) async fn pull(
    service: &Service,
    connection: &Connection,
    request: PullRequest,
) -> Result<PullResponse, Status> {
    let most = usize::try_from(request.max_messages).unwrap_or_default();
    if most == 0 {
        let text = "Invalid max_messages: expected a number greater than zero.";
        return Err(Status::invalid_argument(text));
    }
    let consumer = service.consumer();
    let take = || {
        service.with(|broker, now| {
            let until = now + broker.check_pull(&request.subscription)?.ack_deadline;
            let limits = Limits {
                batch: service.streams.batch(most),
                messages: None,
                bytes: None,
            };
            broker.pull(&request.subscription, consumer, limits, until)
        })
    };
    service.call("Pull", connection, || Ok(())).await?;
    let properties = service.with(|broker, _| broker.check_pull(&request.subscription))?;
    let notify = service.notify(properties.number);
    #[allow(deprecated)]
    let at_once = request.return_immediately;
    let deadline = tokio::time::Instant::now() + service.options.pull_wait;
    loop {
        let mut notified = pin!(notify.notified());
        notified.as_mut().enable();
        let received_messages = take()?;
        if at_once || !received_messages.is_empty() {
            return Ok(PullResponse { received_messages });
        }
        if tokio::time::timeout_at(deadline, notified).await.is_err() {
            return Ok(PullResponse::default());
        }
    }
}

struct Pull(Arc<Service>, Connection);

impl UnaryService<PullRequest> for Pull {
    type Response = PullResponse;
    type Future = BoxFuture<'static, Result<Response<PullResponse>, Status>>;

    fn call(&mut self, request: tonic::Request<PullRequest>) -> Self::Future {
        let (service, connection) = (Arc::clone(&self.0), self.1.clone());
        Box::pin(async move {
            let response = pull(&service, &connection, request.into_inner()).await;
            response.map(Response::new)
        })
    }
}

struct StreamingPull(Arc<Service>, Connection);

impl StreamingService<StreamingPullRequest> for StreamingPull {
    type Response = StreamingPullResponse;
    type ResponseStream = BoxStream<'static, Result<StreamingPullResponse, Status>>;
    type Future = BoxFuture<'static, Result<Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, request: tonic::Request<Streaming<StreamingPullRequest>>) -> Self::Future {
        let (service, connection) = (Arc::clone(&self.0), self.1.clone());
        Box::pin(async move {
            let mut requests = request.into_inner();
            let silent = service.faults.take("StreamingPull");
            if let Some(fault) = &silent {
                match fault {
                    PubSubFault::Slow(delay) => tokio::time::sleep(*delay).await,
                    PubSubFault::Reset => connection.reset(),
                    _ => {}
                }
                if let Some(status) = fault.status() {
                    return Err(status);
                }
                if *fault == PubSubFault::Reset {
                    std::future::pending::<()>().await;
                }
            }
            let silent = matches!(
                silent,
                Some(PubSubFault::Silence | PubSubFault::LoseRequest)
            );
            // A client may read the headers of the response before it sends its first request.
            let (sender, receiver) = mpsc::channel(1);
            tokio::spawn(async move {
                if silent {
                    sender.closed().await;
                    return;
                }
                if let Err(status) = Stream::run(service, &mut requests, &sender).await {
                    // The client is gone if this fails.
                    drop(sender.send(Err(status)).await);
                }
            });
            let responses = futures::stream::unfold(receiver, |mut receiver| async move {
                Some((receiver.recv().await?, receiver))
            });
            Ok(Response::new(Box::pin(responses) as BoxStream<'static, _>))
        })
    }
}
