//! Configurations for Amazon, read and checked without a connection.

use aqueduct::{Client, Environment, Result};

async fn load(toml: &str) -> Result<Client> {
    let environment = Environment::from_iter([("KINESIS_ENDPOINT", "http://127.0.0.1:4567")]);
    let builder = Client::builder().toml(toml).environment(environment);
    builder.build().await
}

/// Returns the error of a configuration, from reading or from checking it.
async fn refusal(toml: &str) -> String {
    let refused = match load(toml).await {
        Ok(client) => client.check(),
        Err(error) => Err(error),
    };
    refused.expect_err(toml).to_string()
}

#[tokio::test]
async fn streams_leases_and_dead_letters_may_each_be_elsewhere() {
    let client = load(include_str!("../aws.toml")).await.unwrap();
    client.check().unwrap();
    assert_eq!(client.streams().collect::<Vec<_>>(), ["orders", "payments"]);
    drop(client.worker("billing").await.unwrap());
}

#[tokio::test]
async fn resources_may_be_named_by_arn() {
    let arn = "arn:aws:kinesis:eu-west-1:123456789012:stream/Orders_v2.x";
    let toml = format!(
        "[streams.orders]\nurl = \"kinesis:{arn}\"\n\
         [groups.billing]\nstream = \"orders\"\n\
         leases = \"dynamodb:arn:aws:dynamodb:eu-west-1:123456789012:table/orders-leases\"\n\
         dead_letters = \"sqs:arn:aws:sqs:eu-west-1:123456789012:orders-letters\""
    );
    load(&toml).await.unwrap().check().unwrap();
}

#[tokio::test]
async fn a_group_on_kinesis_is_told_where_leases_may_be() {
    let said = refusal(
        "[streams.orders]\nurl = \"kinesis://orders\"\n[groups.billing]\nstream = \"orders\"",
    );
    let said = said.await;
    for part in ["groups.billing.leases", "dynamodb://orders-leases"] {
        assert!(said.contains(part), "{said}");
    }
}

#[tokio::test]
async fn a_queue_is_not_shared_by_two_groups() {
    let group =
        |name: &str| format!("[groups.{name}]\nstream = \"orders\"\non_reject = \"stop\"\n");
    let queue = "[streams.orders]\nurl = \"sqs://orders\"\n";
    let billing = format!("{queue}{}", group("billing"));
    load(&billing).await.unwrap().check().unwrap();
    let said = refusal(&format!("{billing}{}", group("shipping"))).await;
    for part in ["groups.billing.stream", "shipping", "a queue of its own"] {
        assert!(said.contains(part), "{said}");
    }
}

#[tokio::test]
async fn what_is_wrong_is_named_with_what_was_expected() {
    let kinesis = |more: &str| format!("[streams.orders]\nurl = \"kinesis://orders\"\n{more}");
    let group = |more: &str| {
        format!(
            "{}[groups.billing]\nstream = \"orders\"\nleases = \"dynamodb://orders-leases\"\n{more}",
            kinesis("")
        )
    };
    for (toml, says) in [
        (
            kinesis("regoin = \"eu-west-1\""),
            &["streams.orders.regoin", "region"][..],
        ),
        (
            kinesis("region = \"Ireland\""),
            &["streams.orders.region", "eu-west-1"],
        ),
        (
            kinesis("endpoint = \"localhost:4566\""),
            &["streams.orders.endpoint", "http"],
        ),
        (kinesis("external_id = \"1\""), &["external_id", "`role`"]),
        (kinesis("encoding = \"xml\""), &["encoding", "raw"]),
        (
            "[streams.orders]\nurl = \"kinesis:arn:aws:sqs:eu-west-1:1:orders\"".into(),
            &["streams.orders.url", "arn:aws:kinesis"],
        ),
        (
            "[streams.orders]\nurl = \"sqs://no spaces\"".into(),
            &["streams.orders.url"],
        ),
        (
            group("dead_letters = \"sqs://letters?region=moon!\""),
            &["groups.billing.dead_letters.region", "eu-west-1"],
        ),
        (
            group("requires = \"transactions\"\nidempotency = \"leases\""),
            &["groups.billing.idempotency", "unknown stream or store"],
        ),
        (
            group("requires = \"transactions\"\nidempotency = \"dynamodb://orders-records\""),
            &["groups.billing.requires", "transactions"],
        ),
    ] {
        let said = refusal(&toml).await;
        for part in says {
            assert!(said.contains(part), "{toml}: {said}");
        }
    }
}

#[tokio::test]
async fn a_queue_needs_no_leases_and_has_no_replay() {
    let queue = |requires: &str| {
        format!(
            "[streams.jobs]\nurl = \"sqs://jobs\"\n\
             [groups.workers]\nstream = \"jobs\"\non_reject = \"stop\"\nrequires = [{requires}]"
        )
    };
    let client = load(&queue("\"durable\", \"shared\"")).await.unwrap();
    client.check().unwrap();
    let said = refusal(&queue("\"replay\"")).await;
    assert!(said.contains("replay"), "{said}");
}
