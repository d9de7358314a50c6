use aqueduct_core::{Error, ErrorKind, Result};

/// The signals that end a process.
pub(super) struct Signals {
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
}

impl Signals {
    #[cfg(unix)]
    pub(super) fn new() -> Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            terminate: signal(SignalKind::terminate()).map_err(refused)?,
            interrupt: signal(SignalKind::interrupt()).map_err(refused)?,
        })
    }

    #[cfg(not(unix))]
    pub(super) fn new() -> Result<Self> {
        Ok(Self {})
    }

    /// Waits for the next one.
    #[cfg(unix)]
    pub(super) async fn next(&mut self) {
        let (terminate, interrupt) = (self.terminate.recv(), self.interrupt.recv());
        futures::pin_mut!(terminate, interrupt);
        futures::future::select(terminate, interrupt).await;
    }

    /// Waits for the next one.
    #[cfg(not(unix))]
    pub(super) async fn next(&mut self) {
        if let Err(error) = tokio::signal::ctrl_c().await {
            let error = refused(error);
            tracing::error!(%error, "ctrl-c cannot be received");
            futures::future::pending::<()>().await;
        }
    }
}

fn refused(error: std::io::Error) -> Error {
    Error::new(
        ErrorKind::Unavailable,
        "signal handlers cannot be installed",
    )
    .with_source(error)
}
