//! A process with too many open files is told so, not that a file may not be opened.

use std::fs::File;
use std::process::Command;

use aqueduct::{Client, Environment, ErrorKind};

/// The same test in a process of its own, whose limit is low.
#[test]
fn too_many_open_files_is_reported_as_what_it_is() {
    if std::env::var_os("AQUEDUCT_TEST_OPEN_FILES").is_some() {
        return at_the_limit();
    }
    let this = std::env::current_exe().unwrap();
    let script = "ulimit -n 64 && exec \"$0\" --exact open_files::too_many_open_files_is_reported_as_what_it_is";
    let child = Command::new("sh")
        .args(["-c", script])
        .arg(this)
        .env("AQUEDUCT_TEST_OPEN_FILES", "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&child.stderr);
    assert!(child.status.success(), "{said}");
}

fn at_the_limit() {
    let folder = tempfile::tempdir().unwrap();
    let tokio = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let mut failed = 0;
    // With ever more files left, each step of opening meets the limit once.
    for left in 0..30 {
        let toml = format!("[streams.a]\nurl = \"sqlite:{left}.db\"");
        let builder = Client::builder().toml(toml).folder(folder.path());
        let client = tokio
            .block_on(builder.environment(Environment::empty()).build())
            .unwrap();
        let mut held = Vec::new();
        while let Ok(file) = File::open("/dev/null") {
            held.push(file);
        }
        held.truncate(held.len().saturating_sub(left));
        let opened = tokio.block_on(client.producer("a"));
        drop(held);
        match opened {
            Ok(_) => tokio.block_on(client.close()).unwrap(),
            Err(error) => {
                failed += 1;
                assert_ne!(error.kind(), ErrorKind::Denied, "{left} left: {error}");
                let said = error.to_string().to_lowercase();
                assert!(said.contains("open files"), "{left} left: {error}");
            }
        }
    }
    assert!(failed > 0);
}
