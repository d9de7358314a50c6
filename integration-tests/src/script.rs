use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::command::output;
use crate::install::cache;
use crate::outcome::Verdict;
use crate::setup::Setup;

/// The longest run of a script, including downloads and builds.
const LIMIT: Duration = Duration::from_secs(1_800);

/// Runs the script of a setup. It exits with 0 if everything that could run passed, and reports on lines with
/// `SKIPPED` the rest.
pub(crate) async fn run(setup: &Setup) -> Verdict {
    let Some(script) = setup.script.clone() else {
        return Verdict::Failed("SCRIPT: it names none".into());
    };
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(&script);
    let setup = setup.clone();
    let running = tokio::task::spawn_blocking(move || {
        let folder = cache()?.join(&setup.name);
        std::fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
        let folder = folder.display().to_string();
        let mut command = Command::new(path);
        for (name, text) in &setup.environment {
            command.env(name, text.replace("${INSTALLED}", &folder));
        }
        output(&mut command, LIMIT)
    });
    let said = match running.await {
        Ok(Ok(said)) => said,
        Ok(Err(why)) => return Verdict::Failed(why),
        Err(panic) => return Verdict::Failed(panic.to_string()),
    };
    for line in said.lines() {
        println!("   {line}");
    }
    let skipped: Vec<_> = said.lines().filter(|it| it.contains("SKIPPED")).collect();
    match skipped.as_slice() {
        [] => Verdict::Passed(script),
        skipped => Verdict::Skipped(skipped.join("; ")),
    }
}
