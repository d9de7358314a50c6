use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aws_sdk_kinesis::config::interceptors::BeforeDeserializationInterceptorContextRef;
use aws_sdk_kinesis::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_kinesis::error::BoxError;
use aws_smithy_runtime_api::client::interceptors::context::{Error, Output};
use aws_smithy_runtime_api::client::orchestrator::{HttpResponse, OrchestratorError};
use aws_smithy_runtime_api::client::ser_de::{DeserializeResponse, SharedResponseDeserializer};
use aws_smithy_types::body::SdkBody;

/// An answer that is read here in place of the service's client, which makes texts of its own of
/// each field of each record.
pub(crate) trait Answered: Sized + Send + 'static {
    /// What the client answers with.
    type Output: fmt::Debug + Send + Sync + 'static;

    /// Reads the text of an answer.
    ///
    /// # Errors
    /// Where it is none, with the place and nothing of the text.
    fn read(body: SdkBody) -> Result<Self, String>;

    /// What the client answers with, where this has the answer.
    fn nothing_else() -> Result<Self::Output, BoxError>;

    /// The client's error where the answer cannot be read.
    fn unreadable(why: BoxError) -> impl std::error::Error + Send + Sync + 'static;
}

/// Reads the answer of one call. Errors of the service stay the client's to read.
pub(crate) struct Direct<A>(Arc<Mutex<Option<A>>>);

impl<A: Answered> Direct<A> {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Mutex::new(None)))
    }

    /// The answer, where it was read here.
    pub(crate) fn take(&self) -> Option<A> {
        self.place().take()
    }

    fn place(&self) -> MutexGuard<'_, Option<A>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self, response: &HttpResponse) -> Result<A::Output, BoxError> {
        // The body is there whole: its clone shares the memory.
        let body = response.body().try_clone().unwrap_or_else(SdkBody::taken);
        let answer = A::read(body)?;
        *self.place() = Some(answer);
        A::nothing_else()
    }
}

impl<A: Answered> Intercept for Direct<A> {
    fn name(&self) -> &'static str {
        "aqueduct answers"
    }

    fn read_before_deserialization(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        bag: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if context.response().status().as_u16() == 200 {
            let deserializer = SharedResponseDeserializer::new(self.clone());
            bag.interceptor_state().store_put(deserializer);
        }
        Ok(())
    }
}

impl<A: Answered> DeserializeResponse for Direct<A> {
    fn deserialize_nonstreaming(
        &self,
        response: &HttpResponse,
    ) -> Result<Output, OrchestratorError<Error>> {
        match self.read(response) {
            Ok(output) => Ok(Output::erase(output)),
            Err(why) => Err(OrchestratorError::operation(Error::erase(A::unreadable(
                why,
            )))),
        }
    }
}

impl<A> Clone for Direct<A> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<A> fmt::Debug for Direct<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Direct")
    }
}
