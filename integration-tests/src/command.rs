use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Returns the path of a command, if the machine has it.
pub(crate) fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let names = match cfg!(windows) {
        true => vec![format!("{name}.exe"), format!("{name}.cmd")],
        false => vec![name.to_owned()],
    };
    std::env::split_paths(&path)
        .flat_map(|folder| names.iter().map(move |name| folder.join(name)))
        .find(|candidate| candidate.is_file())
}

/// Returns the first unmet need: commands, some with a minimum major version such as `java:17`.
pub(crate) fn missing(needs: &[String]) -> Option<String> {
    needs.iter().find_map(|need| {
        let (name, least) = need.split_once(':').unwrap_or((need, ""));
        let Some(path) = find(name) else {
            return Some(format!("{name} is not installed on this machine"));
        };
        let least: u32 = least.parse().ok()?;
        let found = major(&path)?;
        (found < least).then(|| format!("{name} is version {found}, and {least} is needed"))
    })
}

/// Returns the first number that `--version` prints.
fn major(path: &Path) -> Option<u32> {
    let output = Command::new(path).arg("--version").output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let digits: String = text
        .chars()
        .skip_while(|c| !c.is_ascii_digit())
        .take_while(char::is_ascii_digit)
        .collect();
    digits.parse().ok()
}

/// Finds a Python: exactly this minor version if `exact`, else this or a later one.
pub(crate) fn python(version: &str, exact: bool) -> Option<PathBuf> {
    let (_, wanted) = version.split_once('.')?;
    let wanted: u32 = wanted.parse().ok()?;
    let minors = if exact { wanted..=wanted } else { wanted..=19 };
    let mut candidates: Vec<PathBuf> = minors
        .clone()
        .rev()
        .filter_map(|minor| find(&format!("python3.{minor}")))
        .collect();
    candidates.extend(find("python3"));
    // The versions that pyenv has installed.
    if let Some(home) = std::env::home_dir()
        && let Ok(versions) = std::fs::read_dir(home.join(".pyenv/versions"))
    {
        candidates.extend(versions.flatten().map(|it| it.path().join("bin/python3")));
    }
    candidates
        .into_iter()
        .find(|path| minor_of(path).is_some_and(|minor| minors.contains(&minor)))
}

fn minor_of(python: &Path) -> Option<u32> {
    let script = "import sys, venv, ensurepip; print(sys.version_info[1])";
    let output = Command::new(python)
        .args(["-c", script])
        .stderr(Stdio::null())
        .output()
        .ok()?;
    String::from_utf8_lossy(&output.stdout).trim().parse().ok()
}

/// Runs a command to its end. The error is its last line.
pub(crate) fn run(command: &mut Command, limit: Duration) -> Result<(), String> {
    output(command, limit).map(drop)
}

/// Like [`run`], and returns its output.
pub(crate) fn output(command: &mut Command, limit: Duration) -> Result<String, String> {
    let shown = format!("{command:?}");
    let said = tempfile::tempfile().map_err(|error| error.to_string())?;
    let clone = || said.try_clone().map_err(|error| error.to_string());
    let mut child = command
        .stdin(Stdio::null())
        .stdout(clone()?)
        .stderr(clone()?)
        .spawn()
        .map_err(|error| format!("{shown}: {error}"))?;
    let begun = Instant::now();
    let status = loop {
        match child.try_wait().map_err(|error| error.to_string())? {
            Some(status) => break status,
            None if begun.elapsed() > limit => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(format!("{shown}: it took longer than {limit:?}"));
            }
            None => std::thread::sleep(Duration::from_millis(50)),
        }
    };
    let text = read(said);
    if status.success() {
        return Ok(text);
    }
    let last = text
        .lines()
        .rev()
        .find(|line| line.to_lowercase().contains("error"))
        .or_else(|| text.lines().next_back())
        .unwrap_or("it said nothing");
    Err(format!("{shown}: {status}: {last}"))
}

fn read(mut file: std::fs::File) -> String {
    use std::io::{Read as _, Seek as _, SeekFrom};
    let mut bytes = Vec::new();
    let _ = file.seek(SeekFrom::Start(0));
    let _ = file.read_to_end(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_command_is_named() {
        assert_eq!(missing(&["cargo".into()]), None);
        let why = missing(&["cargo".into(), "no-such-tool".into()]).unwrap();
        assert!(why.contains("no-such-tool"), "{why}");
        let why = missing(&["cargo:900".into()]).unwrap();
        assert!(why.contains("900 is needed"), "{why}");
    }

    #[test]
    fn a_command_that_fails_says_its_last_error() {
        let limit = Duration::from_secs(60);
        let mut cargo = Command::new(env!("CARGO"));
        run(cargo.arg("--version"), limit).unwrap();
        let mut cargo = Command::new(env!("CARGO"));
        let why = run(cargo.arg("no-such-task"), limit).unwrap_err();
        assert!(why.contains("no-such-task"), "{why}");
    }
}
