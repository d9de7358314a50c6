use googleapis_tonic_google_pubsub_v1::google::pubsub::v1::PubsubMessage;

use super::broker::Broker;
use super::message::{Message, Time};

impl Broker {
    /// Publishes what failed too often to the dead letter topics; without the topic it stays where it was.
    pub(super) fn forward_dead_letters(&mut self, now: Time) {
        // A dead letter can reach a subscription that forwards in turn only by failing there, so one pass is enough.
        let mut letters = Vec::new();
        for (name, state) in &mut self.subscriptions {
            let policy = state.settings.dead_letter_policy.as_ref();
            let topic = policy
                .map(|it| it.dead_letter_topic.clone())
                .unwrap_or_default();
            for (message, attempts) in state.backlog.take_dead() {
                match self.topics.contains_key(&topic) {
                    true => letters.push((topic.clone(), dead_letter(name, &message, attempts))),
                    false => state.backlog.put_back(message, attempts),
                }
            }
        }
        for (topic, letter) in letters {
            self.store(&topic, vec![letter], now);
        }
    }
}

/// Returns a copy with the service's attributes: <https://cloud.google.com/pubsub/docs/dead-letter-topics>.
fn dead_letter(subscription: &str, message: &Message, attempts: u32) -> PubsubMessage {
    let mut letter = message.wire.clone();
    let mut parts = subscription.split('/');
    let (project, id) = (
        parts.nth(1).unwrap_or_default(),
        parts.nth(1).unwrap_or_default(),
    );
    let published = letter.publish_time.take().unwrap_or_default();
    let attributes = [
        ("DeliveryCount", attempts.to_string()),
        ("Subscription", id.to_owned()),
        ("SubscriptionProject", project.to_owned()),
        ("TopicPublishTime", published.to_string()),
    ];
    for (name, value) in attributes {
        let name = format!("CloudPubSubDeadLetterSource{name}");
        letter.attributes.insert(name, value);
    }
    letter
}
