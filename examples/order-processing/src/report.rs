use std::io::{ErrorKind, Write as _};
use std::time::Duration;

use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{CellAlignment, Table};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::audit::{Summary, to_cents};
use crate::ledger::Standing;

/// What was found, as a table that a person reads.
pub(crate) fn table(summary: &Summary) -> String {
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
    match summary.lost + summary.charged_twice + summary.out_of_order {
        0 => format!("{table}\nNothing lost, nothing charged twice, nothing out of order."),
        _ => table.to_string(),
    }
}

/// Prints the report. A reader that went away wanted no more of it.
pub(crate) fn print(text: &str) -> Result<(), String> {
    let mut out = std::io::stdout().lock();
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(format!("writing the report: {error}"))
        }
        _ => Ok(()),
    }
}

/// Tells the person at the terminal something; where nobody listens, nothing is lost.
pub(crate) fn tell(text: impl std::fmt::Display) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// Shows how far the flow is, on standard error where that is a terminal.
pub(crate) struct Progress(ProgressBar);

impl Progress {
    pub(crate) fn new(expected: Option<u64>, quiet: bool) -> Self {
        let bar = ProgressBar::with_draw_target(expected, ProgressDrawTarget::stderr());
        if quiet {
            bar.set_draw_target(ProgressDrawTarget::hidden());
        }
        let template = match expected {
            Some(_) => "{elapsed:>4} {bar:30} {pos}/{len} orders  {msg}",
            None => "{elapsed:>4} {spinner} {pos} orders  {msg}",
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(200));
        Self(bar)
    }

    pub(crate) fn show(&self, standing: Standing) {
        if standing.input_read {
            self.0.set_length(standing.taken_in);
        }
        self.0.set_position(standing.finished());
        self.0.set_message(format!(
            "placed {}, paid {}, shipped {}, declined {}",
            standing.taken_in,
            standing.paid + standing.shipped,
            standing.shipped,
            standing.payment_failed
        ));
    }

    pub(crate) fn end(self) {
        self.0.finish_and_clear();
    }
}

/// Puts a thin mark between thousands: `1,265,793.04`.
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
