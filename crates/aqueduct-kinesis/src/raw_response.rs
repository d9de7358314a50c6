use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aws_sdk_kinesis::config::interceptors::BeforeDeserializationInterceptorContextRef;
use aws_sdk_kinesis::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_kinesis::error::BoxError;
use aws_smithy_runtime_api::client::interceptors::context::{Error, Output};
use aws_smithy_runtime_api::client::orchestrator::{HttpResponse, OrchestratorError};
use aws_smithy_runtime_api::client::ser_de::{DeserializeResponse, SharedResponseDeserializer};
use aws_smithy_types::body::SdkBody;

/// A response that is deserialized here instead of in the service's client, which allocates a string for
/// each field of each record.
pub(crate) trait RawResponse: Sized + Send + 'static {
    /// The output of the client.
    type Output: fmt::Debug + Send + Sync + 'static;

    /// Parses the body of a response.
    ///
    /// # Errors
    /// If it is not valid: the place and nothing of the text.
    fn read(body: SdkBody) -> Result<Self, String>;

    /// Returns the output that the client gives if the response was read here.
    fn empty_output() -> Result<Self::Output, BoxError>;

    /// Returns the client's error for a response that cannot be read.
    fn unreadable(why: BoxError) -> impl std::error::Error + Send + Sync + 'static;
}

/// Reads the response of one call if it is JSON. The client reads the errors of the service, and responses
/// in whatever other format it has agreed on with the service.
pub(crate) struct ResponseReader<R> {
    slot: Arc<Mutex<Option<R>>>,
    enabled: bool,
}

impl<R: RawResponse> ResponseReader<R> {
    /// Creates a reader; without `enabled` it leaves every response to the client.
    pub(crate) fn new(enabled: bool) -> Self {
        Self {
            slot: Arc::new(Mutex::new(None)),
            enabled,
        }
    }

    /// Takes the response; `None` if it was not read here.
    pub(crate) fn take(&self) -> Option<R> {
        self.slot().take()
    }

    fn slot(&self) -> MutexGuard<'_, Option<R>> {
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self, response: &HttpResponse) -> Result<R::Output, BoxError> {
        // The body is complete: its clone shares the memory.
        let body = response.body().try_clone().unwrap_or_else(SdkBody::taken);
        let response = R::read(body)?;
        *self.slot() = Some(response);
        R::empty_output()
    }
}

impl<R: RawResponse> Intercept for ResponseReader<R> {
    fn name(&self) -> &'static str {
        "aqueduct responses"
    }

    fn read_before_deserialization(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        bag: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let response = context.response();
        if self.enabled && response.status().as_u16() == 200 && is_json(response) {
            let deserializer = SharedResponseDeserializer::new(self.clone());
            bag.interceptor_state().store_put(deserializer);
        }
        Ok(())
    }
}

impl<R: RawResponse> DeserializeResponse for ResponseReader<R> {
    fn deserialize_nonstreaming(
        &self,
        response: &HttpResponse,
    ) -> Result<Output, OrchestratorError<Error>> {
        match self.read(response) {
            Ok(output) => Ok(Output::erase(output)),
            Err(why) => Err(OrchestratorError::operation(Error::erase(R::unreadable(
                why,
            )))),
        }
    }
}

/// Returns whether the response says that it is in the JSON protocol of AWS.
fn is_json(response: &HttpResponse) -> bool {
    let content_type = response.headers().get("content-type").unwrap_or_default();
    let media_type = content_type.split(';').next().unwrap_or_default().trim();
    let media_type = media_type.to_ascii_lowercase();
    media_type == "application/json" || media_type.starts_with("application/x-amz-json-1.")
}

impl<R> Clone for ResponseReader<R> {
    fn clone(&self) -> Self {
        Self {
            slot: self.slot.clone(),
            enabled: self.enabled,
        }
    }
}

impl<R> fmt::Debug for ResponseReader<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ResponseReader")
    }
}

#[cfg(test)]
mod tests;
