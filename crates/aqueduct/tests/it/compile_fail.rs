//! Compiler errors for wrong handlers name the fault and the valid choices.
//!
//! Each case is compiled against the library that this test was linked with, and must fail with
//! every phrase that its `//~` lines tell. A tool that checks the cases as a crate of their own
//! compiles all dependencies anew, SQLite included: minutes instead of a second.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

#[test]
fn wrong_handlers_are_explained() {
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/compile_fail");
    let mut count = 0;
    for case in std::fs::read_dir(cases).unwrap() {
        let path = case.unwrap().path();
        let source = std::fs::read_to_string(&path).unwrap();
        let expected: Vec<_> = source
            .lines()
            .filter_map(|line| line.strip_prefix("//~ "))
            .collect();
        assert!(!expected.is_empty(), "{}: no `//~` lines", path.display());
        let said = refusal(&path);
        for phrase in expected {
            assert!(
                said.contains(phrase),
                "{}: `{phrase}` is not in:\n{said}",
                path.display()
            );
        }
        count += 1;
    }
    assert_eq!(count, 3);
}

/// Returns the compiler's messages for `case`. Libraries of other features may lie beside the one
/// of this test; one that does not fit is recognised by its error codes, and the next one is used.
fn refusal(case: &Path) -> String {
    let mut last = String::new();
    for library in libraries() {
        let out = tempfile::tempdir().unwrap();
        let compiled = Command::new("rustc")
            .args([
                "--edition",
                "2024",
                "--crate-type",
                "bin",
                "--emit",
                "metadata",
            ])
            .arg("--out-dir")
            .arg(out.path())
            .arg("--extern")
            .arg(format!("aqueduct={}", library.display()))
            .arg("-L")
            .arg(format!(
                "dependency={}",
                library.parent().unwrap().display()
            ))
            .arg(case)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&compiled.stderr).into_owned();
        assert!(!compiled.status.success(), "{} compiles", case.display());
        let unfit = [
            "E0460", "E0462", "E0463", "E0464", "E0514", "E0432", "E0433",
        ];
        if !unfit.iter().any(|code| said.contains(code)) {
            return said;
        }
        last = said;
    }
    panic!("no library fits; the last one: {last}");
}

/// The compiled libraries beside this test, the newest first.
fn libraries() -> Vec<PathBuf> {
    let test = std::env::current_exe().unwrap();
    let folder = test.parent().unwrap();
    let mut found: Vec<(SystemTime, PathBuf)> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
            name.starts_with("libaqueduct-") && name.ends_with(".rlib")
        })
        .map(|path| (path.metadata().unwrap().modified().unwrap(), path))
        .collect();
    found.sort();
    found.into_iter().rev().map(|(_, path)| path).collect()
}
