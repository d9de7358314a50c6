//! Tokens of Microsoft Entra ID, from a credential of the test.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use aqueduct_core::{Backend as _, ErrorKind, Options, Resource};
use aqueduct_emulators::EventHubs;
use aqueduct_eventhubs::EventHubsBackend;
use azure_core::credentials::{AccessToken, TokenCredential, TokenRequestOptions};
use azure_core::time::{Duration, OffsetDateTime};

use crate::common::options;

#[derive(Debug)]
struct Fake {
    token: &'static str,
    fails: AtomicBool,
}

#[async_trait::async_trait]
impl TokenCredential for Fake {
    async fn get_token(
        &self,
        scopes: &[&str],
        _: Option<TokenRequestOptions<'_>>,
    ) -> azure_core::Result<AccessToken> {
        assert_eq!(scopes, ["https://eventhubs.azure.net/.default"]);
        if self.fails.load(Ordering::Relaxed) {
            let kind = azure_core::error::ErrorKind::Credential;
            return Err(azure_core::Error::with_message(kind, "no identity here"));
        }
        let expires = OffsetDateTime::now_utc() + Duration::hours(1);
        Ok(AccessToken::new(self.token.to_owned(), expires))
    }
}

fn resource(server: &EventHubs, credential: Arc<Fake>) -> Arc<dyn Resource> {
    let url = "eventhubs://shop/orders".parse().unwrap();
    let options = Options::new("streams.orders").with("endpoint", server.endpoint());
    let backend = EventHubsBackend::with_credential(credential);
    backend.parse("orders", &url, options).unwrap()
}

#[tokio::test]
async fn a_credential_opens_a_hub() {
    let server = EventHubs::start(options("orders", 1).with_token("good-token"))
        .await
        .unwrap();
    let runtime = aqueduct_runtime::tokio();
    let fake = |token| {
        Arc::new(Fake {
            token,
            fails: AtomicBool::new(false),
        })
    };
    let good = fake("good-token");
    assert!(
        resource(&server, good.clone())
            .producer(&runtime)
            .await
            .is_ok()
    );
    let refused = resource(&server, fake("bad-token"))
        .producer(&runtime)
        .await;
    let error = refused.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
    assert!(!format!("{error:?}").contains("bad-token"), "{error:?}");
    good.fails.store(true, Ordering::Relaxed);
    let error = resource(&server, good)
        .producer(&runtime)
        .await
        .err()
        .unwrap();
    assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
    assert!(
        format!("{error:?}").contains("no identity here"),
        "{error:?}"
    );
}
