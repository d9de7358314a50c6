use std::fs::{self, File};
use std::io::BufReader;
use std::path::PathBuf;

use aqueduct_history::{check, read};
use clap::Args;

use crate::command::root;

/// The flags of `check-history`.
#[derive(Args)]
pub(crate) struct Options {
    /// Histories, as simulations and kill tests write them.
    #[arg(required = true)]
    files: Vec<PathBuf>,
}

/// Judges histories, and fails if one breaks a rule or cannot be judged.
pub(crate) fn run(options: &Options) -> Result<(), String> {
    let mut failed = Vec::new();
    for path in &options.files {
        let name = path.display();
        let file = File::open(path).map_err(|e| format!("{name}: {e}"))?;
        match read(BufReader::new(file)) {
            Ok(records) => {
                let verdict = check(&records);
                println!("{name}: {verdict}");
                if !verdict.is_ok() {
                    failed.push(format!("{name}: {} findings", verdict.findings.len()));
                }
            }
            Err(why) => failed.push(format!("{name}: {why}")),
        }
    }
    match failed.is_empty() {
        true => Ok(()),
        false => Err(failed.join("\n")),
    }
}

/// Judges what the tests left in the target folder, so that the verdicts stand in the output of CI.
pub(crate) fn written_by_tests() -> Result<(), String> {
    let folder = root().join("target/tmp");
    let mut files: Vec<PathBuf> = fs::read_dir(&folder)
        .map_err(|e| format!("{}: {e}", folder.display()))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.to_string_lossy().ends_with(".history.jsonl"))
        .collect();
    files.sort();
    match files.is_empty() {
        true => Err("no history in target/tmp: run the tests first".into()),
        false => run(&Options { files }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_history_is_refused_and_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("cut.jsonl");
        let begin = r#"{"time":0,"process":"run","op":"run","phase":"invoke","format":1}"#;
        fs::write(&file, begin).expect("written");
        let options = Options {
            files: vec![file.clone()],
        };
        let said = run(&options).expect_err("it is cut");
        assert!(
            said.contains("cut.jsonl: the history is cut after line 1"),
            "{said}"
        );
        let end = r#"{"time":1,"process":"run","op":"run","phase":"ok"}"#;
        fs::write(&file, format!("{begin}\n{end}\n")).expect("written");
        assert_eq!(run(&options), Ok(()));
    }
}
