use std::path::Path;
use std::process::Command;

/// Says in the child which test it runs.
const CHILD: &str = "AQUEDUCT_AWS_TEST";

/// Runs `body` in a process of its own, whose environment holds `variables` and nothing of this
/// machine's: no credentials, no profile, no region, no instance.
pub(crate) fn alone<F>(test: &str, variables: &[(&str, &str)], body: impl FnOnce() -> F)
where
    F: Future<Output = ()>,
{
    if std::env::var(CHILD).is_ok_and(|running| running == test) {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(body());
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let output = Command::new(std::env::current_exe().unwrap())
        .args([test, "--exact", "--nocapture", "--test-threads", "1"])
        .env_clear()
        .envs(kept())
        .env(CHILD, test)
        .env("HOME", home.path())
        .env("USERPROFILE", home.path())
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .envs(variables.iter().copied())
        .current_dir(home.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{test}: {said}"
    );
}

/// The variables that a process needs to start at all.
fn kept() -> impl Iterator<Item = (String, String)> {
    std::env::vars().filter(|(name, _)| {
        matches!(
            name.as_str(),
            "LD_LIBRARY_PATH" | "DYLD_LIBRARY_PATH" | "PATH" | "SystemRoot" | "TMPDIR" | "TEMP"
        )
    })
}

/// Writes `text` to the profile file `name`, such as `config`, of the process.
pub(crate) fn write_profile(name: &str, text: &str) {
    let folder = Path::new(&std::env::var("HOME").unwrap()).join(".aws");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join(name), text).unwrap();
}
