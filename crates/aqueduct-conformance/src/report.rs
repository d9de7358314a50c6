use std::fmt;

use serde::{Deserialize, Serialize};

/// The report of one run of the suite.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Report {
    /// The name of the fixture.
    pub subject: String,
    /// The name of the layer set.
    pub through: String,
    /// One row for each case.
    pub cases: Vec<CaseReport>,
}

/// The result of one case.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct CaseReport {
    /// The name of the case.
    pub case: String,
    /// The numbers of the rules that it tests.
    pub rules: Vec<u8>,
    /// The verdict.
    #[serde(flatten)]
    pub verdict: Verdict,
    /// How long it ran.
    pub seconds: f64,
}

/// The outcome of a case.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum Verdict {
    /// The promise holds.
    Passed,
    /// The backend does not claim it.
    NotClaimed {
        /// The missing capability, and why it is not claimed.
        reason: String,
    },
    /// The case cannot run in this environment.
    Lacking {
        /// The reason: the part of the environment that is missing.
        reason: String,
    },
    /// The promise does not hold.
    Failed {
        /// The observation, or the step at which the deadline passed.
        why: String,
    },
}

impl Report {
    pub(crate) fn new(subject: String, through: String, cases: Vec<CaseReport>) -> Self {
        Self {
            subject,
            through,
            cases,
        }
    }

    /// Returns the verdict of a case; `None` if it is not in the report.
    pub fn verdict(&self, case: &str) -> Option<&Verdict> {
        let line = self.cases.iter().find(|line| line.case == case)?;
        Some(&line.verdict)
    }

    /// Returns the cases that failed.
    pub fn failed(&self) -> impl Iterator<Item = &CaseReport> {
        self.cases
            .iter()
            .filter(|line| matches!(line.verdict, Verdict::Failed { .. }))
    }

    /// Returns the number of cases that passed.
    pub fn passed(&self) -> usize {
        let passed = |line: &&CaseReport| line.verdict == Verdict::Passed;
        self.cases.iter().filter(passed).count()
    }

    /// Panics with the failures, for use at the end of a test. A run in which nothing passed
    /// shows nothing, so it counts as a failure.
    ///
    /// # Panics
    /// If a case failed, or none passed.
    pub fn assert_passed(&self) {
        let failures: Vec<String> = self.failed().map(ToString::to_string).collect();
        assert!(
            failures.is_empty() && self.passed() > 0,
            "{} through {}: {} passed, {} failed\n{}",
            self.subject,
            self.through,
            self.passed(),
            failures.len(),
            failures.join("\n")
        );
    }
}

impl CaseReport {
    pub(crate) fn new(case: &str, rules: &[u8], verdict: Verdict, seconds: f64) -> Self {
        Self {
            case: case.to_owned(),
            rules: rules.to_vec(),
            verdict,
            seconds,
        }
    }
}

impl Verdict {
    fn words(&self) -> (&'static str, &str) {
        match self {
            Self::Passed => ("passed", ""),
            Self::NotClaimed { reason } => ("not claimed", reason),
            Self::Lacking { reason } => ("lacking", reason),
            Self::Failed { why } => ("FAILED", why),
        }
    }
}

impl fmt::Display for CaseReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rules: Vec<String> = self.rules.iter().map(ToString::to_string).collect();
        let (verdict, said) = self.verdict.words();
        let line = format!(
            "{:<44} {:<8} {verdict:<12} {:>6.2}s  {said}",
            self.case,
            rules.join(","),
            self.seconds
        );
        f.write_str(line.trim_end())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} through {}", self.subject, self.through)?;
        writeln!(
            f,
            "{:<44} {:<8} {:<12} {:>7}",
            "case", "rules", "verdict", "time"
        )?;
        for line in &self.cases {
            writeln!(f, "{line}")?;
        }
        let count = |verdict: &str| {
            let of = |line: &&CaseReport| line.verdict.words().0 == verdict;
            self.cases.iter().filter(of).count()
        };
        writeln!(
            f,
            "{} passed, {} not claimed, {} lacking, {} failed",
            count("passed"),
            count("not claimed"),
            count("lacking"),
            count("FAILED")
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(verdicts: &[Verdict]) -> Report {
        let line = |verdict: &Verdict| CaseReport::new("a_case", &[2, 11], verdict.clone(), 0.25);
        Report::new(
            "memory".into(),
            "plain".into(),
            verdicts.iter().map(line).collect(),
        )
    }

    #[test]
    fn it_is_data_and_a_table() {
        let why = "event 7 is lost".to_owned();
        let report = report(&[Verdict::Passed, Verdict::Failed { why }]);
        let json = serde_json::to_string(&report).unwrap();
        assert_eq!(serde_json::from_str::<Report>(&json).unwrap(), report);
        let table = report.to_string();
        assert!(
            table.contains("FAILED") && table.contains("event 7 is lost"),
            "{table}"
        );
        assert!(
            table.contains("1 passed, 0 not claimed, 0 lacking, 1 failed"),
            "{table}"
        );
    }

    #[test]
    #[should_panic(expected = "event 7 is lost")]
    fn a_failure_fails_the_test() {
        let why = "event 7 is lost".to_owned();
        report(&[Verdict::Passed, Verdict::Failed { why }]).assert_passed();
    }

    #[test]
    #[should_panic(expected = "0 passed")]
    fn a_run_that_shows_nothing_fails_the_test() {
        let reason = "no".to_owned();
        report(&[Verdict::NotClaimed { reason }]).assert_passed();
    }
}
