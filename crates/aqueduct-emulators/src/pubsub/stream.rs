use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use googleapis_tonic_google_pubsub_v1::google::pubsub::v1::streaming_pull_response::{
    AcknowledgeConfirmation, ModifyAckDeadlineConfirmation, SubscriptionProperties,
};
use googleapis_tonic_google_pubsub_v1::google::pubsub::v1::{
    StreamingPullRequest, StreamingPullResponse,
};
use tokio::sync::mpsc::Sender;
use tonic::{Status, Streaming};

use super::fault::PubSubFault;
use super::machine::{Limits, Properties};
use super::service::Service;

/// A streaming pull.
pub(super) struct Stream {
    service: Arc<Service>,
    subscription: String,
    consumer: u64,
    ack_deadline: Duration,
    limits: Limits,
    /// Whether the client understands empty responses.
    keep_alive: bool,
}

type Responses = Sender<Result<StreamingPullResponse, Status>>;

impl Stream {
    /// Serves a stream until the client ends it or the subscription fails it.
    pub(super) async fn run(
        service: Arc<Service>,
        requests: &mut Streaming<StreamingPullRequest>,
        responses: &Responses,
    ) -> Result<(), Status> {
        let first = tokio::select! {
            first = requests.message() => first?,
            () = responses.closed() => return Ok(()),
        };
        let Some(first) = first else {
            return Ok(());
        };
        let mut stream = Self::new(service, &first)?;
        stream.service.streams.add(&stream.subscription);
        let mut ended = stream.service.streams.ended();
        let result = tokio::select! {
            result = stream.serve(first, requests, responses) => result,
            _ = ended.changed() => {
                let status = ended.borrow().clone();
                Err(status.unwrap_or_else(|| Status::unavailable("The server is stopping.")))
            }
            () = responses.closed() => Ok(()),
        };
        stream.service.streams.remove(&stream.subscription);
        result
    }

    fn new(service: Arc<Service>, first: &StreamingPullRequest) -> Result<Self, Status> {
        let name = &first.subscription;
        service.with(|broker, _| broker.check_pull(name))?;
        let seconds = first.stream_ack_deadline_seconds;
        if !(10..=600).contains(&seconds) {
            return Err(Status::invalid_argument(format!(
                "Invalid stream_ack_deadline_seconds {seconds}: expected 10 to 600."
            )));
        }
        let limit = |limit: i64| u64::try_from(limit).ok().filter(|limit| *limit > 0);
        Ok(Self {
            consumer: service.consumer(),
            subscription: name.clone(),
            ack_deadline: Duration::from_secs(u64::try_from(seconds).unwrap_or_default()),
            limits: Limits {
                batch: service.options.batch_limit,
                messages: limit(first.max_outstanding_messages),
                bytes: limit(first.max_outstanding_bytes),
            },
            keep_alive: first.protocol_version >= 1,
            service,
        })
    }

    async fn serve(
        &mut self,
        first: StreamingPullRequest,
        requests: &mut Streaming<StreamingPullRequest>,
        responses: &Responses,
    ) -> Result<(), Status> {
        let properties = self.properties()?;
        self.settle(first, properties, responses).await?;
        let notify = self.service.notify(properties.number);
        let mut told = None;
        let mut tick = tokio::time::interval(self.service.options.keep_alive);
        loop {
            let mut notified = pin!(notify.notified());
            notified.as_mut().enable();
            let properties = self.check(properties.number)?;
            let mut response = self.deliver()?;
            let current = (properties.exactly_once, properties.ordered);
            let changed = told != Some(current);
            if changed || !response.received_messages.is_empty() {
                response.subscription_properties = Some(SubscriptionProperties {
                    exactly_once_delivery_enabled: properties.exactly_once,
                    message_ordering_enabled: properties.ordered,
                });
                told = Some(current);
                if send(responses, response).await.is_err() {
                    return Ok(());
                }
                tick.reset();
                continue;
            }
            tokio::select! {
                request = requests.message() => match request? {
                    Some(request) => self.update(request, properties, responses).await?,
                    None => return Ok(()),
                },
                () = notified => {}
                _ = tick.tick(), if self.keep_alive => {
                    if send(responses, StreamingPullResponse::default()).await.is_err() {
                        return Ok(());
                    }
                }
            }
        }
    }

    fn properties(&self) -> Result<Properties, Status> {
        self.service
            .with(|broker, _| broker.check_pull(&self.subscription))
    }

    /// Returns the current properties, unless the subscription was deleted, also if one of its name was made since.
    fn check(&self, number: u64) -> Result<Properties, Status> {
        let properties = self.properties()?;
        match properties.number == number {
            true => Ok(properties),
            false => Err(Status::not_found(
                "The subscription of this stream was deleted.",
            )),
        }
    }

    fn deliver(&self) -> Result<StreamingPullResponse, Status> {
        let limits = Limits {
            batch: self.service.streams.batch(self.limits.batch),
            ..self.limits
        };
        let (name, consumer) = (&self.subscription, self.consumer);
        let received_messages = self
            .service
            .with(|broker, now| broker.pull(name, consumer, limits, now + self.ack_deadline))?;
        Ok(StreamingPullResponse {
            received_messages,
            ..StreamingPullResponse::default()
        })
    }

    async fn update(
        &mut self,
        request: StreamingPullRequest,
        properties: Properties,
        responses: &Responses,
    ) -> Result<(), Status> {
        if !request.subscription.is_empty() {
            let text = "Only the first request of a stream may name the subscription.";
            return Err(Status::invalid_argument(text));
        }
        if request.stream_ack_deadline_seconds != 0 {
            let seconds = u64::try_from(request.stream_ack_deadline_seconds);
            let seconds = seconds.ok().filter(|seconds| (10..=600).contains(seconds));
            let Some(seconds) = seconds else {
                let text = "Invalid stream_ack_deadline_seconds: expected 10 to 600.";
                return Err(Status::invalid_argument(text));
            };
            self.ack_deadline = Duration::from_secs(seconds);
        }
        self.settle(request, properties, responses).await
    }

    /// Acknowledges and modifies what a request of the stream names; confirms it on an exactly-once subscription.
    async fn settle(
        &self,
        request: StreamingPullRequest,
        properties: Properties,
        responses: &Responses,
    ) -> Result<(), Status> {
        let mut response = StreamingPullResponse::default();
        if !request.ack_ids.is_empty() && !self.loses("Acknowledge").await? {
            let (name, ids) = (&self.subscription, request.ack_ids);
            let invalid = self
                .service
                .with(|broker, _| broker.acknowledge(name, &ids))?;
            let (invalid_ack_ids, ack_ids) = ids.into_iter().partition(|it| invalid.contains(it));
            response.acknowledge_confirmation = Some(AcknowledgeConfirmation {
                ack_ids,
                invalid_ack_ids,
                ..AcknowledgeConfirmation::default()
            });
        }
        if !request.modify_deadline_ack_ids.is_empty() && !self.loses("ModifyAckDeadline").await? {
            let (ids, seconds) = (
                request.modify_deadline_ack_ids,
                request.modify_deadline_seconds,
            );
            if ids.len() != seconds.len() {
                let text = "modify_deadline_seconds and modify_deadline_ack_ids differ in length.";
                return Err(Status::invalid_argument(text));
            }
            let changes = ids.iter().cloned().zip(seconds);
            let name = &self.subscription;
            let invalid = self
                .service
                .with(|broker, now| broker.modify(name, changes, now))?;
            let (invalid_ack_ids, ack_ids) = ids.into_iter().partition(|it| invalid.contains(it));
            response.modify_ack_deadline_confirmation = Some(ModifyAckDeadlineConfirmation {
                ack_ids,
                invalid_ack_ids,
                ..ModifyAckDeadlineConfirmation::default()
            });
        }
        let confirms = response.acknowledge_confirmation.is_some()
            || response.modify_ack_deadline_confirmation.is_some();
        if properties.exactly_once && confirms {
            // The client is gone if this fails; the loop notices.
            let _ = send(responses, response).await;
        }
        Ok(())
    }

    /// Applies the fault that waits for a method, which ends the stream or loses the request.
    async fn loses(&self, method: &str) -> Result<bool, Status> {
        let Some(fault) = self.service.faults.take(method) else {
            return Ok(false);
        };
        match (&fault, fault.status()) {
            (PubSubFault::Slow(delay), _) => {
                tokio::time::sleep(*delay).await;
                Ok(false)
            }
            (_, Some(status)) => Err(status),
            _ => Ok(true),
        }
    }
}

async fn send(responses: &Responses, response: StreamingPullResponse) -> Result<(), ()> {
    responses.send(Ok(response)).await.map_err(|_| ())
}
