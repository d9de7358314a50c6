//! Checks that the suite fails if it must: each broken backend fails the cases that test its fault.

use aqueduct_conformance::{LayerSet, Report, SuiteOptions, Verdict, run};
use aqueduct_runtime::Simulation;

use crate::common::broken::{self, Broken};
use crate::common::layer::{LayerFault, through};
use crate::common::{Break, Memory};

/// Runs `cases` on a backend with that fault and checks that each of them fails.
fn fails(fault: Break, cases: &[&str]) -> Report {
    fails_through(Memory::broken(fault), LayerSet::plain(), cases)
}

fn fails_through(fixture: Memory, through: LayerSet, cases: &[&str]) -> Report {
    let report = runs(fixture, through, cases);
    for case in cases {
        match report.verdict(case) {
            Some(Verdict::Failed { why }) => {
                println!("{case}: {why}");
                assert!(!why.contains("opens no stream"), "{case}: {why}");
            }
            other => panic!("{case} reported {other:?}"),
        }
    }
    report
}

fn runs(fixture: Memory, through: LayerSet, cases: &[&str]) -> Report {
    let simulation = Simulation::new(1);
    let mut options = SuiteOptions::default()
        .only(cases.iter().copied())
        .through(through);
    options.print = false;
    let runtime = simulation.runtime();
    let report = simulation.block_on(run(&fixture, &runtime, options));
    match report {
        Ok(report) => report,
        Err(stalled) => panic!("{stalled}"),
    }
}

fn said(report: &Report, case: &str) -> String {
    format!("{:?}", report.verdict(case))
}

#[test]
fn a_key_out_of_order() {
    let report = fails(
        |resource| Broken::producer(resource, broken::swaps_neighbours),
        &[
            "calls_in_turn_keep_key_order",
            "consumer_keeps_key_order",
            "ten_keys_in_order_under_retries",
        ],
    );
    let why = said(&report, "calls_in_turn_keep_key_order");
    assert!(why.contains("at place"), "{why}");
}

#[test]
fn an_acknowledged_event_that_is_lost() {
    let report = fails(
        |resource| Broken::producer(resource, broken::loses_one),
        &[
            "every_field_round_trips",
            "full_batch_is_stored",
            "producers_side_by_side_lose_nothing",
            "two_groups_see_all",
        ],
    );
    let why = said(&report, "two_groups_see_all");
    assert!(why.contains("50 events"), "{why}");
}

#[test]
fn a_stored_event_behind_one_that_is_not() {
    let report = fails(
        |resource| Broken::producer(resource, broken::goes_on_behind_a_failure),
        &["prefix_rule_behind_a_too_large_event"],
    );
    let why = said(&report, "prefix_rule_behind_a_too_large_event");
    assert!(why.contains("stored behind one that is not"), "{why}");
}

#[test]
fn a_field_that_does_not_come_back() {
    let report = fails(
        |resource| Broken::producer(resource, broken::forgets_the_subject),
        &["every_field_round_trips", "non_ascii_round_trips"],
    );
    let why = said(&report, "every_field_round_trips");
    assert!(why.contains("subject"), "{why}");
}

#[test]
fn an_event_stored_twice() {
    fails(
        |resource| Broken::producer(resource, broken::stores_twice),
        &[
            "every_field_round_trips",
            "two_groups_see_all",
            "ten_keys_in_order_under_retries",
        ],
    );
}

#[test]
fn outcomes_in_another_order() {
    fails(
        |resource| Broken::producer(resource, broken::turns_outcomes_round),
        &["outcomes_are_index_aligned"],
    );
}

#[test]
fn a_swap_that_ignores_its_condition() {
    fails(
        |resource| Broken::leases(resource, broken::LeaseFault::SwapsAlways),
        &[
            "lost_race_returns_the_winner",
            "one_of_many_takes_the_lease",
            "stale_commit_is_fenced",
        ],
    );
}

#[test]
fn a_create_that_overwrites_and_a_request_that_disturbs() {
    fails(
        |resource| Broken::leases(resource, broken::LeaseFault::CreatesAlways),
        &["lease_is_created_if_absent"],
    );
    fails(
        |resource| Broken::leases(resource, broken::LeaseFault::RequestCounts),
        &["request_does_not_disturb_the_owner"],
    );
}

#[test]
fn commits_that_are_answered_and_not_stored() {
    fails(
        |resource| Broken::leases(resource, broken::LeaseFault::ForgetsCommits),
        &[
            "lease_keeps_every_checkpoint",
            "flushed_acks_survive_a_crash",
            "out_of_order_acks_resume_at_the_first_unsettled",
        ],
    );
}

#[test]
fn a_log_that_skips_and_a_log_that_hangs() {
    let report = fails(
        |resource| Broken::log(resource, broken::LogFault::SkipsAfter),
        &[
            "reader_starts_where_it_is_told",
            "flushed_acks_survive_a_crash",
        ],
    );
    assert!(said(&report, "reader_starts_where_it_is_told").contains("first event from"));
    let report = fails(
        |resource| Broken::log(resource, broken::LogFault::Hangs),
        &["positions_rise_as_told", "two_groups_see_all"],
    );
    let why = said(&report, "positions_rise_as_told");
    assert!(
        why.contains("40 records of partition"),
        "a hang names what it waits for: {why}"
    );
}

#[test]
fn a_gap_that_is_passed_in_silence() {
    fails(
        |resource| Broken::log(resource, broken::LogFault::HidesGaps),
        &["expired_position_says_so", "gap_is_never_silent"],
    );
}

#[test]
fn attempts_that_nobody_keeps() {
    fails(
        |resource| Broken::leases(resource, broken::LeaseFault::ForgetsAttempts),
        &[
            "lease_keeps_every_field",
            "attempts_survive_a_hand_off",
            "poison_ends_as_a_dead_letter_and_no_innocent_does",
        ],
    );
}

#[test]
fn records_that_forget_and_records_that_ignore_the_replay() {
    fails(
        |resource| Broken::records(resource, broken::RecordFault::Forgets),
        &[
            "completed_stays_completed",
            "repeated_event_is_handled_once",
            "handled_event_stays_handled_after_a_crash",
        ],
    );
    fails(
        |resource| Broken::records(resource, broken::RecordFault::IgnoresReplay),
        &[
            "scopes_do_not_suppress_each_other",
            "replay_handles_everything_again",
        ],
    );
}

#[test]
fn a_layer_that_takes_a_failure_for_a_success() {
    fails_through(
        Memory::impatient(),
        through(LayerFault::AcksNacks),
        &[
            "nacked_event_comes_again_in_place",
            "attempts_count_runs_of_the_handler",
            "exhausted_event_becomes_a_dead_letter",
        ],
    );
}

#[test]
fn a_layer_that_loses_events() {
    fails_through(
        Memory::impatient(),
        through(LayerFault::SwallowsSome),
        &[
            "two_groups_see_all",
            "consumer_keeps_key_order",
            "backlog_is_read_in_order",
        ],
    );
}

#[test]
fn a_layer_that_never_settles() {
    fails_through(
        Memory::impatient(),
        through(LayerFault::DefersAcks),
        &[
            "flushed_acks_survive_a_crash",
            "leaving_member_hands_off_at_once",
        ],
    );
}

#[test]
fn a_lack_that_names_no_case_and_a_case_that_is_lacking() {
    let fixture = Memory::lacking(&["empty_batch_is_nothing", "no_such_case"]);
    let report = runs(fixture, LayerSet::plain(), &["empty_batch_is_nothing"]);
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

#[test]
fn what_is_not_claimed_is_not_run() {
    let report = runs(
        Memory::broken(Broken::mute),
        LayerSet::plain(),
        &["lease", "resharding"],
    );
    assert!(report.cases.len() > 10);
    for line in &report.cases {
        let skipped = matches!(line.verdict, Verdict::NotClaimed { .. });
        assert!(skipped, "{line}");
    }
}
