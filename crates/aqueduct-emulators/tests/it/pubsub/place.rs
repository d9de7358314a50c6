use std::future::Future;
use std::time::Duration;

use aqueduct_emulators::{PubSub, PubSubOptions};
use google_cloud_auth::credentials::anonymous;
use google_cloud_pubsub::client::{
    BasePublisher, Publisher, Subscriber, SubscriptionAdmin, TopicAdmin,
};
use google_cloud_pubsub::model::{Message, Subscription};
use google_cloud_pubsub::subscriber::MessageStream;
use google_cloud_pubsub::subscriber::handler::Handler;

/// Longer than any machine needs.
const GENEROUS: Duration = Duration::from_secs(120);

pub(super) const TOPIC: &str = "projects/test/topics/orders";
pub(super) const SUBSCRIPTION: &str = "projects/test/subscriptions/billing";

/// An emulator with a topic, and Google's clients.
pub(super) struct Place {
    pub(super) pubsub: PubSub,
    pub(super) topics: TopicAdmin,
    pub(super) subscriptions: SubscriptionAdmin,
    publishers: BasePublisher,
    subscribers: Subscriber,
}

impl Place {
    pub(super) async fn start() -> Self {
        Self::with(PubSubOptions::new()).await
    }

    pub(super) async fn with(options: PubSubOptions) -> Self {
        // It fails where another test was faster.
        drop(rustls::crypto::ring::default_provider().install_default());
        let pubsub = PubSub::start(options).await.unwrap();
        let credentials = anonymous::Builder::new().build();
        let endpoint = pubsub.endpoint();
        macro_rules! client {
            ($client:ident) => {{
                let builder = $client::builder().with_endpoint(&endpoint);
                builder
                    .with_credentials(credentials.clone())
                    .build()
                    .await
                    .unwrap()
            }};
        }
        let place = Self {
            topics: client!(TopicAdmin),
            subscriptions: client!(SubscriptionAdmin),
            publishers: client!(BasePublisher),
            subscribers: client!(Subscriber),
            pubsub,
        };
        place
            .topics
            .create_topic()
            .set_name(TOPIC)
            .send()
            .await
            .unwrap();
        place
    }

    pub(super) async fn subscription(&self, change: impl FnOnce(Subscription) -> Subscription) {
        let settings = Subscription::new().set_name(SUBSCRIPTION).set_topic(TOPIC);
        let request = self.subscriptions.create_subscription();
        request.with_request(change(settings)).send().await.unwrap();
    }

    pub(super) fn publisher(&self) -> Publisher {
        let publisher = self.publishers.publisher(TOPIC);
        publisher
            .set_delay_threshold(Duration::from_millis(1))
            .build()
    }

    /// Publishes messages in order, each with the ordering key, which may be empty.
    pub(super) async fn publish(&self, key: &str, texts: &[&str]) {
        let publisher = self.publisher();
        for text in texts {
            let message = Message::new()
                .set_data(text.to_string())
                .set_ordering_key(key);
            soon(publisher.publish(message)).await.unwrap();
        }
    }

    pub(super) fn receive(&self) -> MessageStream {
        self.receive_from(SUBSCRIPTION)
    }

    pub(super) fn receive_from(&self, subscription: &str) -> MessageStream {
        self.subscribers.subscribe(subscription).build()
    }

    pub(super) fn receive_at_most(&self, messages: i64) -> MessageStream {
        let subscriber = self.subscribers.subscribe(SUBSCRIPTION);
        subscriber.set_max_outstanding_messages(messages).build()
    }
}

/// Fails the test if something takes longer than it could on any machine.
pub(super) async fn soon<T>(work: impl IntoFuture<Output = T>) -> T {
    tokio::time::timeout(GENEROUS, work)
        .await
        .expect("a result within two minutes")
}

/// Waits until a condition holds.
pub(super) async fn until(what: &str, condition: impl Fn() -> bool) {
    let waiting = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let waited = tokio::time::timeout(GENEROUS, waiting).await;
    assert!(waited.is_ok(), "{what} did not happen within two minutes");
}

pub(super) async fn next(stream: &mut MessageStream) -> (String, Message, Handler) {
    let (message, handler) = soon(stream.next()).await.unwrap().unwrap();
    (
        String::from_utf8(message.data.to_vec()).unwrap(),
        message,
        handler,
    )
}

/// Receives and acknowledges messages; returns their texts.
pub(super) async fn take(stream: &mut MessageStream, count: usize) -> Vec<String> {
    let mut texts = Vec::new();
    while texts.len() < count {
        let (text, _, handler) = next(stream).await;
        handler.ack();
        texts.push(text);
    }
    texts
}

/// Runs a test.
pub(super) fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = { runtime }.worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(test);
}
