//! The names of topics, subscriptions and snapshots, and the URL that contains them.

use aqueduct_core::{Options, Result, SmallStr, StreamName, Url, percent_decode};

/// The topic that a URL names.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) project: SmallStr,
    pub(crate) topic: StreamName,
}

impl Address {
    /// Parses `pubsub://PROJECT/TOPIC`; a URL without a topic names the topic `name`.
    pub(crate) fn parse(name: &str, url: &Url, options: &Options) -> Result<Self> {
        let refuse = |why: &str| Err(options.refuse_url(why));
        if !url.username().is_empty() || url.password().is_some() || url.port().is_some() {
            return refuse(
                "the URL of a topic has no user, password or port: write pubsub://PROJECT/TOPIC, and \
                 %3A for the colon of a domain's project",
            );
        }
        if url.fragment().is_some() {
            return refuse("the URL of a topic has no fragment (`#`): remove it");
        }
        let project = url.host_str().and_then(percent_decode).unwrap_or_default();
        if !is_project(&project) {
            return refuse(
                "invalid project id: expected pubsub://PROJECT/TOPIC, where PROJECT is 6 to 63 lowercase \
                 letters, digits, `-`, or a domain, `:` and an id",
            );
        }
        let path = url.path().strip_prefix('/').unwrap_or(url.path());
        let Some(topic) = percent_decode(path) else {
            return refuse("invalid percent-encoding: `%` needs two hexadecimal digits");
        };
        let topic = match topic.is_empty() {
            true => name.to_owned(),
            false => topic,
        };
        if let Some(why) = invalid_name(&topic) {
            return refuse(&format!("invalid topic name: {why}"));
        }
        Ok(Self {
            project: project.into(),
            topic: StreamName::new(topic),
        })
    }
}

/// Returns why the service refuses the name of a topic, subscription or snapshot; `None` if it
/// accepts it.
pub(crate) fn invalid_name(name: &str) -> Option<&'static str> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~+%".contains(&byte);
    let valid = (3..=255).contains(&name.len())
        && name.starts_with(|first: char| first.is_ascii_alphabetic())
        && name.bytes().all(allowed)
        && !name.starts_with("goog");
    (!valid).then_some(
        "expected 3 to 255 letters, digits or `-_.~+%`, beginning with a letter and not with `goog`",
    )
}

/// Returns whether a project id can exist; old ids may be shorter than today's.
fn is_project(text: &str) -> bool {
    let allowed =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.:".contains(&byte);
    (1..=127).contains(&text.len()) && text.bytes().all(allowed)
}

/// Returns the resource name of a topic. A name that has a project already is returned as it is.
pub(crate) fn topic_path(project: &str, topic: &str) -> String {
    path(project, "topics", topic)
}

/// Returns the resource name of a subscription.
pub(crate) fn subscription_path(project: &str, subscription: &str) -> String {
    path(project, "subscriptions", subscription)
}

/// Returns the resource name of a snapshot.
pub(crate) fn snapshot_path(project: &str, snapshot: &str) -> String {
    path(project, "snapshots", snapshot)
}

fn path(project: &str, kind: &str, name: &str) -> String {
    match name.starts_with("projects/") {
        true => name.to_owned(),
        false => format!("projects/{project}/{kind}/{name}"),
    }
}

/// Returns the last part of a resource name.
pub(crate) fn short_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> Result<Address> {
        let options = Options::new("streams.orders");
        Address::parse("orders", &Url::parse(url).unwrap(), &options)
    }

    #[test]
    fn a_url_names_project_and_topic() {
        for (url, project, topic) in [
            ("pubsub://shop/paid", "shop", "paid"),
            ("pubsub://shop-123456", "shop-123456", "orders"),
            ("pubsub://shop/", "shop", "orders"),
            (
                "pubsub://example.com%3Ashop/p%61id",
                "example.com:shop",
                "paid",
            ),
            ("pubsub://shop/a.b~c+d", "shop", "a.b~c+d"),
        ] {
            let address = parse(url).unwrap();
            assert_eq!(address.project.as_str(), project, "{url}");
            assert_eq!(address.topic.as_str(), topic, "{url}");
        }
    }

    #[test]
    fn what_cannot_be_a_topic_is_refused() {
        let long = format!("pubsub://shop/{}", "t".repeat(256));
        for (url, expected) in [
            ("pubsub:", "invalid project"),
            ("pubsub://Shop_1/paid", "invalid project"),
            ("pubsub://me@shop/paid", "no user"),
            ("pubsub://shop:80/paid", "port"),
            ("pubsub://shop/paid#x", "fragment"),
            ("pubsub://shop/ab", "3 to 255"),
            ("pubsub://shop/1abc", "3 to 255"),
            ("pubsub://shop/google", "goog"),
            ("pubsub://shop/a/b", "3 to 255"),
            ("pubsub://shop/a%20b", "3 to 255"),
            ("pubsub://shop/a%zz", "hexadecimal"),
            (&long, "3 to 255"),
        ] {
            let error = parse(url).unwrap_err().to_string();
            assert!(error.starts_with("streams.orders.url"), "{error}");
            assert!(error.contains(expected), "{url}: {error}");
        }
    }

    #[test]
    fn a_resource_name_keeps_its_project() {
        assert_eq!(topic_path("p", "t"), "projects/p/topics/t");
        assert_eq!(
            topic_path("p", "projects/q/topics/t"),
            "projects/q/topics/t"
        );
        assert_eq!(short_name("projects/p/subscriptions/s"), "s");
    }
}
