use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::Args;

use crate::command::{cargo_in, root};

/// The flags of `new-backend`.
#[derive(Args)]
pub(crate) struct Options {
    /// The name of the backend and its URL scheme: lower-case letters and digits, such as `nats`.
    name: String,
}

/// The files of a skeleton and their templates.
const FILES: [(&str, &str); 9] = [
    (
        "Cargo.toml",
        include_str!("../templates/backend/Cargo.toml.txt"),
    ),
    (
        "README.md",
        include_str!("../templates/backend/README.md.txt"),
    ),
    (
        "src/lib.rs",
        include_str!("../templates/backend/lib.rs.txt"),
    ),
    (
        "src/config.rs",
        include_str!("../templates/backend/config.rs.txt"),
    ),
    (
        "src/backend.rs",
        include_str!("../templates/backend/backend.rs.txt"),
    ),
    (
        "src/producer.rs",
        include_str!("../templates/backend/producer.rs.txt"),
    ),
    (
        "src/source.rs",
        include_str!("../templates/backend/source.rs.txt"),
    ),
    (
        "src/error.rs",
        include_str!("../templates/backend/error.rs.txt"),
    ),
    (
        "tests/it/main.rs",
        include_str!("../templates/backend/tests.rs.txt"),
    ),
];

/// Writes `crates/aqueduct-NAME`.
pub(crate) fn run(options: &Options) -> Result<(), String> {
    let made = write(&root().join("crates"), &options.name)?;
    format(&made)?;
    println!("wrote {}; next:", made.display());
    println!("  cargo test --package aqueduct-{}", options.name);
    println!("  CONTRIBUTING.md, \"Add a backend\", says what to write in which file");
    Ok(())
}

/// Generates a backend in a temporary workspace and runs its tests.
pub(crate) fn try_skeleton() -> Result<(), String> {
    let workspace = tempfile::tempdir().map_err(|e| format!("no temporary folder: {e}"))?;
    let root = root();
    let made = write(workspace.path(), "skeleton")?;
    let failed = |e: std::io::Error| format!("cannot prepare the skeleton's workspace: {e}");
    let manifest = fs::read_to_string(root.join("Cargo.toml")).map_err(failed)?;
    let members = "members = [\"crates/*\", \"examples/*\", \"integration-tests\"]";
    if !manifest.contains(members) {
        return Err(format!("Cargo.toml: expected the line `{members}`"));
    }
    let crates = root.join("crates");
    let crates = crates.display();
    let manifest = manifest
        .replace(members, "members = [\"aqueduct-skeleton\"]")
        .replace("path = \"crates/", &format!("path = \"{crates}/"));
    fs::write(workspace.path().join("Cargo.toml"), manifest).map_err(failed)?;
    // The versions of this repository, so that nothing else is downloaded.
    fs::copy(root.join("Cargo.lock"), workspace.path().join("Cargo.lock")).map_err(failed)?;
    let own = made.join("Cargo.toml");
    let text = fs::read_to_string(&own).map_err(failed)?;
    let text = text.replace("path = \"../", &format!("path = \"{crates}/"));
    fs::write(&own, text).map_err(failed)?;
    let mut test = cargo_in(
        workspace.path(),
        &["test", "--package", "aqueduct-skeleton"],
    );
    test.env("CARGO_TARGET_DIR", root.join("target/skeleton"));
    crate::command::finish(test)
}

/// Formats what was written: line breaks depend on the length of the name.
fn format(made: &Path) -> Result<(), String> {
    let mut format = Command::new("rustfmt");
    format.args(["--edition", "2024"]);
    format.arg(made.join("src/lib.rs"));
    format.arg(made.join("tests/it/main.rs"));
    crate::command::finish(format)
}

fn write(crates: &Path, name: &str) -> Result<PathBuf, String> {
    let valid = name.starts_with(|first: char| first.is_ascii_lowercase())
        && name
            .chars()
            .all(|it| it.is_ascii_lowercase() || it.is_ascii_digit());
    if !valid {
        return Err(format!(
            "invalid backend name `{name}`: expected lower-case letters and digits, such as `nats`"
        ));
    }
    let made = crates.join(format!("aqueduct-{name}"));
    if made.exists() {
        return Err(format!("{} exists already", made.display()));
    }
    let mut title = name.to_owned();
    title[..1].make_ascii_uppercase();
    for (path, template) in FILES {
        let text = template
            .replace("NAME", name)
            .replace("TYPE", &title)
            .replace("TITLE", &title);
        let path = made.join(path);
        let failed = |e: std::io::Error| format!("{}: {e}", path.display());
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(failed)?;
        }
        fs::write(&path, text).map_err(failed)?;
    }
    Ok(made)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_placeholder_is_filled() {
        let folder = tempfile::tempdir().unwrap();
        let made = write(folder.path(), "nats").unwrap();
        for (path, _) in FILES {
            let text = fs::read_to_string(made.join(path)).unwrap();
            for placeholder in ["NAME", "TYPE", "TITLE"] {
                assert!(!text.contains(placeholder), "{path}: {placeholder}");
            }
        }
    }

    #[test]
    fn names_that_are_no_scheme_and_existing_folders_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["", "9p", "Nats", "a-b", "../x"] {
            assert!(write(folder.path(), name).is_err(), "{name}");
        }
        write(folder.path(), "nats").unwrap();
        let again = write(folder.path(), "nats").unwrap_err();
        assert!(again.contains("exists already"), "{again}");
    }
}
