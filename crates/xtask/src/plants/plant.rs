use std::fs;
use std::path::Path;

/// A fault planted on purpose: pieces of source and what stands there instead.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Plant {
    /// Its path below `simulation/plants`, without the extension.
    pub(crate) name: String,
    /// Why the simulation cannot find it, where it cannot.
    pub(crate) survives: Option<String>,
    pub(crate) edits: Vec<Edit>,
}

/// A piece of a file that occurs once in it, and its replacement.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Edit {
    pub(crate) file: String,
    pub(crate) before: String,
    pub(crate) after: String,
}

/// Returns the plants below a folder, in order of their names.
pub(crate) fn all(folder: &Path) -> Result<Vec<Plant>, String> {
    let mut plants = Vec::new();
    collect(folder, folder, &mut plants)?;
    plants.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(plants)
}

fn collect(root: &Path, folder: &Path, plants: &mut Vec<Plant>) -> Result<(), String> {
    let shown = folder.display();
    let entries = fs::read_dir(folder).map_err(|e| format!("{shown}: {e}"))?;
    for entry in entries {
        let path = entry.map_err(|e| format!("{shown}: {e}"))?.path();
        if path.is_dir() {
            collect(root, &path, plants)?;
        } else if path.extension().is_some_and(|it| it == "plant") {
            let name = path.strip_prefix(root).unwrap_or(&path);
            let name = name.with_extension("").display().to_string();
            let text = fs::read_to_string(&path).map_err(|e| format!("{name}: {e}"))?;
            plants.push(parse(&name, &text)?);
        }
    }
    Ok(())
}

/// Reads a plant.
///
/// ```text
/// # the fault, in words
/// survives: why no check can see it      (only where that is so)
/// file: crates/aqueduct-group/src/member/write.rs
/// - let deadline = sent + timings.held();
/// + let deadline = now + timings.held();
/// ```
pub(crate) fn parse(name: &str, text: &str) -> Result<Plant, String> {
    let mut plant = Plant {
        name: name.to_owned(),
        survives: None,
        edits: Vec::new(),
    };
    let mut file = String::new();
    let mut open: Option<Edit> = None;
    for (at, line) in text.lines().enumerate() {
        let piece = |rest: &str| format!("{}\n", rest.strip_prefix(' ').unwrap_or(rest));
        if let Some(rest) = line.strip_prefix('-') {
            if open.as_ref().is_some_and(|edit| !edit.after.is_empty()) {
                plant.edits.extend(open.take());
            }
            let edit = open.get_or_insert_with(|| Edit {
                file: file.clone(),
                ..Edit::default()
            });
            edit.before.push_str(&piece(rest));
        } else if let Some(rest) = line.strip_prefix('+') {
            match &mut open {
                Some(edit) => edit.after.push_str(&piece(rest)),
                None => return Err(format!("{name}, line {}: `+` before any `-`", at + 1)),
            }
        } else if line.trim().is_empty() {
            plant.edits.extend(open.take());
        } else if let Some(path) = line.strip_prefix("file:") {
            plant.edits.extend(open.take());
            file = path.trim().to_owned();
        } else if let Some(why) = line.strip_prefix("survives:") {
            plant.survives = Some(why.trim().to_owned());
        } else if !line.starts_with('#') {
            return Err(format!(
                "{name}, line {}: `{line}` is not understood",
                at + 1
            ));
        }
    }
    plant.edits.extend(open);
    match plant.edits.iter().find(|edit| edit.file.is_empty()) {
        Some(_) => Err(format!("{name}: no `file:` before the first piece")),
        None if plant.edits.is_empty() => Err(format!("{name}: it changes nothing")),
        None => Ok(plant),
    }
}

impl Edit {
    /// Returns the text with the piece replaced; a piece that does not occur exactly once is an error.
    /// The piece may be indented further in the file than here.
    pub(crate) fn apply(&self, text: &str) -> Result<String, String> {
        let lines: Vec<&str> = text.lines().collect();
        let before: Vec<&str> = self.before.lines().collect();
        let trimmed = |lines: &[&str]| {
            lines
                .iter()
                .map(|it| it.trim().to_owned())
                .collect::<Vec<_>>()
        };
        let wanted = trimmed(&before);
        let found: Vec<usize> = (0..(lines.len() + 1).saturating_sub(before.len()))
            .filter(|at| trimmed(&lines[*at..*at + before.len()]) == wanted)
            .collect();
        let at = match found.as_slice() {
            [at] => *at,
            [] => {
                return Err(format!(
                    "{}: `{}` is not there",
                    self.file,
                    before.join(" ")
                ));
            }
            _ => {
                let times = found.len();
                return Err(format!(
                    "{}: `{}` is there {times} times",
                    self.file,
                    before.join(" ")
                ));
            }
        };
        let mut planted: Vec<&str> = lines[..at].to_vec();
        planted.extend(self.after.lines());
        planted.extend(&lines[at + before.len()..]);
        Ok(planted.join("\n") + "\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str =
        "# A fault.\nfile: a.rs\n- one();\n- two();\n+ two();\n+ one();\n\n- three();\n+ four();\n";

    #[test]
    fn a_plant_replaces_its_pieces() {
        let plant = parse("x", TEXT).expect("a plant");
        assert_eq!(plant.edits.len(), 2);
        let source = "fn all() {\n    one();\n    two();\n    three();\n}\n";
        let planted = plant
            .edits
            .iter()
            .try_fold(source.to_owned(), |text, edit| edit.apply(&text));
        let planted = planted.expect("it applies");
        assert_eq!(planted, "fn all() {\ntwo();\none();\nfour();\n}\n");
    }

    #[test]
    fn a_plant_that_does_not_apply_is_an_error() {
        let plant = parse("x", TEXT).expect("a plant");
        let said = plant.edits[0].apply("fn all() { one(); }\n");
        assert_eq!(said, Err("a.rs: `one(); two();` is not there".to_owned()));
        let said = plant.edits[1].apply("three();\nthree();\n");
        assert_eq!(said, Err("a.rs: `three();` is there 2 times".to_owned()));
    }

    #[test]
    fn a_plant_that_is_not_understood_is_an_error() {
        for (text, says) in [
            ("file: a.rs\n", "x: it changes nothing"),
            ("- a\n+ b\n", "x: no `file:` before the first piece"),
            ("file: a.rs\n+ b\n", "x, line 2: `+` before any `-`"),
            ("file: a.rs\nwhat\n", "x, line 2: `what` is not understood"),
        ] {
            assert_eq!(parse("x", text), Err(says.to_owned()));
        }
    }

    #[test]
    fn every_plant_applies() {
        let root = crate::command::root();
        let plants = all(&root.join("simulation/plants")).expect("plants");
        assert!(plants.len() >= 40, "{}", plants.len());
        for plant in plants {
            for edit in &plant.edits {
                let text = fs::read_to_string(root.join(&edit.file)).expect(&edit.file);
                if let Err(why) = edit.apply(&text) {
                    panic!("{} no longer applies: {why}", plant.name);
                }
            }
        }
    }
}
