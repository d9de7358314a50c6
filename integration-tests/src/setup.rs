use std::collections::BTreeMap;
use std::path::Path;

use crate::services::Service;
use crate::suites::Suite;

/// The content of `setups/PROVIDER/NAME.env`: how to install and start servers, what to run on them,
/// and which cases they lack.
#[derive(Clone, Debug, Default)]
pub(crate) struct Setup {
    pub(crate) name: String,
    /// The title.
    pub(crate) title: String,
    /// The services of the server.
    pub(crate) services: Vec<Service>,
    pub(crate) suites: Vec<Suite>,
    /// Required commands, some with a minimum version: `java:17`.
    pub(crate) needs: Vec<String>,
    /// The environment variable that must be set for it to run.
    pub(crate) when: Option<String>,
    pub(crate) npm: Option<String>,
    pub(crate) pip: Option<String>,
    pub(crate) pip_before: Option<String>,
    /// The Python that `pip` needs; an exact minor version if `exact_python`.
    pub(crate) python: Option<String>,
    /// The words of the command, with `${NAME}` for values known at start.
    pub(crate) start: Vec<String>,
    /// Names of ports to choose.
    pub(crate) ports: Vec<String>,
    /// The path that responds once the server is ready.
    pub(crate) ready: String,
    /// The environment of the server.
    pub(crate) environment: BTreeMap<String, String>,
    /// Shorthands for use in `start`.
    pub(crate) shorthands: BTreeMap<String, String>,
    /// Other setups whose servers it uses, by service.
    pub(crate) from: BTreeMap<Service, String>,
    /// A script of the tests, for the suite `script`.
    pub(crate) script: Option<String>,
    /// The cases that it lacks by suite, with reasons.
    pub(crate) lacks: Vec<(Suite, String, String)>,
    pub(crate) time_factor: u32,
    pub(crate) backlog: Option<usize>,
    pub(crate) parallel: Option<usize>,
}

/// Every setup of this folder, in the order of their names.
pub(crate) fn read_all() -> Result<Vec<Setup>, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("setups");
    let mut setups = Vec::new();
    for provider in entries(&root)? {
        for file in entries(&provider)? {
            let name = file.file_stem().unwrap_or_default().to_string_lossy();
            let text = std::fs::read_to_string(&file)
                .map_err(|error| format!("{}: {error}", file.display()))?;
            let setup =
                Setup::parse(&name, &text).map_err(|why| format!("{}: {why}", file.display()))?;
            setups.push(setup);
        }
    }
    for setup in &setups {
        for used in setup.from.values() {
            if !setups.iter().any(|other| other.name == *used) {
                return Err(format!("{}: unknown setup `{used}`", setup.name));
            }
        }
    }
    Ok(setups)
}

fn entries(folder: &Path) -> Result<Vec<std::path::PathBuf>, String> {
    let read = || -> std::io::Result<Vec<_>> {
        let entries = std::fs::read_dir(folder)?;
        entries.map(|entry| Ok(entry?.path())).collect()
    };
    let mut paths = read().map_err(|error| format!("{}: {error}", folder.display()))?;
    paths.sort();
    Ok(paths)
}

impl Setup {
    fn parse(name: &str, text: &str) -> Result<Self, String> {
        let mut setup = Self {
            name: name.to_owned(),
            time_factor: 1,
            ready: "/".into(),
            ..Self::default()
        };
        for (at, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (key, value) = line
                .split_once('=')
                .ok_or_else(|| format!("line {}: expected KEY=VALUE", at + 1))?;
            setup
                .set(key.trim(), value.trim())
                .map_err(|why| format!("line {}: {key}: {why}", at + 1))?;
        }
        match setup.title.is_empty() || setup.suites.is_empty() {
            true => Err("it needs TITLE and SUITES".into()),
            false => Ok(setup),
        }
    }

    fn set(&mut self, key: &str, value: &str) -> Result<(), String> {
        let words = || value.split_whitespace().map(str::to_owned);
        let text = Some(value.to_owned());
        match key {
            "TITLE" => self.title = value.to_owned(),
            "SERVICES" => {
                self.services = words()
                    .map(|it| Service::named(&it))
                    .collect::<Result<_, _>>()?;
            }
            "SUITES" => {
                self.suites = words()
                    .map(|it| Suite::named(&it))
                    .collect::<Result<_, _>>()?;
            }
            "NEEDS" => self.needs = words().collect(),
            "WHEN" => self.when = text,
            "NPM" => self.npm = text,
            "PIP" => self.pip = text,
            "PIP_BEFORE" => self.pip_before = text,
            "PYTHON" => self.python = text,
            "START" => self.start = words().collect(),
            "PORTS" => self.ports = words().collect(),
            "READY" => self.ready = value.to_owned(),
            "SCRIPT" => self.script = text,
            "TIME_FACTOR" => self.time_factor = number(value)?,
            "BACKLOG" => self.backlog = Some(number(value)?),
            "PARALLEL" => self.parallel = Some(number(value)?),
            _ => return self.set_open(key, value),
        }
        Ok(())
    }

    /// Parses keys made of a prefix or suffix and a name.
    fn set_open(&mut self, key: &str, value: &str) -> Result<(), String> {
        let text = value.to_owned();
        if let Some(variable) = key.strip_prefix("ENV_") {
            self.environment.insert(variable.to_owned(), text);
        } else if let Some(name) = key.strip_prefix("SET_") {
            self.shorthands.insert(name.to_owned(), text);
        } else if let Some(service) = key.strip_suffix("_FROM") {
            let service = Service::named(&service.to_lowercase())?;
            self.from.insert(service, text);
        } else if let Some(lack) = key.strip_prefix("LACKS_") {
            let (suite, case) = lack
                .split_once('_')
                .ok_or("expected LACKS_SUITE_case=reason")?;
            let suite = Suite::named(&suite.to_lowercase())?;
            self.lacks.push((suite, case.to_owned(), text));
        } else {
            return Err("unknown key; see the README".into());
        }
        Ok(())
    }

    /// Returns the services that this setup uses but does not start.
    pub(crate) fn uses(&self) -> impl Iterator<Item = &String> {
        self.from.values()
    }
}

fn number<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    text.parse()
        .map_err(|_| format!("expected a number, found `{text}`"))
}

/// Formats the list of setups.
pub(crate) fn listing(setups: &[&Setup]) -> String {
    let line = |setup: &&Setup| {
        let suites: Vec<_> = setup.suites.iter().map(|suite| suite.name()).collect();
        let mut needs = setup.needs.clone();
        needs.extend(
            setup
                .python
                .iter()
                .map(|version| format!("python:{version}")),
        );
        needs.extend(setup.when.iter().map(|variable| format!("${variable}")));
        needs.extend(setup.uses().cloned());
        format!(
            "{:<16} {:<38} runs {:<26} needs {}\n",
            setup.name,
            setup.title,
            suites.join(", "),
            if needs.is_empty() {
                "nothing".into()
            } else {
                needs.join(", ")
            }
        )
    };
    setups.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_setup_of_the_folder_is_read_and_lacks_only_cases_that_exist() {
        let cases: BTreeSet<_> = aqueduct_conformance::cases()
            .map(|case| case.name)
            .collect();
        let setups = read_all().unwrap();
        assert!(setups.len() >= 6);
        for setup in &setups {
            for (suite, case, reason) in &setup.lacks {
                assert!(cases.contains(case.as_str()), "{}: {case}", setup.name);
                assert!(setup.suites.contains(suite), "{}: {case}", setup.name);
                assert!(reason.len() > 10, "{}: {case}: why?", setup.name);
            }
            let starts = !setup.start.is_empty();
            assert_eq!(starts, !setup.services.is_empty(), "{}", setup.name);
            assert_eq!(starts, !setup.ports.is_empty(), "{}", setup.name);
        }
        assert!(listing(&setups.iter().collect::<Vec<_>>()).contains("dynamodb-local"));
    }

    #[test]
    fn what_is_wrong_in_a_setup_is_named() {
        for (text, says) in [
            ("TITLE=a", "SUITES"),
            ("TITLE=a\nSUITES=chess", "line 2: SUITES"),
            (
                "TITLE=a\nSUITES=sqs\nCOLOUR=red",
                "line 3: COLOUR: unknown key",
            ),
            ("TITLE", "line 1"),
            ("TIME_FACTOR=long", "`long`"),
            ("TITLE=a\nSUITES=sqs\nLACKS_sqs=b", "LACKS_SUITE_case"),
            ("LACKS_CHESS_a_case=b", "chess"),
            ("SMTP_FROM=b", "smtp"),
        ] {
            let error = Setup::parse("a", text).unwrap_err();
            assert!(error.contains(says), "{text}: {error}");
        }
    }
}
