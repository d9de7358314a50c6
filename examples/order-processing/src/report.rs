use std::io::{ErrorKind, Write as _};
use std::time::{Duration, Instant};

use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{CellAlignment, Table};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::audit::{Summary, to_cents};
use crate::cli::Arguments;
use crate::ledger::Standing;
use crate::shop::file;

/// Formats the summary as a table, with the locations of the data and the dead letters.
pub(crate) fn table(summary: &Summary, arguments: &Arguments) -> String {
    let mut table = Table::new();
    table
        .load_style(UTF8_FULL_CONDENSED)
        .set_header(["order flow", ""]);
    let count = |number: u64| thousands(&number.to_string());
    let rows = [
        ("orders", count(summary.orders)),
        (
            "gross",
            thousands(&format!("{:.2}", to_cents(summary.gross))),
        ),
        ("shipped", count(summary.shipped)),
        ("payment failed", count(summary.payment_failed)),
        ("dead-lettered", count(summary.dead_lettered)),
        ("charged twice", count(summary.charged_twice)),
        ("lost", count(summary.lost)),
        ("out of order", count(summary.out_of_order)),
        ("seconds", format!("{:.2}", summary.seconds)),
        (
            "events per second",
            thousands(&format!("{:.0}", summary.events_per_second)),
        ),
    ];
    for (name, value) in rows {
        table.add_row([name.to_owned(), value]);
    }
    if let Some(values) = table.column_mut(1) {
        values.set_cell_alignment(CellAlignment::Right);
    }
    let verdict = match summary.lost + summary.charged_twice + summary.out_of_order {
        0 => "\nNothing lost, nothing charged twice, nothing out of order.",
        _ => "",
    };
    format!("{table}{verdict}\n{}", places(summary, arguments))
}

/// Returns the locations of the data and the dead letters.
fn places(summary: &Summary, arguments: &Arguments) -> String {
    let file = file(&arguments.data);
    let file = file.display();
    let dead_letters = match &arguments.config {
        Some(config) => format!("where `dead_letters` in {} says", config.display()),
        None if summary.dead_lettered == 0 => "none".into(),
        None => format!("sqlite3 {file} 'SELECT message FROM aqueduct_letter'"),
    };
    format!("Data: {file}\nDead letters: {dead_letters}")
}

/// Prints the report. A reader that has closed its end is not an error.
pub(crate) fn print(text: &str) -> Result<(), String> {
    let mut out = std::io::stdout().lock();
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(format!("writing the report: {error}"))
        }
        _ => Ok(()),
    }
}

/// Writes a line to standard error; a closed one is ignored.
pub(crate) fn tell(text: impl std::fmt::Display) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// Shows the progress on standard error, if that is a terminal.
pub(crate) struct Progress {
    bar: ProgressBar,
    begun: Instant,
    /// How many orders an earlier run had finished: they do not count for the rate.
    before: u64,
}

/// The width of the bar; with the longest text the line fits into 80 columns.
const BAR: usize = 16;

impl Progress {
    pub(crate) fn new(expected: Option<u64>, before: u64, quiet: bool) -> Self {
        let bar = ProgressBar::with_draw_target(expected, ProgressDrawTarget::stderr());
        if quiet {
            bar.set_draw_target(ProgressDrawTarget::hidden());
        }
        let template = match expected {
            Some(_) => format!("{{bar:{BAR}}} {{msg}}"),
            None => "{spinner} {msg}".into(),
        };
        if let Ok(style) = ProgressStyle::with_template(&template) {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(200));
        Self {
            bar,
            begun: Instant::now(),
            before,
        }
    }

    pub(crate) fn show(&self, standing: Standing) {
        if standing.input_read {
            self.bar.set_length(standing.taken_in);
        }
        let finished = standing.finished();
        self.bar.set_position(finished);
        let since = finished.saturating_sub(self.before);
        let rate = since as f64 / self.begun.elapsed().as_secs_f64().max(0.001);
        self.bar
            .set_message(progress(finished, self.bar.length(), rate));
    }

    pub(crate) fn end(self) {
        self.bar.finish_and_clear();
    }
}

/// Formats the text beside the bar: how many orders are finished, how fast, and the time left.
fn progress(finished: u64, of: Option<u64>, rate: f64) -> String {
    let count = |number: u64| thousands(&number.to_string());
    let shown = count(rate.round() as u64);
    let Some(of) = of else {
        return format!("{} orders, {shown}/s", count(finished));
    };
    let text = format!("{}/{} orders, {shown}/s", count(finished), count(of));
    match remaining(finished, of, rate) {
        Some(left) => format!("{text}, {left} left"),
        None => text,
    }
}

/// Returns the time left at that rate; `None` while nothing moves.
fn remaining(finished: u64, of: u64, rate: f64) -> Option<String> {
    if rate < 1.0 {
        return None;
    }
    let seconds = (of.saturating_sub(finished) as f64 / rate).ceil() as u64;
    Some(match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, seconds) => format!("{seconds} s"),
        (0, minutes, seconds) => format!("{minutes} min {seconds} s"),
        (hours, minutes, _) => format!("{hours} h {minutes} min"),
    })
}

/// Separates thousands: `1,265,793.04`.
fn thousands(number: &str) -> String {
    let (whole, rest) = number.split_at(number.find('.').unwrap_or(number.len()));
    let mut text = String::with_capacity(number.len() + whole.len() / 3);
    for (at, digit) in whole.chars().enumerate() {
        if at > 0 && (whole.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_progress_line_has_rate_and_time_left_and_fits_80_columns() {
        let line = progress(9_999, Some(50_000), 410.4);
        assert_eq!(line, "9,999/50,000 orders, 410/s, 1 min 38 s left");
        assert_eq!(progress(7, None, 2.0), "7 orders, 2/s");
        assert_eq!(progress(0, Some(10), 0.0), "0/10 orders, 0/s");
        let longest = progress(100_000_000, Some(999_999_999), 99_999.0);
        assert!(BAR + 1 + longest.len() <= 80, "{longest}");
    }

    #[test]
    fn thousands_are_marked() {
        for (number, marked) in [
            ("0", "0"),
            ("830", "830"),
            ("1000", "1,000"),
            ("1265793.04", "1,265,793.04"),
        ] {
            assert_eq!(thousands(number), marked);
        }
    }
}
