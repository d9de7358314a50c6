use aqueduct_core::{Error, ErrorKind, Result};

/// The signals that end a process.
pub(super) struct Signals {
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
    /// `None` under `nohup`, which wants the process to outlive its terminal.
    #[cfg(unix)]
    hangup: Option<tokio::signal::unix::Signal>,
}

impl Signals {
    #[cfg(unix)]
    pub(super) fn new() -> Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            terminate: signal(SignalKind::terminate()).map_err(refused)?,
            interrupt: signal(SignalKind::interrupt()).map_err(refused)?,
            hangup: match ignores_hangup() {
                true => None,
                false => Some(signal(SignalKind::hangup()).map_err(refused)?),
            },
        })
    }

    #[cfg(not(unix))]
    pub(super) fn new() -> Result<Self> {
        Ok(Self {})
    }

    /// Waits for the next one.
    #[cfg(unix)]
    pub(super) async fn next(&mut self) {
        let hangup = async {
            match &mut self.hangup {
                Some(hangup) => hangup.recv().await,
                None => futures::future::pending().await,
            }
        };
        let (terminate, interrupt) = (self.terminate.recv(), self.interrupt.recv());
        futures::pin_mut!(terminate, interrupt, hangup);
        let asked = futures::future::select(terminate, interrupt);
        futures::future::select(asked, hangup).await;
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

/// Returns whether SIGHUP was ignored when the process started, as `nohup` does. Known on Linux only.
#[cfg(unix)]
fn ignores_hangup() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    // SIGHUP is signal 1, the lowest bit.
    ignored
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .is_some_and(|mask| mask & 1 == 1)
}

fn refused(error: std::io::Error) -> Error {
    Error::new(
        ErrorKind::Unavailable,
        "signal handlers cannot be installed",
    )
    .with_source(error)
}
