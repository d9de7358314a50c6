//! The emulator as a program: its commands.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use aqueduct_emulators::EventHubsFault;
use fe2o3_amqp::types::messaging::Outcome;

use super::client::{Client, event, is_accepted, soon};

/// The program, until it is dropped.
struct Program {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Program {
    fn start(words: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_eventhubs"))
            .args(words)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        Self {
            input: child.stdin.take().unwrap(),
            output: BufReader::new(child.stdout.take().unwrap()),
            child,
        }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    fn command(&mut self, command: &str) -> String {
        writeln!(self.input, "{command}").unwrap();
        self.line()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

#[tokio::test]
async fn faults_come_on_command() {
    let mut program = Program::start(&["--hub", "orders:1"]);
    let connection = program.line();
    let endpoint = connection.split(';').next().unwrap();
    let endpoint = endpoint.replacen("Endpoint=sb://", "amqp://", 1);

    assert_eq!(program.command("inject orders busy"), "ok");
    assert_eq!(program.command("pending"), "1");
    let mut client = Client::connect(&endpoint, 64 << 10).await;
    let mut sender = client.sender("orders").await;
    let sent = soon("send", sender.send(event("a book", None))).await;
    assert!(matches!(sent, Ok(Outcome::Rejected(_))), "{sent:?}");
    assert_eq!(program.command("pending"), "0");
    let sent = soon("send", sender.send(event("a book", None))).await;
    assert!(is_accepted(&sent), "{sent:?}");
    assert_eq!(program.command("add-partitions orders 3"), "ok");
    let mut added = client.sender("orders/Partitions/2").await;
    let sent = soon("send", added.send(event("a book", None))).await;
    assert!(is_accepted(&sent), "{sent:?}");
    assert_eq!(program.command("cut"), "ok");
    soon("the cut", client.connection.on_close())
        .await
        .unwrap_err();
}

#[test]
fn a_command_that_is_wrong_says_what_was_expected() {
    let mut program = Program::start(&["--hub", "orders:1"]);
    program.line();
    for (command, expected) in [
        (
            "dance",
            "error: unknown command `dance` (expected inject ADDRESS FAULT",
        ),
        ("inject orders", "error: unknown fault `` (expected cut, "),
        (
            "inject orders reject amqp:not-found",
            "error: reject: expected `reject CONDITION TEXT`",
        ),
        ("inject orders busy now", "error: busy takes no value"),
        ("steal orders billing x", "error: invalid number `x`"),
        ("add-partitions missing 3", "error: unknown hub missing"),
    ] {
        let said = program.command(command);
        assert!(said.starts_with(expected), "{command}: {said}");
    }
    assert_eq!(program.command("pending"), "0");
}

#[test]
fn every_fault_has_a_text() {
    let text = |text: &str| text.parse::<EventHubsFault>().unwrap();
    assert_eq!(text("cut-mid-delivery"), EventHubsFault::CutMidDelivery);
    assert_eq!(
        text(" detach amqp:link:detach-forced the link moved"),
        EventHubsFault::Detach("amqp:link:detach-forced".into(), "the link moved".into())
    );
    assert_eq!(
        text("slow-settlement 250"),
        EventHubsFault::SlowSettlement(std::time::Duration::from_millis(250))
    );
    assert_eq!(
        text("redirect 127.0.0.1 5672"),
        EventHubsFault::Redirect("127.0.0.1".into(), 5672)
    );
}
