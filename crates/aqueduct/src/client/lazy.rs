use std::future::Future;

use aqueduct_core::Result;
use futures::lock::Mutex;

/// A value that is opened at its first use, by one caller while the others wait. The next caller
/// retries a failed opening.
pub(super) struct Lazy<T>(Mutex<Option<T>>);

impl<T: Clone> Lazy<T> {
    pub(super) fn new() -> Self {
        Self(Mutex::new(None))
    }

    pub(super) async fn get_or_open(&self, open: impl Future<Output = Result<T>>) -> Result<T> {
        let mut value = self.0.lock().await;
        if let Some(value) = &*value {
            return Ok(value.clone());
        }
        let opened = open.await?;
        *value = Some(opened.clone());
        Ok(opened)
    }

    pub(super) async fn opened(&self) -> Option<T> {
        self.0.lock().await.clone()
    }
}
