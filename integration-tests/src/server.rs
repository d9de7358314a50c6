use std::collections::BTreeMap;
use std::fs::File;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use crate::services::Service;
use crate::setup::Setup;

/// The longest wait for a server to respond on a busy machine.
const START: Duration = Duration::from_secs(90);

/// Runs the following command until standard input ends: with the program that holds the other
/// end, even if that is killed. Then it terminates its process group, since a server may have
/// started others in groups of their own, and kills what remains after a while.
const KEEPER: &str = r#"
ended="$1"; shift
( trap : TERM; "$@" </dev/null; echo $? > "$ended" ) &
running=$!
read -r _
trap : TERM
kill -TERM 0
( trap : TERM; sleep 5; kill -KILL 0 ) &
wait $running; wait $running
kill -KILL 0
"#;

/// A running server. It ends when this value is dropped, or with this process.
pub(crate) struct Server {
    child: Child,
    port: u16,
    state: TempDir,
}

impl Server {
    /// Starts the server of a setup on free ports and waits until it responds.
    pub(crate) async fn start(setup: &Setup, installed: &Path) -> Result<Self, String> {
        let mut last = String::new();
        // Another process may have taken a port that was free.
        for _ in 0..2 {
            match Self::start_once(setup, installed).await {
                Ok(server) => return Ok(server),
                Err(why) => last = why,
            }
        }
        Err(last)
    }

    async fn start_once(setup: &Setup, installed: &Path) -> Result<Self, String> {
        let state = tempfile::tempdir().map_err(|error| error.to_string())?;
        let mut words = BTreeMap::from([
            ("INSTALLED".to_owned(), installed.display().to_string()),
            ("STATE".to_owned(), state.path().display().to_string()),
        ]);
        let ports = free_ports(setup.ports.len()).map_err(|error| error.to_string())?;
        let named = setup.ports.iter().zip(&ports);
        words.extend(named.map(|(name, port)| (name.clone(), port.to_string())));
        for (name, text) in &setup.shorthands {
            let text = fill(text, &words)?;
            words.insert(name.clone(), text);
        }
        let port = *ports.first().ok_or("PORTS: it names no port")?;

        let start = setup.start.iter().map(|word| fill(word, &words));
        let start = start.collect::<Result<Vec<_>, _>>()?;
        let log = state.path().join("log");
        let out = File::create(&log).map_err(|error| error.to_string())?;
        let err = out.try_clone().map_err(|error| error.to_string())?;
        let ended = state.path().join("ended");
        let mut command = Command::new("/bin/sh");
        command
            .args(["-c", KEEPER, "keeper"])
            .arg(&ended)
            .args(&start)
            .current_dir(state.path())
            .stdin(Stdio::piped())
            .stdout(out)
            .stderr(err);
        for (name, text) in &setup.environment {
            command.env(name, fill(text, &words)?);
        }
        #[cfg(unix)]
        command.process_group(0);
        let child = command
            .spawn()
            .map_err(|error| format!("{}: {error}", setup.name))?;
        let server = Self { child, port, state };

        let begun = Instant::now();
        loop {
            if answers(port, &setup.ready).await {
                return Ok(server);
            }
            let died = ended.exists();
            if died || begun.elapsed() > START {
                let what = if died {
                    "it ended"
                } else {
                    "it never responded"
                };
                let said = std::fs::read_to_string(&log).unwrap_or_default();
                let said: Vec<_> = said.lines().rev().take(3).collect();
                let said: Vec<_> = said.into_iter().rev().collect();
                server.stop().await;
                return Err(format!("{what}: {}: {}", start.join(" "), said.join(" / ")));
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Returns the location of a service.
    pub(crate) fn endpoints(&self, services: &[Service]) -> BTreeMap<Service, String> {
        let endpoint = format!("http://127.0.0.1:{}", self.port);
        let each = services.iter().map(|&service| (service, endpoint.clone()));
        each.collect()
    }

    /// Returns the last lines of its output.
    pub(crate) fn log(&self, lines: usize) -> String {
        let text = std::fs::read_to_string(self.state.path().join("log")).unwrap_or_default();
        let last: Vec<_> = text.lines().rev().take(lines).collect();
        last.into_iter().rev().collect::<Vec<_>>().join("\n")
    }

    /// Stops it and waits until it has ended.
    pub(crate) async fn stop(mut self) {
        drop(self.child.stdin.take());
        let patient = tokio::time::timeout(Duration::from_secs(10), self.child.wait());
        if patient.await.is_err() {
            self.kill();
            let _ = self.child.wait().await;
        }
    }

    /// Kills everything that it started.
    fn kill(&self) {
        #[cfg(unix)]
        if let Some(id) = self.child.id()
            && let Some(id) = rustix::process::Pid::from_raw(id.cast_signed())
        {
            let _ = rustix::process::kill_process_group(id, rustix::process::Signal::KILL);
        }
    }
}

/// Replaces `${NAME}` by its value.
fn fill(text: &str, words: &BTreeMap<String, String>) -> Result<String, String> {
    let mut filled = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        let (name, after) = after
            .split_once('}')
            .ok_or_else(|| format!("`{text}`: unterminated ${{"))?;
        let word = words
            .get(name)
            .ok_or_else(|| format!("`{text}`: unknown name {name}"))?;
        filled += before;
        filled += word;
        rest = after;
    }
    Ok(filled + rest)
}

/// Returns unused ports of the loopback interface.
fn free_ports(count: usize) -> std::io::Result<Vec<u16>> {
    let held: Vec<_> = (0..count)
        .map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))
        .collect::<Result<_, _>>()?;
    held.iter()
        .map(|listener| Ok(listener.local_addr()?.port()))
        .collect()
}

/// Returns whether a server responds to HTTP. Any status counts: services refuse unsigned requests.
async fn answers(port: u16, path: &str) -> bool {
    let asking = async {
        let mut connection = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n");
        connection.write_all(request.as_bytes()).await?;
        let mut answer = [0; 5];
        connection.read_exact(&mut answer).await?;
        Ok::<_, std::io::Error>(&answer == b"HTTP/")
    };
    let asked = tokio::time::timeout(Duration::from_secs(5), asking).await;
    matches!(asked, Ok(Ok(true)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_filled_and_unknown_ones_named() {
        let words = BTreeMap::from([("PORT".to_owned(), "80".to_owned())]);
        assert_eq!(fill("a:${PORT}/${PORT}", &words).unwrap(), "a:80/80");
        assert!(fill("${HOST}", &words).unwrap_err().contains("HOST"));
        assert!(fill("${PORT", &words).unwrap_err().contains("unterminated"));
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn a_server_that_ends_at_once_is_said_with_its_last_words() {
        let setup = Setup {
            name: "brief".into(),
            start: vec![
                "sh".into(),
                "-c".into(),
                "echo${IFS}farewell;exit${IFS}3".into(),
            ],
            ports: vec!["PORT".into()],
            shorthands: BTreeMap::from([("IFS".to_owned(), " ".to_owned())]),
            ..Setup::default()
        };
        let begun = Instant::now();
        let why = match Server::start(&setup, Path::new("/")).await {
            Ok(_) => panic!("it responded"),
            Err(why) => why,
        };
        assert!(
            why.contains("it ended") && why.contains("farewell"),
            "{why}"
        );
        assert!(begun.elapsed() < START, "{:?}", begun.elapsed());
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn what_a_server_started_ends_with_it() {
        let state = tempfile::tempdir().unwrap();
        let id = state.path().join("id");
        // No response is needed to see whether its children end.
        let mut child = Command::new("/bin/sh")
            .args(["-c", KEEPER, "keeper"])
            .arg(state.path().join("ended"))
            .args(["sh", "-c", "sleep 600 & echo $! > \"$0\"; wait"])
            .arg(&id)
            .stdin(Stdio::piped())
            .process_group(0)
            .spawn()
            .unwrap();
        let begun = Instant::now();
        let started = loop {
            match std::fs::read_to_string(&id) {
                Ok(id) if id.ends_with('\n') => break id.trim().parse::<i32>().unwrap(),
                _ => assert!(begun.elapsed() < START),
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        };
        let lives = || {
            let id = rustix::process::Pid::from_raw(started).unwrap();
            rustix::process::test_kill_process(id).is_ok()
        };
        assert!(lives());
        drop(child.stdin.take());
        child.wait().await.unwrap();
        while lives() {
            assert!(begun.elapsed() < START, "it lives on");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}
