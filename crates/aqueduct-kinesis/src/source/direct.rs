use std::fmt;
use std::sync::{Arc, Mutex};

use aws_sdk_kinesis::config::interceptors::BeforeDeserializationInterceptorContextRef;
use aws_sdk_kinesis::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_kinesis::error::BoxError;
use aws_sdk_kinesis::operation::get_records::{GetRecordsError, GetRecordsOutput};
use aws_smithy_runtime_api::client::interceptors::context::{Error, Output};
use aws_smithy_runtime_api::client::orchestrator::{HttpResponse, OrchestratorError};
use aws_smithy_runtime_api::client::ser_de::{DeserializeResponse, SharedResponseDeserializer};
use aws_smithy_types::body::SdkBody;

use super::answer::Answer;
use super::log::lock;

/// Reads the answer of one GetRecords in place of the service's client, which spends half of a
/// consumer's time on copying each field of each record. All else, errors too, stays its own.
#[derive(Clone, Default)]
pub(super) struct Direct(Arc<Mutex<Option<Answer>>>);

impl Direct {
    /// The answer, where it was read here.
    pub(super) fn take(&self) -> Option<Answer> {
        lock(&self.0).take()
    }

    fn read(&self, response: &HttpResponse) -> Result<GetRecordsOutput, BoxError> {
        // The body is there whole: its clone shares the memory.
        let body = response.body().try_clone().unwrap_or_else(SdkBody::taken);
        *lock(&self.0) = Some(Answer::read(body)?);
        let nothing_else = GetRecordsOutput::builder().set_records(Some(Vec::new()));
        Ok(nothing_else.build()?)
    }
}

impl Intercept for Direct {
    fn name(&self) -> &'static str {
        "aqueduct records"
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

impl DeserializeResponse for Direct {
    fn deserialize_nonstreaming(
        &self,
        response: &HttpResponse,
    ) -> Result<Output, OrchestratorError<Error>> {
        match self.read(response) {
            Ok(output) => Ok(Output::erase(output)),
            Err(error) => {
                let error = GetRecordsError::unhandled(error);
                Err(OrchestratorError::operation(Error::erase(error)))
            }
        }
    }
}

impl fmt::Debug for Direct {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Direct")
    }
}
