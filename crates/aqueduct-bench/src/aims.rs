use serde_json::json;

use crate::Contestant;
use crate::measure::{Figures, median, round};

/// An aim of a scenario: a number and its bound.
pub(crate) struct Aim {
    pub(crate) what: &'static str,
    pub(crate) bound: Bound,
    /// Computes the number; `None` if a contestant did not run.
    pub(crate) value: fn(&Round<'_>) -> Option<f64>,
}

#[derive(Clone, Copy)]
pub(crate) enum Bound {
    AtLeast(f64),
    AtMost(f64),
    /// Printed without a bound.
    None,
}

/// One run of each contestant, one after the other.
pub(crate) struct Round<'a>(pub(crate) &'a [(&'a Contestant, Figures)]);

impl Round<'_> {
    pub(crate) fn figures(&self, name: &str) -> Option<&Figures> {
        self.directed(name, None)
    }

    /// Returns the figures of a contestant, in `direction` if it has several.
    pub(crate) fn directed(&self, name: &str, direction: Option<&str>) -> Option<&Figures> {
        let found = self.0.iter().find(|(contestant, _)| {
            contestant.name == name && (direction.is_none() || contestant.direction == direction)
        });
        found.map(|(_, figures)| figures)
    }

    pub(crate) fn rate(&self, name: &str) -> Option<f64> {
        self.figures(name).map(Figures::events_per_second)
    }

    pub(crate) fn rate_ratio(&self, ours: &str, theirs: &str) -> Option<f64> {
        Some(self.rate(ours)? / self.rate(theirs)?)
    }

    pub(crate) fn cpu_ratio(&self, ours: &str, theirs: &str) -> Option<f64> {
        Some(self.figures(ours)?.cpu_per_event() / self.figures(theirs)?.cpu_per_event())
    }

    /// Compares instructions, if they were counted.
    pub(crate) fn instruction_ratio(&self, ours: &str, theirs: &str) -> Option<f64> {
        let ours = self.figures(ours)?.instructions?;
        Some(ours.all / self.figures(theirs)?.instructions?.all)
    }

    pub(crate) fn extra(&self, name: &str, figure: &str) -> Option<f64> {
        self.figures(name)?.extra(figure)
    }
}

impl Aim {
    /// Prints the median over the rounds. Each round is compared separately, because the load of the
    /// machine changes between rounds.
    pub(crate) fn print(&self, scenario: &str, rounds: &[Round<'_>], json: bool) {
        let Some(value) = median(rounds.iter().filter_map(self.value)) else {
            return;
        };
        let judged = match self.bound {
            Bound::AtLeast(bound) => Some(("at_least", bound, value >= bound)),
            Bound::AtMost(bound) => Some(("at_most", bound, value <= bound)),
            Bound::None => None,
        };
        let value = round(value, 3);
        if json {
            let mut line = json!({ "scenario": scenario, "aim": self.what, "value": value });
            if let Some((name, bound, met)) = judged {
                line[name] = bound.into();
                line["met"] = met.into();
            }
            println!("{line}");
            return;
        }
        let (verdict, bound) = match judged {
            Some((name, bound, met)) => (
                if met { "met" } else { "NOT MET" },
                format!(" ({} {bound})", name.replace('_', " ")),
            ),
            None => ("shown", String::new()),
        };
        println!(
            "{scenario} aim {verdict:<7} {value:>9}{bound}: {}",
            self.what
        );
    }
}
