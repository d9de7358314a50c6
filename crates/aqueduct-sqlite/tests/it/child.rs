//! Other processes: this test executable again, whose role an environment variable sets.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use aqueduct_core::{Checkpoint, GroupKey, Lease, OwnerId};
use aqueduct_sqlite::SqliteBackend;

use crate::support::*;

const ROLE: &str = "AQUEDUCT_SQLITE_CHILD";
const FILE: &str = "AQUEDUCT_SQLITE_FILE";
const NAME: &str = "AQUEDUCT_SQLITE_NAME";

/// A child process; killed when it is dropped.
pub(crate) struct Process {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Process {
    pub(crate) fn start(role: &str, file: &Path, name: &str) -> Self {
        Self::with(role, file, name, |_| {})
    }

    pub(crate) fn with(
        role: &str,
        file: &Path,
        name: &str,
        adapt: impl FnOnce(&mut Command),
    ) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(["child::role", "--exact", "--nocapture", "--test-threads=1"])
            .env(ROLE, role)
            .env(FILE, file)
            .env(NAME, name)
            .stdout(Stdio::piped());
        adapt(&mut command);
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Self { child, lines }
    }

    /// Returns the child's next message; `None` once it has ended.
    pub(crate) fn said(&mut self) -> Option<String> {
        let mut line = String::new();
        while self.lines.read_line(&mut line).unwrap() > 0 {
            if let Some(said) = line.trim_end().strip_prefix("@ ") {
                return Some(said.to_owned());
            }
            line.clear();
        }
        None
    }

    /// Stops it as ctrl-Z does, and waits until it stands still.
    #[cfg(unix)]
    pub(crate) fn stop(&self) {
        use rustix::process::{Signal, WaitOptions, kill_process, waitpid};
        kill_process(self.pid(), Signal::STOP).unwrap();
        let stopped = waitpid(Some(self.pid()), WaitOptions::UNTRACED).unwrap();
        assert!(stopped.is_some_and(|(_, status)| status.stopped()));
    }

    /// Lets it go on after [`stop`](Self::stop).
    #[cfg(unix)]
    pub(crate) fn resume(&self) {
        rustix::process::kill_process(self.pid(), rustix::process::Signal::CONT).unwrap();
    }

    #[cfg(unix)]
    fn pid(&self) -> rustix::process::Pid {
        rustix::process::Pid::from_child(&self.child)
    }

    /// Sends SIGKILL.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn say(what: impl std::fmt::Display) {
    let mut out = std::io::stdout().lock();
    // The write fails if the parent has ended: then this process ends too.
    if writeln!(out, "\n@ {what}")
        .and_then(|()| out.flush())
        .is_err()
    {
        std::process::exit(0);
    }
}

/// Runs the role of a child process; not a test.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn role() {
    let Ok(role) = std::env::var(ROLE) else {
        return;
    };
    let file = std::env::var_os(FILE).unwrap();
    let file = Path::new(&file);
    let name = std::env::var(NAME).unwrap();
    match role.as_str() {
        "produce" => produce(file, &name).await,
        "contend" => contend(file, &name).await,
        "hold" => hold(file, &name).await,
        "open" => open(file).await,
        "idle" => idle(file).await,
        "stay" => stay(file).await,
        "write_slowly" => write_slowly(file).await,
        other => panic!("no such role: {other}"),
    }
}

/// Sends until it is killed, and reports what was acknowledged.
async fn produce(file: &Path, name: &str) {
    let runtime = aqueduct_runtime::tokio();
    let orders = resource(&SqliteBackend::new(), file, "orders", &[]).unwrap();
    let producer = orders.producer(&runtime).await.unwrap();
    for n in 0u64.. {
        let batch: Vec<_> = (0..10).map(|k| event(&format!("{name}-{k}"), n)).collect();
        send(&*producer, &batch).await;
        say(n);
    }
}

/// Sends as fast as it can between two signals of the parent, and reports how many were stored.
async fn contend(file: &Path, name: &str) {
    let runtime = aqueduct_runtime::tokio();
    let orders = resource(&SqliteBackend::new(), file, "orders", &[]).unwrap();
    let producer = orders.producer(&runtime).await.unwrap();
    say("ready");
    let go = file.with_extension("go");
    until("the start", || async { go.exists() }).await;
    let mut stored = 0;
    while go.exists() {
        send(&*producer, &[event(name, stored)]).await;
        stored += 1;
    }
    say(stored);
}

/// Takes a lease, reports it, and keeps it until it is killed.
async fn hold(file: &Path, name: &str) {
    let runtime = aqueduct_runtime::tokio();
    let orders = resource(&SqliteBackend::new(), file, "orders", &[]).unwrap();
    let leases = orders.leases(&runtime).await.unwrap();
    leases.join(&OwnerId::new(name)).await.unwrap();
    let mut lease = Lease::new("0".into(), Checkpoint::End);
    lease.owner = Some(name.into());
    leases
        .create(&GroupKey::new("billing", "orders"), lease)
        .await
        .unwrap();
    say("held");
    std::future::pending::<()>().await;
}

/// Stays in a transaction until it is killed.
async fn stay(file: &Path) {
    let runtime = aqueduct_runtime::tokio();
    let store = SqliteBackend::new()
        .store(file, Default::default(), &runtime)
        .await
        .unwrap();
    let stayed = store.transaction(|_| {
        say(std::process::id());
        std::thread::sleep(Duration::from_secs(600));
        Ok(())
    });
    stayed.await.unwrap();
}

/// Stays in a transaction until the parent lets it end.
async fn write_slowly(file: &Path) {
    let runtime = aqueduct_runtime::tokio();
    let store = SqliteBackend::new()
        .store(file, Default::default(), &runtime)
        .await
        .unwrap();
    let go = file.with_extension("go");
    let written = store.transaction(move |_| {
        say(std::process::id());
        while go.exists() {
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    });
    written.await.unwrap();
    say("written");
}

/// Opens the file for sending, and reports the result.
async fn open(file: &Path) {
    let runtime = aqueduct_runtime::tokio();
    let orders = resource(&SqliteBackend::new(), file, "orders", &[]).unwrap();
    match orders.producer(&runtime).await {
        Ok(_) => say("opened"),
        Err(error) => say(format_args!("{} {error}", error.kind())),
    }
}

/// Waits for events that never come, and reports the microseconds of CPU time and of elapsed time.
async fn idle(file: &Path) {
    let runtime = aqueduct_runtime::tokio();
    let orders = resource(&SqliteBackend::new(), file, "orders", &[]).unwrap();
    let log = log_of(&*orders, &runtime).await.unwrap();
    for partition in log.partitions().await.unwrap() {
        let mut wanted = request(&partition.id, aqueduct_core::ReadFrom::Earliest);
        wanted.max_wait = Duration::from_secs(1);
        let mut reader = log.open(&wanted).await.unwrap();
        tokio::spawn(async move {
            loop {
                reader.read(100).await.unwrap();
            }
        });
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    let (begun, before) = (Instant::now(), cpu_time());
    tokio::time::sleep(Duration::from_secs(3)).await;
    let (used, went_by) = (cpu_time() - before, begun.elapsed());
    say(format_args!("{} {}", used.as_micros(), went_by.as_micros()));
}

/// Returns the CPU time of all threads of this process.
fn cpu_time() -> Duration {
    let used = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(used.tv_sec as u64, used.tv_nsec as u32)
}
