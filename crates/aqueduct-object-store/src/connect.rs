use std::sync::Arc;

use aqueduct_core::{Error, ErrorKind, Result};
use object_store::aws::AmazonS3Builder;
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::local::LocalFileSystem;
use object_store::{ClientOptions, ObjectStore, RetryConfig};

use crate::config::{Access, Config, Container};
use crate::http::Connector;

/// Makes the client of a container, without I/O.
///
/// # Errors
/// `Config` if the settings or the environment's credentials are invalid.
pub(crate) fn connect(config: &Config) -> Result<Arc<dyn ObjectStore>> {
    let store = match &config.container {
        Container::Azure { account, container } => azure(account, container, &config.access),
        Container::S3 { bucket } => s3(bucket, &config.access),
        Container::Gcs { bucket } => gcs(bucket, &config.access),
        Container::Folder { path } => folder(path),
    };
    store.map_err(|error| {
        let message = format!(
            "{}: the settings or the environment's credentials are invalid",
            config.describe()
        );
        Error::new(ErrorKind::Config, message).with_source(error)
    })
}

type Connected = object_store::Result<Arc<dyn ObjectStore>>;

fn azure(account: &str, container: &str, access: &Access) -> Connected {
    // A credential of the environment must not take precedence over the configured one.
    let is_given = access.access_key.is_some() || access.sas_token.is_some();
    let builder = match is_given {
        true => MicrosoftAzureBuilder::new(),
        false => MicrosoftAzureBuilder::from_env(),
    };
    let mut builder = builder
        .with_account(account)
        .with_container_name(container)
        .with_client_options(client(access))
        .with_http_connector(connector(access))
        .with_retry(no_retries());
    if let Some(key) = &access.access_key {
        builder = builder.with_access_key(key.as_str());
    }
    if let Some(token) = &access.sas_token {
        builder = builder.with_config(AzureConfigKey::SasKey, token.as_str());
    }
    if let Some(endpoint) = &access.endpoint {
        builder = builder.with_endpoint(endpoint.to_string());
    }
    Ok(Arc::new(builder.build()?))
}

fn s3(bucket: &str, access: &Access) -> Connected {
    let mut builder = AmazonS3Builder::from_env()
        .with_bucket_name(bucket)
        .with_client_options(client(access))
        .with_http_connector(connector(access))
        .with_retry(no_retries());
    if let Some(region) = &access.region {
        builder = builder.with_region(region.as_str());
    }
    if let Some(endpoint) = &access.endpoint {
        builder = builder.with_endpoint(endpoint.as_str());
    }
    Ok(Arc::new(builder.build()?))
}

fn gcs(bucket: &str, access: &Access) -> Connected {
    let mut builder = GoogleCloudStorageBuilder::from_env()
        .with_bucket_name(bucket)
        .with_client_options(client(access))
        .with_http_connector(connector(access))
        .with_retry(no_retries());
    if let Some(path) = &access.service_account {
        builder = builder.with_service_account_path(path.as_str());
    }
    if let Some(endpoint) = &access.endpoint {
        builder = builder.with_base_url(endpoint);
    }
    Ok(Arc::new(builder.build()?))
}

fn folder(path: &str) -> Connected {
    std::fs::create_dir_all(path).map_err(|error| object_store::Error::Generic {
        store: "LocalFileSystem",
        source: Box::new(error),
    })?;
    Ok(Arc::new(LocalFileSystem::new_with_prefix(path)?))
}

/// Retries belong to the group, the layers and the producer engine: a retry here would hide whether
/// a conditional write was carried out.
fn no_retries() -> RetryConfig {
    RetryConfig {
        max_retries: 0,
        ..RetryConfig::default()
    }
}

fn client(access: &Access) -> ClientOptions {
    let endpoint = access.endpoint.as_deref().unwrap_or_default();
    ClientOptions::new().with_allow_http(endpoint.starts_with("http://"))
}

fn connector(access: &Access) -> Connector {
    Connector {
        timeout: access.timeout,
    }
}
