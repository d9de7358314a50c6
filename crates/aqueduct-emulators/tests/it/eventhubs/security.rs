use std::time::{SystemTime, UNIX_EPOCH};

use aqueduct_emulators::EventHubsOptions;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use fe2o3_amqp::types::primitives::{SimpleValue, Value};
use ring::hmac;

use super::client::{Client, event, is_accepted, soon, start_with};

fn token(resource: &str, key: &str, expires_in: i64) -> String {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs() as i64;
    let expiry = now + expires_in;
    let encode =
        |text: &str| url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    let resource = encode(resource);
    let signing = hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes());
    let signature = hmac::sign(&signing, format!("{resource}\n{expiry}").as_bytes());
    let signature = encode(&STANDARD.encode(signature));
    format!("SharedAccessSignature sr={resource}&sig={signature}&se={expiry}&skn=root")
}

async fn put(client: &mut Client, audience: &str, token: String) -> (i32, String) {
    let text = |text: &str| SimpleValue::String(text.to_owned());
    let properties = vec![
        ("operation", text("put-token")),
        ("type", text("servicebus.windows.net:sastoken")),
        ("name", text(audience)),
    ];
    let (status, reply) = client
        .request("$cbs", properties, Value::String(token))
        .await;
    (status, format!("{:?}", reply.application_properties))
}

async fn send(client: &mut Client) -> Result<(), String> {
    let mut sender = client
        .try_sender("orders")
        .await
        .map_err(|error| format!("{error:?}"))?;
    let sent = soon("send", sender.send(event("x", None))).await;
    if is_accepted(&sent) {
        Ok(())
    } else {
        Err(format!("{sent:?}"))
    }
}

#[tokio::test]
async fn a_valid_token_opens_its_hub_and_nothing_else_does() {
    let hubs = start_with(EventHubsOptions::new().with_key("root", "secret")).await;
    let mut client = Client::open(&hubs).await;
    let refused = send(&mut client).await.unwrap_err();
    assert!(refused.contains("UnauthorizedAccess"), "{refused}");
    let audience = "amqp://localhost/orders";
    let bad = [
        (token(audience, "wrong", 60), "InvalidSignature"),
        (token(audience, "secret", -1), "ExpiredToken"),
        (
            token("amqp://localhost/other", "secret", 60),
            "InvalidAudience",
        ),
        ("SharedAccessSignature sr=x".to_owned(), "MalformedToken"),
        ("eyJ".to_owned(), "InvalidToken"),
    ];
    for (token, reason) in bad {
        let (status, reply) = put(&mut client, audience, token).await;
        assert_eq!(status, 401, "{reason}");
        assert!(reply.contains(reason), "{reply}");
    }
    let (status, _) = put(&mut client, audience, token(audience, "secret", 60)).await;
    assert_eq!(status, 202);
    send(&mut client).await.unwrap();
}

#[tokio::test]
async fn a_link_is_closed_when_its_token_expires() {
    let hubs = start_with(EventHubsOptions::new().with_key("root", "secret")).await;
    let mut client = Client::open(&hubs).await;
    let audience = "amqp://localhost/orders";
    let (status, _) = put(&mut client, audience, token(audience, "secret", 3)).await;
    assert_eq!(status, 202);
    let Ok(mut sender) = client.try_sender("orders").await else {
        // The machine was too slow for the token.
        return;
    };
    let lost = soon("expiry", sender.on_detach()).await;
    assert!(
        format!("{lost:?}").contains("UnauthorizedAccess"),
        "{lost:?}"
    );
}
