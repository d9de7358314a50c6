use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::command::{find, python, run};
use crate::setup::Setup;

/// The longest installation: LocalStack has a hundred packages.
const LIMIT: Duration = Duration::from_secs(300);

/// Returns the folder of installed servers and their files: `integration` in the target folder.
pub(crate) fn cache() -> Result<PathBuf, String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    Ok(target(&program)?.join("integration"))
}

/// Returns the target folder that contains a program.
pub(crate) fn target(program: &Path) -> Result<&Path, String> {
    program
        .ancestors()
        .find(|folder| folder.join("CACHEDIR.TAG").is_file())
        .ok_or_else(|| format!("{} is not in a target folder", program.display()))
}

/// Installs the packages of a setup from npm or PyPI, once, and returns the folder. The error says why this
/// machine cannot.
pub(crate) fn install(setup: &Setup, cache: &Path) -> Result<PathBuf, String> {
    let what = format!(
        "{} {} {}",
        setup.npm.as_deref().unwrap_or_default(),
        setup.pip.as_deref().unwrap_or_default(),
        setup.pip_before.as_deref().unwrap_or_default()
    );
    let folder = cache.join(&setup.name);
    let say = |error: std::io::Error| format!("{}: {error}", folder.display());
    fs::create_dir_all(cache).map_err(say)?;
    // Concurrent runs install once.
    let lock = File::create(cache.join(format!("{}.lock", setup.name))).map_err(say)?;
    lock.lock().map_err(say)?;
    let marker = folder.join("installed");
    if fs::read_to_string(&marker).is_ok_and(|installed| installed == what) {
        return Ok(folder);
    }
    if folder.exists() {
        fs::remove_dir_all(&folder).map_err(say)?;
    }
    fs::create_dir_all(&folder).map_err(say)?;
    if let Some(package) = &setup.npm {
        npm(package, &folder)?;
    }
    if let Some(package) = &setup.pip {
        pip(setup, package, &folder)?;
    }
    fs::write(&marker, what).map_err(say)?;
    Ok(folder)
}

fn npm(package: &str, folder: &Path) -> Result<(), String> {
    let npm = find("npm").ok_or("npm is not installed on this machine")?;
    let mut command = Command::new(npm);
    command
        .args(["install", "--no-audit", "--no-fund", "--ignore-scripts"])
        .arg("--prefix")
        .arg(folder)
        .arg(package);
    run(&mut command, LIMIT)
}

fn pip(setup: &Setup, package: &str, folder: &Path) -> Result<(), String> {
    let version = setup.python.as_deref().unwrap_or("3.9");
    let dated = setup.pip_before.as_deref();
    // Packages pinned by date need the Python of that date.
    let python = python(version, dated.is_some())
        .ok_or_else(|| format!("Python {version} with venv is not installed on this machine"))?;
    run(Command::new(python).args(["-m", "venv"]).arg(folder), LIMIT)?;
    let bin = folder.join("bin");
    let pip = |words: &[&str]| {
        let mut command = Command::new(bin.join("python"));
        command
            .args(["-m", "pip", "install", "--quiet"])
            .arg("--disable-pip-version-check")
            .args(words);
        run(&mut command, LIMIT)
    };
    let Some(before) = dated else {
        return pip(&[package]);
    };
    // pip cannot pin by date.
    pip(&["uv"])?;
    let mut command = Command::new(bin.join("uv"));
    command
        .args(["pip", "install", "--quiet", "--exclude-newer", before])
        .arg("--python")
        .arg(bin.join("python"))
        .arg(package);
    run(&mut command, LIMIT)
}
