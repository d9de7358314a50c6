//! The members of the workspace, as `cargo metadata` lists them.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::command::output;

/// A member of the workspace.
pub(crate) struct Member {
    pub(crate) name: String,
    pub(crate) folder: PathBuf,
    pub(crate) publish: bool,
    pub(crate) features: Vec<String>,
    pub(crate) dependencies: Vec<Dependency>,
    /// The names of its test binaries, without the one of its library.
    pub(crate) tests: Vec<String>,
}

/// A dependency that a member names in its manifest.
pub(crate) struct Dependency {
    pub(crate) name: String,
    /// The identifier in source code.
    pub(crate) identifier: String,
    pub(crate) dev: bool,
}

/// Lists the members.
pub(crate) fn members() -> Result<Vec<Member>, String> {
    let text = output(&["metadata", "--format-version", "1", "--all-features"])?;
    let metadata: Value =
        serde_json::from_str(&text).map_err(|e| format!("cargo metadata: {e}"))?;
    let packages = metadata["packages"].as_array().into_iter().flatten();
    let packages: Vec<&Value> = packages.collect();
    Ok(packages
        .iter()
        .filter(|package| package["source"].is_null())
        .map(|package| member(package, &packages))
        .collect())
}

fn member(package: &Value, all: &[&Value]) -> Member {
    let manifest = Path::new(package["manifest_path"].as_str().unwrap_or_default());
    let features = package["features"].as_object();
    let dependencies = package["dependencies"].as_array().into_iter().flatten();
    Member {
        name: package["name"].as_str().unwrap_or_default().to_owned(),
        folder: manifest.parent().unwrap_or(manifest).to_path_buf(),
        publish: package["publish"].is_null(),
        features: features.map_or_else(Vec::new, |it| it.keys().cloned().collect()),
        dependencies: dependencies
            .map(|dependency| {
                let name = dependency["name"].as_str().unwrap_or_default();
                Dependency {
                    name: name.to_owned(),
                    identifier: match dependency["rename"].as_str() {
                        Some(rename) => rename.replace('-', "_"),
                        None => library(name, all),
                    },
                    dev: dependency["kind"] == "dev",
                }
            })
            .collect(),
        tests: tests(package),
    }
}

fn tests(package: &Value) -> Vec<String> {
    let targets = package["targets"].as_array().into_iter().flatten();
    targets
        .filter(|target| target["kind"][0] == "test")
        .filter_map(|target| target["name"].as_str().map(str::to_owned))
        .collect()
}

/// Returns the name of a package's library, which may differ from the package's: `md5` of `md-5`.
fn library(package: &str, all: &[&Value]) -> String {
    let targets = all
        .iter()
        .filter(|it| it["name"] == package)
        .flat_map(|it| it["targets"].as_array().into_iter().flatten());
    let is_library = |target: &&Value| {
        let kinds = target["kind"].as_array().into_iter().flatten();
        kinds.into_iter().any(|kind| {
            kind.as_str()
                .is_some_and(|kind| kind.ends_with("lib") || kind == "proc-macro")
        })
    };
    let mut libraries = targets.filter(is_library);
    match libraries.next().and_then(|target| target["name"].as_str()) {
        Some(name) => name.replace('-', "_"),
        None => package.replace('-', "_"),
    }
}

/// Returns the Rust files and pages below a folder, sorted.
pub(crate) fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_path_buf()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|it| it == "rs" || it == "md") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}
