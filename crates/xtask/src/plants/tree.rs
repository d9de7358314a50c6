use std::fmt;
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::plant::Plant;
use crate::command::cargo_in;

/// A copy of the tree, with a target folder of its own.
pub(crate) struct Tree {
    folder: PathBuf,
}

/// The result of the seeds for a plant.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Found { seed: Option<u64>, why: String },
    Hung,
    Survived,
}

impl Tree {
    /// Copies what git knows of, and what is new and not ignored.
    pub(crate) fn copy(root: &Path) -> Result<Self, String> {
        let mut git = Command::new("git");
        git.current_dir(root);
        git.args([
            "ls-files",
            "--cached",
            "--others",
            "--exclude-standard",
            "-z",
        ]);
        let listed = git
            .output()
            .map_err(|e| format!("git does not start: {e}"))?;
        let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
        let folder = root.join("target/plants/tree");
        for name in listed.split('\0').filter(|name| !name.is_empty()) {
            let Ok(text) = fs::read(root.join(name)) else {
                continue;
            };
            write(&folder.join(name), &text)?;
        }
        Ok(Self { folder })
    }

    /// Fails if the plant does not apply to the tree as it is.
    pub(crate) fn applies(&self, plant: &Plant) -> Result<(), String> {
        self.planted(plant).map(drop)
    }

    /// Plants the fault, runs the tests that simulate it, and restores the tree.
    pub(crate) fn run(
        &self,
        plant: &Plant,
        seeds: u64,
        limit: Duration,
    ) -> Result<Outcome, String> {
        let mut originals = Vec::new();
        for (path, text) in self.planted(plant)? {
            originals.push((path.clone(), fs::read(&path).map_err(|e| said(&path, e))?));
            write(&path, text.as_bytes())?;
        }
        let outcome = self.judge(plant, seeds, limit);
        for (path, text) in originals {
            write(&path, &text)?;
        }
        outcome
    }

    /// Returns the files that the plant changes.
    fn planted(&self, plant: &Plant) -> Result<Vec<(PathBuf, String)>, String> {
        let mut files: Vec<(PathBuf, String)> = Vec::new();
        for edit in &plant.edits {
            let path = self.folder.join(&edit.file);
            let at = match files.iter().position(|it| it.0 == path) {
                Some(at) => at,
                None => {
                    let text = fs::read_to_string(&path).map_err(|e| said(&path, e))?;
                    files.push((path, text));
                    files.len() - 1
                }
            };
            let planted = edit.apply(&files[at].1);
            files[at].1 =
                planted.map_err(|why| format!("{} no longer applies: {why}", plant.name))?;
        }
        Ok(files)
    }

    fn judge(&self, plant: &Plant, seeds: u64, limit: Duration) -> Result<Outcome, String> {
        let arguments = simulations(&plant.name)?;
        let mut build = self.cargo(arguments);
        build.arg("--no-run");
        let built = build
            .output()
            .map_err(|e| format!("cargo does not start: {e}"))?;
        if !built.status.success() {
            let errors = String::from_utf8_lossy(&built.stderr).into_owned();
            return Err(format!("{} does not compile:\n{errors}", plant.name));
        }
        let mut test = self.cargo(arguments);
        test.args(["--", "--nocapture"]);
        test.env("AQUEDUCT_SEEDS", seeds.to_string());
        test.env("AQUEDUCT_STOP", "1");
        test.stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = test
            .spawn()
            .map_err(|e| format!("cargo does not start: {e}"))?;
        let pipe = child.stdout.take();
        let reader = std::thread::spawn(move || {
            let mut output = String::new();
            pipe.map(|mut pipe| pipe.read_to_string(&mut output));
            output
        });
        let begun = Instant::now();
        let status = loop {
            match child
                .try_wait()
                .map_err(|e| format!("{}: {e}", plant.name))?
            {
                Some(status) => break Some(status),
                None if begun.elapsed() > limit => {
                    child.kill().ok();
                    child.wait().ok();
                    break None;
                }
                None => std::thread::sleep(Duration::from_millis(50)),
            }
        };
        let Some(status) = status else {
            return Ok(Outcome::Hung);
        };
        if status.success() {
            return Ok(Outcome::Survived);
        }
        let output = reader.join().unwrap_or_default();
        let summary = output
            .lines()
            .find(|line| line.starts_with(r#"{"simulation""#));
        let summary: Value = summary.map_or(Value::Null, |it| {
            serde_json::from_str(it).unwrap_or_default()
        });
        let failed = output
            .lines()
            .find(|line| line.starts_with("test ") && line.ends_with("FAILED"));
        let why = summary["why"].as_str().filter(|why| !why.is_empty());
        Ok(Outcome::Found {
            seed: summary["first_failed"].as_u64(),
            why: why.or(failed).unwrap_or("the tests fail").to_owned(),
        })
    }

    fn cargo(&self, arguments: &[&str]) -> Command {
        let mut command = cargo_in(&self.folder, &["test", "--quiet"]);
        command.args(arguments);
        command.env("CARGO_TARGET_DIR", self.folder.with_file_name("target"));
        command
            .env("CARGO_INCREMENTAL", "1")
            .env("CARGO_PROFILE_DEV_DEBUG", "0");
        command
    }
}

/// Returns the arguments of `cargo test` for the simulation of a plant: by the first part of its name.
fn simulations(name: &str) -> Result<&'static [&'static str], String> {
    Ok(match name.split('/').next().unwrap_or_default() {
        "group" => &["--package", "aqueduct-group", "--lib", "simulation::"],
        "producer" => &["--package", "aqueduct-producer", "--test", "it", "seeds::"],
        "worker" | "layers" => &[
            "--package",
            "aqueduct-simulation",
            "--test",
            "it",
            "the_whole",
        ],
        other => return Err(format!("{name}: `{other}` is simulated by nothing")),
    })
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Found {
                seed: Some(seed),
                why,
            } => write!(f, "found, seed {seed}: {why}"),
            Self::Found { seed: None, why } => write!(f, "found: {why}"),
            Self::Hung => f.write_str("found: it hangs"),
            Self::Survived => f.write_str("SURVIVES"),
        }
    }
}

/// Writes a file if it differs, so that its time does not make cargo build it again.
fn write(path: &Path, text: &[u8]) -> Result<(), String> {
    if fs::read(path).is_ok_and(|old| old == text) {
        return Ok(());
    }
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(|e| said(folder, e))?;
    }
    fs::write(path, text).map_err(|e| said(path, e))
}

fn said(path: &Path, error: std::io::Error) -> String {
    format!("{}: {error}", path.display())
}
