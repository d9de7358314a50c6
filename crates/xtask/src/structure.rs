//! Checks the rules of ARCHITECTURE.md that files show.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::workspace::{Member, members, sources};

/// The longest `lib.rs`: it is a table of contents.
const LIB: usize = 60;

/// The members that a provider may depend on, besides its vendor's glue.
const BELOW_PROVIDERS: [&str; 2] = ["aqueduct-core", "aqueduct-queue"];

/// The glue of a vendor that several providers share.
const GLUE: [&str; 1] = ["aqueduct-aws"];

/// The test binary of a crate: each more is linked, and runs after the others.
const TESTS: &str = "it";

/// Test binaries that need a process of their own.
const OWN_PROCESS: [(&str, &str); 1] = [
    // A signal goes to the whole process.
    ("aqueduct", "signals"),
];

/// Fails if a rule is broken, and lists all places.
pub(crate) fn run() -> Result<(), String> {
    let members = members()?;
    let mut broken = Vec::new();
    for member in &members {
        let source = member.folder.join("src");
        if member.name.starts_with("aqueduct") {
            broken.extend(contents(&member.name, &source));
            broken.extend(binaries(member));
        }
        if is_provider(member) {
            broken.extend(files(&member.name, &source));
            broken.extend(arrows(member));
        }
        if member.name == "aqueduct-core" {
            broken.extend(arrows(member));
        }
    }
    broken.extend(shared_names(&members));
    match broken.is_empty() {
        true => Ok(()),
        false => Err(format!("structure:\n  {}", broken.join("\n  "))),
    }
}

/// Returns whether a member implements `Backend` for a service.
fn is_provider(member: &Member) -> bool {
    member.name.starts_with("aqueduct-")
        && implements(&member.folder.join("src"), "Backend").is_some()
}

/// Checks that `lib.rs` is a short table of contents: modules and names, not definitions.
fn contents(name: &str, source: &Path) -> Vec<String> {
    let text = fs::read_to_string(source.join("lib.rs")).unwrap_or_default();
    // The lists of names are indented: they do not count. `Readme` holds the examples of a README.
    let top: Vec<&str> = text
        .lines()
        .filter(|line| {
            !line.is_empty() && !line.starts_with([' ', '}']) && *line != "struct Readme;"
        })
        .collect();
    let listed = |line: &&&str| {
        let line = line.trim_start_matches("pub(crate) ");
        let line = line.trim_start_matches("pub ");
        ["mod ", "use ", "extern ", "#", "//"]
            .iter()
            .any(|start| line.starts_with(start))
    };
    let mut broken = Vec::new();
    if top.len() > LIB {
        broken.push(format!(
            "{name}: lib.rs has {} lines, more than {LIB}",
            top.len()
        ));
    }
    let defined = top.iter().filter(|line| !listed(line));
    broken.extend(defined.map(|line| format!("{name}: lib.rs is for modules and names: `{line}`")));
    broken
}

/// Checks that no two public types of the crates have one name: a reader of code that imports both
/// could not tell them apart.
fn shared_names(members: &[Member]) -> Vec<String> {
    let mut places: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for member in members.iter().filter(|it| it.name.starts_with("aqueduct")) {
        let source = member.folder.join("src");
        for path in sources(&source) {
            if path.extension().is_none_or(|it| it != "rs") {
                continue;
            }
            let text = fs::read_to_string(&path).unwrap_or_default();
            let below = path.strip_prefix(&source).unwrap_or(&path);
            for name in public_types(&text) {
                let place = format!("{}/src/{}", member.name, below.display());
                places.entry(name.to_owned()).or_default().push(place);
            }
        }
    }
    let shared = places.into_iter().filter(|(_, places)| places.len() > 1);
    shared
        .map(|(name, places)| format!("two public types are named `{name}`: {}", places.join(", ")))
        .collect()
}

/// Returns the names of the public types that a file defines at its top level.
fn public_types(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter_map(|line| {
        let rest = ["struct ", "enum ", "trait ", "type ", "union "]
            .iter()
            .find_map(|kind| line.strip_prefix("pub ")?.strip_prefix(kind))?;
        let end = rest.find(|it: char| !it.is_alphanumeric() && it != '_');
        Some(&rest[..end.unwrap_or(rest.len())])
    })
}

/// Checks that a crate has one test binary, `tests/it`, besides those that need their own process.
fn binaries(member: &Member) -> Vec<String> {
    let excepted = |test: &str| {
        let mut known = OWN_PROCESS.iter();
        known.any(|(name, binary)| *name == member.name && *binary == test)
    };
    let further = member
        .tests
        .iter()
        .filter(|it| *it != TESTS && !excepted(it));
    further
        .map(|test| {
            format!(
                "{}: test binary `{test}`: move it to tests/{TESTS} (tests that need their own process are listed in xtask/src/structure.rs)",
                member.name
            )
        })
        .collect()
}

/// Checks that each job of a provider is in the file of its name, and the files that all have.
fn files(name: &str, source: &Path) -> Vec<String> {
    let mut broken = Vec::new();
    for file in ["lib", "config", "backend", "error"] {
        if !exists(source, file) {
            broken.push(format!("{name}: src/{file}.rs is missing"));
        }
    }
    for (contract, file) in [
        ("Backend", "backend"),
        ("BatchProducer", "producer"),
        ("PartitionedLog", "source"),
        ("Queue", "source"),
    ] {
        if let Some(found) = implements(source, contract)
            && !found.starts_with(&format!("{file}/"))
            && found != format!("{file}.rs")
        {
            broken.push(format!(
                "{name}: `{contract}` is implemented in src/{found}, expected src/{file}.rs or src/{file}/"
            ));
        }
    }
    broken
}

fn exists(source: &Path, file: &str) -> bool {
    source.join(format!("{file}.rs")).exists() || source.join(file).join("mod.rs").exists()
}

/// Returns the file, below `source`, that implements a trait of the contract; `None` if there is
/// none. Tests are not looked at.
fn implements(source: &Path, contract: &str) -> Option<String> {
    let line = format!("impl {contract} for ");
    let found = sources(source).into_iter().find(|path| {
        let text = fs::read_to_string(path).unwrap_or_default();
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        let test = path.components().any(|it| it.as_os_str() == "tests");
        // Examples in comments begin with slashes.
        let found = code.lines().any(|code| code.starts_with(&line));
        !test && path.extension().is_some_and(|it| it == "rs") && found
    })?;
    let below = found.strip_prefix(source).unwrap_or(&found);
    Some(below.to_string_lossy().replace('\\', "/"))
}

/// Checks that a member depends only on what lies below it.
fn arrows(member: &Member) -> Vec<String> {
    let used = member.dependencies.iter().filter(|it| !it.dev);
    used.filter(|it| it.name.starts_with("aqueduct"))
        .filter(|it| {
            let name = it.name.as_str();
            member.name == "aqueduct-core"
                || !(BELOW_PROVIDERS.contains(&name) || GLUE.contains(&name))
        })
        .map(|it| format!("{} must not depend on {}", member.name, it.name))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(folder: &Path, path: &str, text: &str) {
        let path = folder.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[test]
    fn a_job_in_another_file_is_found() {
        let folder = tempfile::tempdir().unwrap();
        for file in ["lib.rs", "config/mod.rs", "error.rs"] {
            write(folder.path(), file, "");
        }
        write(folder.path(), "backend.rs", "impl Backend for Here {}");
        write(folder.path(), "send.rs", "impl BatchProducer for Sender {}");
        write(
            folder.path(),
            "source/log.rs",
            "impl PartitionedLog for Log {}",
        );
        let broken = files("aqueduct-x", folder.path());
        assert_eq!(broken.len(), 1, "{broken:?}");
        assert!(broken[0].contains("src/send.rs"), "{broken:?}");
    }

    #[test]
    fn a_missing_file_is_found() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), "lib.rs", "");
        let broken = files("aqueduct-x", folder.path());
        assert_eq!(broken.len(), 3, "{broken:?}");
    }

    #[test]
    fn a_long_table_of_contents_is_found() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), "lib.rs", &"mod a;\n".repeat(61));
        assert!(!contents("aqueduct-x", folder.path()).is_empty());
    }

    fn member(name: &str, folder: &Path, tests: &[&str]) -> Member {
        Member {
            name: name.into(),
            folder: folder.into(),
            publish: true,
            features: Vec::new(),
            dependencies: Vec::new(),
            tests: tests.iter().map(|it| it.to_string()).collect(),
        }
    }

    #[test]
    fn a_name_of_two_public_types_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let (one, other) = (folder.path().join("one"), folder.path().join("other"));
        write(
            &one,
            "src/lib.rs",
            "pub struct Producer<T>(T);\npub enum Kind {}\n",
        );
        write(
            &other,
            "src/send/mod.rs",
            "pub trait Producer: Send {}\nstruct Kind;\n",
        );
        let members = [
            member("aqueduct-one", &one, &[]),
            member("aqueduct-other", &other, &[]),
        ];
        let broken = shared_names(&members);
        assert_eq!(broken.len(), 1, "{broken:?}");
        for part in [
            "`Producer`",
            "aqueduct-one/src/lib.rs",
            "aqueduct-other/src/send/mod.rs",
        ] {
            assert!(broken[0].contains(part), "{broken:?}");
        }
    }

    #[test]
    fn a_second_test_binary_is_found() {
        let member = |tests: &[&str]| member("aqueduct", Path::new(""), tests);
        assert!(binaries(&member(&["it", "signals"])).is_empty());
        let broken = binaries(&member(&["it", "cases"]));
        assert_eq!(broken.len(), 1, "{broken:?}");
        assert!(broken[0].contains("`cases`"), "{broken:?}");
    }

    #[test]
    fn a_table_of_contents_defines_nothing() {
        let folder = tempfile::tempdir().unwrap();
        write(
            folder.path(),
            "lib.rs",
            "mod a;\n\npub use self::a::{\n    A, B,\n};\n",
        );
        assert!(contents("aqueduct-x", folder.path()).is_empty());
        write(folder.path(), "lib.rs", "mod a;\nfn here() {\n}\n");
        assert_eq!(contents("aqueduct-x", folder.path()).len(), 1);
    }
}
