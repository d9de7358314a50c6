//! Opening a store that lacks an ability fails with an error that names it.

use aqueduct_core::{Backend as _, Capability, Claim, ErrorKind, Options, Url};
use aqueduct_object_store::ObjectStoreBackend;

use crate::support::{Fault, Faulty, OWN, PROCESSOR, resource, runtime};

#[tokio::test]
async fn what_a_store_lacks_is_said_at_start() {
    for (url, fault, kind, says) in [
        (
            OWN,
            Fault::IgnoreCondition,
            ErrorKind::Unsupported,
            "ignores the condition",
        ),
        (
            PROCESSOR,
            Fault::IgnoreCondition,
            ErrorKind::Unsupported,
            "ignores the condition",
        ),
        (
            PROCESSOR,
            Fault::VersionOfBody,
            ErrorKind::Unsupported,
            "version does not change",
        ),
        (
            PROCESSOR,
            Fault::DropMetadata,
            ErrorKind::Unsupported,
            "does not keep metadata",
        ),
        (OWN, Fault::Denied, ErrorKind::Denied, "lack a permission"),
        (
            OWN,
            Fault::MissingContainer,
            ErrorKind::NotFound,
            "container or bucket does not exist",
        ),
    ] {
        let store = Faulty::new();
        store.always(fault.clone());
        let resource = resource(&store, url).unwrap();
        let error = resource.leases(&runtime()).await.err().unwrap();
        assert_eq!(error.kind(), kind, "{fault:?}: {error}");
        let said = error.to_string();
        assert!(
            said.contains(says) && said.contains("az://shop/leases"),
            "{said}"
        );
        assert!(store.names().await.is_empty(), "{fault:?}");
    }
}

#[tokio::test]
async fn a_check_leaves_nothing_behind() {
    for url in [OWN, PROCESSOR] {
        let store = Faulty::new();
        let resource = resource(&store, url).unwrap();
        resource.leases(&runtime()).await.unwrap();
        resource.idempotency(&runtime()).await.unwrap();
        resource.dead_letters(&runtime()).await.unwrap();
        assert!(store.names().await.is_empty());
    }
}

#[tokio::test]
async fn a_folder_keeps_dead_letters_alone() {
    let folder = tempfile::tempdir().unwrap();
    let url = Url::from_directory_path(folder.path()).unwrap();
    let resource = ObjectStoreBackend::new()
        .parse("dead-letters", &url, Options::new("streams.dead_letters"))
        .unwrap();
    assert_eq!(resource.claims().get(Capability::DeadLetters), &Claim::Yes);
    resource.dead_letters(&runtime()).await.unwrap();
    for error in [
        resource.leases(&runtime()).await.err().unwrap(),
        resource.idempotency(&runtime()).await.err().unwrap(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.to_string().contains("sqlite:PATH"), "{error}");
    }
}

/// Nothing listens at the port: the error says so, and nothing was written.
#[tokio::test]
async fn a_service_that_cannot_be_reached_is_unavailable() {
    let free = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let key =
        "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";
    let options = Options::new("groups.g.leases")
        .with(
            "endpoint",
            format!("http://127.0.0.1:{port}/devstoreaccount1"),
        )
        .with("access_key", key);
    let url = Url::parse("az://devstoreaccount1/leases").unwrap();
    let resource = ObjectStoreBackend::new().parse("l", &url, options).unwrap();
    let error = resource.leases(&runtime()).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
    assert!(error.is_retryable());
    assert!(!format!("{error:?}").contains("Eby8"), "{error:?}");
}
