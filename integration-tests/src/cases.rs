use aqueduct_conformance::{Fixture, Report, SuiteOptions, Verdict as Found};

use crate::arguments::Arguments;
use crate::outcome::Verdict;
use crate::suites::{Cloud, Suite};

/// Runs the conformance suite on a fixture and deletes its resources.
pub(crate) async fn run(
    suite: Suite,
    fixture: &dyn Fixture,
    cloud: &Cloud,
    arguments: &Arguments,
) -> Verdict {
    let runtime = aqueduct_runtime::tokio();
    let mut options = SuiteOptions::default()
        .only(arguments.cases.iter().map(String::as_str))
        .parallel(cloud.setup.parallel.unwrap_or(16));
    options.print = false;
    let report = aqueduct_conformance::run(fixture, &runtime, options).await;
    print(&report, arguments.verbose);
    let left = cloud.clean().await;
    let failed: Vec<_> = report.failed().map(|line| line.case.as_str()).collect();
    match (failed.as_slice(), left.first()) {
        ([], _) if report.passed() == 0 => Verdict::Failed(match arguments.cases.is_empty() {
            true => "nothing passed".into(),
            false => format!("no case of {} with such a name can be shown", suite.name()),
        }),
        ([], Some(why)) => Verdict::Failed(format!("not every resource was deleted: {why}")),
        ([], None) => Verdict::Passed(counts(&report)),
        (failed, _) => Verdict::Failed(format!("{}: {}", counts(&report), first(failed))),
    }
}

/// Names the first of the failed cases; each has a line of its own above the table.
fn first(failed: &[&str]) -> String {
    const NAMED: usize = 10;
    match failed.len().saturating_sub(NAMED) {
        0 => failed.join(", "),
        more => format!("{} and {more} more", failed[..NAMED].join(", ")),
    }
}

fn counts(report: &Report) -> String {
    let count = |wanted: fn(&Found) -> bool| {
        let of = report.cases.iter().filter(|line| wanted(&line.verdict));
        of.count()
    };
    format!(
        "{} cases, {} lacking here, {} not claimed",
        report.passed(),
        count(|it| matches!(it, Found::Lacking { .. })),
        count(|it| matches!(it, Found::NotClaimed { .. })),
    )
}

/// Prints the cases that did not run or pass, and why; all cases on request.
fn print(report: &Report, verbose: bool) {
    println!("   {}:", report.subject);
    for line in &report.cases {
        let shown = match line.verdict {
            Found::Passed | Found::NotClaimed { .. } => verbose,
            _ => true,
        };
        if shown {
            println!("   {line}");
        }
    }
}
