//! Builds what users choose and what is published.

use crate::command::{cargo, root};
use crate::workspace::members;

/// Checks every published member without default features, and with each feature alone: a feature
/// must not depend on another that it does not turn on.
pub(crate) fn features() -> Result<(), String> {
    for member in members()?.iter().filter(|it| it.publish) {
        if member.features.is_empty() {
            continue;
        }
        let bare = ["check", "--package", &member.name, "--no-default-features"];
        cargo(&bare)?;
        for feature in member.features.iter().filter(|it| *it != "default") {
            cargo(&[&bare[..], &["--features", feature]].concat())?;
        }
    }
    Ok(())
}

/// Packages every published member. The packages are not built again: their dependencies on each
/// other are not in a registry before the first release.
pub(crate) fn package() -> Result<(), String> {
    let members = members()?;
    let mut arguments = vec![
        "package",
        "--workspace",
        "--no-verify",
        "--allow-dirty",
        "--quiet",
    ];
    for member in members.iter().filter(|it| !it.publish) {
        arguments.extend(["--exclude", &member.name]);
    }
    println!("skipped: building the packages, which needs a release in the registry");
    cargo(&arguments)
}

/// Checks that the fuzz targets compile; running them needs cargo-fuzz and a nightly compiler.
pub(crate) fn fuzz() -> Result<(), String> {
    let manifest = root().join("fuzz/Cargo.toml");
    let target = root().join("target/fuzz");
    cargo(&[
        "check",
        "--manifest-path",
        &manifest.to_string_lossy(),
        "--target-dir",
        &target.to_string_lossy(),
    ])
}
