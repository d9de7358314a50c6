use std::time::{Duration, Instant};

use aqueduct_aws::{Aws, AwsOptions, SdkConfig};
use aqueduct_core::Options;

use crate::services::{Place, Service};

/// The longest wait for a resource that is being created, resharded or deleted.
const CHANGING: Duration = Duration::from_secs(120);

/// Deletes a stream, the tables of that name, or a queue. A missing one counts as deleted.
pub(crate) async fn delete(
    aws: &Aws,
    place: &Place,
    service: Service,
    name: &str,
) -> Result<(), String> {
    let mut options = Options::new("delete");
    for (key, value) in place.options(service)? {
        options = options.with(key, value);
    }
    let options = AwsOptions::read(&mut options).map_err(|error| error.to_string())?;
    let config = aws
        .config(&options)
        .await
        .map_err(|error| error.to_string())?;
    let begun = Instant::now();
    loop {
        let deleted = match service {
            Service::Kinesis => stream(&config, name).await,
            Service::Dynamodb => match table(&config, name).await {
                // The table of groups and idempotency records.
                Ok(()) => table(&config, &format!("{name}-aqueduct")).await,
                failed => failed,
            },
            Service::Sqs => queue(&config, name).await,
            // Its containers end with the emulator, which keeps them in memory.
            Service::Blob => Ok(()),
        };
        match deleted {
            Err(why) if why.contains("ResourceInUse") && begun.elapsed() < CHANGING => {
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            deleted => return deleted,
        }
    }
}

async fn stream(config: &SdkConfig, name: &str) -> Result<(), String> {
    let client = aws_sdk_kinesis::Client::new(config);
    let deleting = client
        .delete_stream()
        .stream_name(name)
        .enforce_consumer_deletion(true);
    match deleting.send().await {
        Err(failed) => {
            let error = aqueduct_aws::error("DeleteStream", failed);
            gone(&error)
        }
        Ok(_) => Ok(()),
    }
}

async fn table(config: &SdkConfig, name: &str) -> Result<(), String> {
    let client = aws_sdk_dynamodb::Client::new(config);
    match client.delete_table().table_name(name).send().await {
        Err(failed) => gone(&aqueduct_aws::error("DeleteTable", failed)),
        Ok(_) => Ok(()),
    }
}

async fn queue(config: &SdkConfig, name: &str) -> Result<(), String> {
    let client = aws_sdk_sqs::Client::new(config);
    let found = match client.get_queue_url().queue_name(name).send().await {
        Err(failed) => return gone(&aqueduct_aws::error("GetQueueUrl", failed)),
        Ok(found) => found,
    };
    let deleting = client.delete_queue().set_queue_url(found.queue_url);
    match deleting.send().await {
        Err(failed) => gone(&aqueduct_aws::error("DeleteQueue", failed)),
        Ok(_) => Ok(()),
    }
}

fn gone(error: &aqueduct_core::Error) -> Result<(), String> {
    let said = error.to_string();
    let missing = ["ResourceNotFound", "QueueDoesNotExist", "NonExistentQueue"];
    match missing.iter().any(|code| said.contains(code)) {
        true => Ok(()),
        false => Err(said),
    }
}
