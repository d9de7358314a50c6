use std::time::Duration;

use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{ContentArrangement, Table};

/// The width of reasons in the table.
const WIDTH: u16 = 120;

/// The outcome of one suite on one setup.
pub(crate) struct Outcome {
    pub(crate) setup: String,
    pub(crate) suite: String,
    pub(crate) verdict: Verdict,
    pub(crate) took: Duration,
}

pub(crate) enum Verdict {
    /// Passed, with a summary.
    Passed(String),
    /// Skipped, with the reason.
    Skipped(String),
    /// Failed, with the reason.
    Failed(String),
}

impl Outcome {
    pub(crate) fn is_failed(&self) -> bool {
        matches!(self.verdict, Verdict::Failed(_))
    }

    pub(crate) fn is_skipped(&self) -> bool {
        matches!(self.verdict, Verdict::Skipped(_))
    }

    /// Adds what failed in the first run of the same suite.
    pub(crate) fn after(mut self, first: Self) -> Self {
        if let (Verdict::Passed(what), Verdict::Failed(why)) = (&mut self.verdict, first.verdict) {
            *what = format!("{what}; in the second run: the first failed: {why}");
        }
        self
    }

    fn words(&self) -> (&'static str, &str) {
        match &self.verdict {
            Verdict::Passed(what) => ("passed", what),
            Verdict::Skipped(why) => ("skipped", why),
            Verdict::Failed(why) => ("FAILED", why),
        }
    }

    /// Formats the outcome as one line.
    pub(crate) fn line(&self) -> String {
        let (verdict, what) = self.words();
        let seconds = self.took.as_secs_f64();
        format!(
            "{}: {}: {verdict} after {seconds:.0} s: {what}",
            self.setup, self.suite
        )
    }
}

/// Formats the outcomes as a table.
pub(crate) fn table(outcomes: &[Outcome]) -> String {
    let mut table = Table::new();
    table
        .load_style(UTF8_FULL_CONDENSED)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_width(WIDTH)
        .set_header(["setup", "suite", "verdict", "seconds", "what"]);
    let count = |wanted: fn(&Outcome) -> bool| outcomes.iter().filter(|it| wanted(it)).count();
    for outcome in outcomes {
        let (verdict, what) = outcome.words();
        table.add_row([
            outcome.setup.clone(),
            outcome.suite.clone(),
            verdict.to_owned(),
            format!("{:.0}", outcome.took.as_secs_f64()),
            what.to_owned(),
        ]);
    }
    let (failed, skipped) = (count(Outcome::is_failed), count(Outcome::is_skipped));
    let passed = outcomes.len() - failed - skipped;
    format!("{table}\n{passed} passed, {skipped} skipped, {failed} failed")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_skipped_is_not_counted_as_passed() {
        let outcome = |verdict| Outcome {
            setup: "emulator".into(),
            suite: "kinesis".into(),
            verdict,
            took: Duration::from_secs(2),
        };
        let printed = table(&[
            outcome(Verdict::Passed("41 cases".into())),
            outcome(Verdict::Skipped("npm is not installed".into())),
            outcome(Verdict::Failed("one case".into())),
        ]);
        for part in [
            "41 cases",
            "npm is not installed",
            "FAILED",
            "1 passed, 1 skipped, 1 failed",
        ] {
            assert!(printed.contains(part), "{printed}");
        }
    }
}
