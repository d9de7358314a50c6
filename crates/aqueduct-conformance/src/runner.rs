use std::panic::AssertUnwindSafe;

use aqueduct_core::{Runtime, StreamSpec, panic_message};
use futures::{FutureExt as _, StreamExt as _};

use crate::case::{Case, Need, Scope};
use crate::cases::THEMES;
use crate::context::Context;
use crate::fixture::{Fixture, Lack};
use crate::harness::{Abilities, Harness};
use crate::layering::LayerSet;
use crate::report::{CaseReport, Report, Verdict};
use crate::stop::Stop;

/// The options of a run.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SuiteOptions {
    /// Runs only the cases whose name contains one of these. Default: empty, which is all.
    pub only: Vec<String>,
    /// Runs only the cases of these themes ([`CaseInfo::theme`](crate::CaseInfo)). Default: empty,
    /// which is all.
    pub themes: Vec<String>,
    /// How many cases run concurrently. Default: 16, since cases mostly wait.
    pub parallel: usize,
    /// The layers between the cases and the backend. Default: none.
    pub through: LayerSet,
    /// Whether to print the table. Default: yes.
    pub print: bool,
}

impl Default for SuiteOptions {
    fn default() -> Self {
        Self {
            only: Vec::new(),
            themes: Vec::new(),
            parallel: 16,
            through: LayerSet::plain(),
            print: true,
        }
    }
}

impl SuiteOptions {
    /// Runs only the cases whose name contains one of `names`.
    #[must_use]
    pub fn only<'a>(mut self, names: impl IntoIterator<Item = &'a str>) -> Self {
        self.only = names.into_iter().map(str::to_owned).collect();
        self
    }

    /// Runs only the cases of those themes: for a second run of a backend, whose settings concern
    /// some of them. An unknown theme is a failed row of the report.
    #[must_use]
    pub fn themes<'a>(mut self, themes: impl IntoIterator<Item = &'a str>) -> Self {
        self.themes = themes.into_iter().map(str::to_owned).collect();
        self
    }

    /// Runs the cases through those layers. Leaves out cases that test only a store.
    #[must_use]
    pub fn through(mut self, layers: LayerSet) -> Self {
        self.through = layers;
        self
    }

    /// Runs that many cases concurrently.
    #[must_use]
    pub fn parallel(mut self, cases: usize) -> Self {
        self.parallel = cases;
        self
    }
}

/// Runs the suite on the subjects of `fixture`, prints the table, and returns the report.
///
/// The cases run concurrently on the caller's task; the backends and groups that they open run on
/// `runtime`. On a runtime with a virtual clock the run does not wait.
pub async fn run(fixture: &dyn Fixture, runtime: &Runtime, options: SuiteOptions) -> Report {
    let chosen = |case: &Case| {
        let scope = options.through.is_plain() || case.scope == Scope::Flow;
        let named = |part: &String| case.name.contains(part.as_str());
        scope && (options.only.is_empty() || options.only.iter().any(named))
    };
    let cases: Vec<&Case> = THEMES
        .iter()
        .filter(|(theme, _)| {
            options.themes.is_empty() || options.themes.iter().any(|it| it == theme)
        })
        .flat_map(|(_, cases)| cases.iter())
        .filter(|case| chosen(case))
        .collect();
    let lacks = fixture.lacks();
    let abilities = probe(fixture, runtime, &options.through).await;

    let running = cases.iter().enumerate().map(|(at, &case)| {
        let verdict = judge(case, &abilities, &lacks);
        let (through, started) = (&options.through, runtime);
        async move {
            let began = started.now();
            let verdict = match verdict {
                Some(verdict) => verdict,
                None => attempt(case, fixture, runtime, through).await,
            };
            let seconds = started.now().since(began).as_secs_f64();
            let line = CaseReport::new(case.name, case.rules, verdict, seconds);
            (at, line)
        }
    });
    let mut lines: Vec<(usize, CaseReport)> = futures::stream::iter(running)
        .buffer_unordered(options.parallel.max(1))
        .collect()
        .await;
    lines.sort_by_key(|(at, _)| *at);
    let mut lines: Vec<CaseReport> = lines.into_iter().map(|(_, line)| line).collect();
    lines.extend(unknown_lacks(&lacks));
    lines.extend(unknown_themes(&options.themes));

    let report = Report::new(
        fixture.name().to_owned(),
        options.through.name().to_owned(),
        lines,
    );
    if options.print {
        println!("{report}");
    }
    report
}

/// Runs the suite through each set of layers, one run after the other.
pub async fn run_through(
    fixture: &dyn Fixture,
    runtime: &Runtime,
    sets: Vec<LayerSet>,
    options: SuiteOptions,
) -> Vec<Report> {
    let mut reports = Vec::with_capacity(sets.len());
    for set in sets {
        reports.push(run(fixture, runtime, options.clone().through(set)).await);
    }
    reports
}

async fn probe(
    fixture: &dyn Fixture,
    runtime: &Runtime,
    layers: &LayerSet,
) -> Result<Abilities, String> {
    let context = Context::new(fixture, runtime, layers);
    let probing = async {
        let harness: Harness<'_> = context.harness_of(&StreamSpec::default()).await?;
        harness.abilities().await
    };
    match AssertUnwindSafe(probing).catch_unwind().await {
        Ok(Ok(abilities)) => Ok(abilities),
        Ok(Err(Stop::Failed(why) | Stop::NotClaimed(why) | Stop::Lacking(why))) => Err(why),
        Err(panic) => Err(format!("panicked: {}", panic_message(&*panic))),
    }
}

/// Returns the verdict of a case that cannot run; `None` if it can.
fn judge(case: &Case, abilities: &Result<Abilities, String>, lacks: &[Lack]) -> Option<Verdict> {
    if let Some(lack) = lacks.iter().find(|lack| lack.case == case.name) {
        let reason = lack.reason.to_owned();
        return Some(Verdict::Lacking { reason });
    }
    let abilities = match abilities {
        Ok(abilities) => abilities,
        Err(why) => {
            let why = format!("the fixture opens no stream: {why}");
            return Some(Verdict::Failed { why });
        }
    };
    let missing = |need: &&Need| abilities.missing(**need).is_some();
    let need = case.needs.iter().find(missing)?;
    let reason = abilities.missing(*need).unwrap_or_default();
    match need {
        Need::Fault(_) | Need::Missing | Need::Denied | Need::Peer => {
            Some(Verdict::Lacking { reason })
        }
        _ => Some(Verdict::NotClaimed { reason }),
    }
}

async fn attempt(
    case: &Case,
    fixture: &dyn Fixture,
    runtime: &Runtime,
    layers: &LayerSet,
) -> Verdict {
    let context = Context::new(fixture, runtime, layers);
    let limit = context.timing.case;
    let running = AssertUnwindSafe((case.run)(&context)).catch_unwind();
    let failed = |why: String| Verdict::Failed { why };
    match runtime.timeout(limit, case.name, running).await {
        Ok(Ok(Ok(()))) => Verdict::Passed,
        Ok(Ok(Err(Stop::Failed(why)))) => failed(why),
        Ok(Ok(Err(Stop::NotClaimed(reason)))) => Verdict::NotClaimed { reason },
        Ok(Ok(Err(Stop::Lacking(reason)))) => Verdict::Lacking { reason },
        Ok(Err(panic)) => failed(format!("panicked: {}", panic_message(&*panic))),
        Err(_) => failed(format!(
            "hangs: after {limit:?} still waiting for {}",
            context.last_step()
        )),
    }
}

/// Returns a failed row for each lack that names an unknown case: a mistake in the fixture.
fn unknown_lacks(lacks: &[Lack]) -> Vec<CaseReport> {
    let known = |name: &str| {
        THEMES
            .iter()
            .any(|(_, cases)| cases.iter().any(|case| case.name == name))
    };
    lacks
        .iter()
        .filter(|lack| !known(lack.case))
        .map(|lack| {
            let why = "the fixture's `lacks` names an unknown case: correct or remove the name"
                .to_owned();
            CaseReport::new(lack.case, &[], Verdict::Failed { why }, 0.0)
        })
        .collect()
}

/// Returns a failed row for each theme that the suite does not have.
fn unknown_themes(themes: &[String]) -> Vec<CaseReport> {
    let unknown = themes
        .iter()
        .filter(|theme| !THEMES.iter().any(|(known, _)| known == theme));
    let known = || {
        THEMES
            .iter()
            .map(|(theme, _)| *theme)
            .collect::<Vec<_>>()
            .join(", ")
    };
    unknown
        .map(|theme| {
            let why = format!("no such theme: expected one of {}", known());
            CaseReport::new(theme, &[], Verdict::Failed { why }, 0.0)
        })
        .collect()
}
