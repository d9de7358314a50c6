//! The suite fails where it must: each broken backend fails the cases that show its fault.

mod common;

use std::sync::Arc;

use aqueduct_conformance::{Options, Report, Verdict, run};
use aqueduct_core::Resource;

use self::common::Memory;
use self::common::broken::Broken;

/// Runs `cases` on a backend with that fault, and checks that every one of them fails.
async fn fails(fault: common::Break, cases: &[&str]) -> Report {
    let runtime = aqueduct_runtime::tokio();
    let mut options = Options::default().only(cases.iter().copied());
    options.print = false;
    let report = run(&Memory::broken(fault), &runtime, options).await;
    for case in cases {
        let verdict = report.verdict(case);
        assert!(
            matches!(verdict, Some(Verdict::Failed { .. })),
            "{case} answers {verdict:?}"
        );
    }
    report
}

fn said(report: &Report, case: &str) -> String {
    format!("{:?}", report.verdict(case))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_out_of_order() {
    let report = fails(
        |resource| Broken::producer(resource, common::broken::swaps_neighbours),
        &[
            "calls_in_turn_keep_key_order",
            "consumer_keeps_key_order",
            "ten_keys_in_order_under_retries",
        ],
    )
    .await;
    let why = said(&report, "calls_in_turn_keep_key_order");
    assert!(why.contains("at place"), "{why}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_acknowledged_event_that_is_lost() {
    let report = fails(
        |resource| Broken::producer(resource, common::broken::loses_one),
        &[
            "every_field_round_trips",
            "full_batch_is_stored",
            "producers_side_by_side_lose_nothing",
            "two_groups_see_all",
        ],
    )
    .await;
    let why = said(&report, "two_groups_see_all");
    assert!(why.contains("50 events"), "{why}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stored_event_behind_one_that_is_not() {
    let report = fails(
        |resource| Broken::producer(resource, common::broken::goes_on_behind_a_failure),
        &["prefix_rule_behind_a_too_large_event"],
    )
    .await;
    let why = said(&report, "prefix_rule_behind_a_too_large_event");
    assert!(why.contains("stored behind one that is not"), "{why}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_field_that_does_not_come_back() {
    let report = fails(
        |resource| Broken::producer(resource, common::broken::forgets_the_subject),
        &["every_field_round_trips", "non_ascii_round_trips"],
    )
    .await;
    let why = said(&report, "every_field_round_trips");
    assert!(why.contains("subject"), "{why}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_stored_twice() {
    fails(
        |resource| Broken::producer(resource, common::broken::stores_twice),
        &[
            "every_field_round_trips",
            "two_groups_see_all",
            "ten_keys_in_order_under_retries",
        ],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn outcomes_in_another_order() {
    fails(
        |resource| Broken::producer(resource, common::broken::turns_outcomes_round),
        &["outcomes_are_index_aligned"],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_swap_that_ignores_its_condition() {
    fails(
        |resource| Broken::leases(resource, common::broken::LeaseFault::SwapsAlways),
        &[
            "lost_race_answers_the_winner",
            "one_of_many_takes_the_lease",
            "stale_commit_is_fenced",
        ],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_create_that_overwrites_and_a_request_that_disturbs() {
    fails(
        |resource| Broken::leases(resource, common::broken::LeaseFault::CreatesAlways),
        &["lease_is_created_if_absent"],
    )
    .await;
    fails(
        |resource| Broken::leases(resource, common::broken::LeaseFault::RequestCounts),
        &["request_does_not_disturb_the_owner"],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commits_that_are_answered_and_not_stored() {
    fails(
        |resource| Broken::leases(resource, common::broken::LeaseFault::ForgetsCommits),
        &[
            "lease_keeps_every_watermark",
            "flushed_acks_survive_a_crash",
            "out_of_order_acks_resume_at_the_first_unsettled",
        ],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_skips_and_a_log_that_hangs() {
    let report = fails(
        |resource| Broken::log(resource, common::broken::LogFault::SkipsAfter),
        &[
            "reader_starts_where_it_is_told",
            "flushed_acks_survive_a_crash",
        ],
    )
    .await;
    assert!(said(&report, "reader_starts_where_it_is_told").contains("first event from"));
    let report = fails(
        |resource| Broken::log(resource, common::broken::LogFault::Hangs),
        &["positions_rise_as_told", "two_groups_see_all"],
    )
    .await;
    let why = said(&report, "positions_rise_as_told");
    assert!(
        why.contains("40 records of partition"),
        "a hang names what it waits for: {why}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lack_that_names_no_case_and_a_case_that_is_lacking() {
    let runtime = aqueduct_runtime::tokio();
    let mut options = Options::default().only(["empty_batch_is_nothing"]);
    options.print = false;
    let fixture = Memory::lacking(&["empty_batch_is_nothing", "no_such_case"]);
    let report = run(&fixture, &runtime, options).await;
    let lacking = report.verdict("empty_batch_is_nothing");
    assert!(
        matches!(lacking, Some(Verdict::Lacking { .. })),
        "{lacking:?}"
    );
    let unknown = report.verdict("no_such_case");
    assert!(
        matches!(unknown, Some(Verdict::Failed { .. })),
        "{unknown:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_claimed_is_not_run() {
    let runtime = aqueduct_runtime::tokio();
    let mut options = Options::default().only(["lease", "resharding"]);
    options.print = false;
    let fixture = Memory::broken(|resource| Arc::new(Broken::mute(resource)) as Arc<dyn Resource>);
    let report = run(&fixture, &runtime, options).await;
    assert!(report.cases.len() > 10);
    for line in &report.cases {
        let skipped = matches!(line.verdict, Verdict::NotClaimed { .. });
        assert!(skipped, "{line}");
    }
}
