// SPDX-License-Identifier: Apache-2.0
//! Run logs made to hurt: they cost time and memory in proportion to their size, and no more.
//!
//! Sizes are such that anything quadratic would not end within minutes.

use protocol::{
    limits,
    node_id::NodeId,
    run_log::{Limits, RunLogError, parse, parse_within},
};

const T: &str = "2026-01-02T03:04:05+00:00";

fn report(component: &str, message: &str) -> String {
    format!("{T} R: @@P@@e@@r@@d@@i@@{component}@@k@@2026-01-02 03:00:00+00:00##root@#{message}\n")
}

#[test]
fn many_continuation_lines() {
    let text = report("c", "a") + &format!("{T} b\n").repeat(300_000);
    let run_log = parse(&text, &NodeId::root()).unwrap();
    assert_eq!(run_log.reports[0].message.len(), 1 + 2 * 300_000);
}

#[test]
fn many_short_lines() {
    for line in ["\n", "\r", "x\r\n", "2\n", " \n", "R\n"] {
        let text = report("c", "a") + &line.repeat(1_000_000);
        assert_eq!(parse(&text, &NodeId::root()).unwrap().reports.len(), 1, "{line:?}");
    }
    assert_eq!(parse(&"x\n".repeat(1_000_000), &NodeId::root()), Err(RunLogError::Empty));
}

#[test]
fn components_that_never_end() {
    let open = format!("{T} R: @@P@@e@@r@@d@@i@@\n");
    let text = open.repeat(100_000) + &"c@\n".repeat(1_000_000) + &report("c", "a");
    let run_log = parse(&text, &NodeId::root()).unwrap();
    assert_eq!((run_log.reports.len(), run_log.skipped.len()), (1, 100_000));
}

#[test]
fn separators_all_over() {
    for piece in ["@", "@@", "#", "##", "@#", "@@##@#", "R: @@", "@\r"] {
        let line = piece.repeat(limits::RUN_LOG_LINE / 8);
        let text = [format!("{T} R: @@{line}\n"), report(&piece[..1], &line)].concat();
        let run_log = parse(&text.repeat(10), &NodeId::root()).map(|run_log| run_log.reports.len());
        // A component `@` moves the separator, so that report is broken.
        let expected = if piece.starts_with('@') { Err(RunLogError::Empty) } else { Ok(10) };
        assert_eq!(run_log, expected, "{piece:?}");
    }
}

#[test]
fn a_huge_line_is_refused() {
    let text = report("c", "a") + &"x".repeat(50 << 20);
    assert_eq!(parse(&text, &NodeId::root()), Err(RunLogError::LineTooLong(2)));
    let text = report("c", &"x".repeat(limits::RUN_LOG_LINE));
    assert_eq!(parse(&text, &NodeId::root()), Err(RunLogError::LineTooLong(1)));
}

#[test]
fn more_reports_than_the_limit_are_refused_whatever_they_are() {
    let limit = RunLogError::TooManyReports(limits::REPORTS_PER_RUN_LOG);
    for line in [report("c", "a"), format!("{T} R: x\n"), "R: @@\n".to_owned(), "CRITICAL\n".to_owned()] {
        let text = report("c", "a") + &line.repeat(limits::REPORTS_PER_RUN_LOG);
        assert_eq!(parse(&text, &NodeId::root()), Err(limit.clone()), "{line}");
        let text = &text[..text.len() - line.len()];
        assert!(parse(text, &NodeId::root()).is_ok(), "{line}");
    }
}

#[test]
fn log_lines_do_not_multiply_huge_fields() {
    let log = format!("{T} R: x\n");
    let text = log.repeat(100_000) + &report(&format!("{0}\r\n{0}", "c".repeat(500_000)), "a");
    assert!(matches!(parse(&text, &NodeId::root()), Err(RunLogError::TooMuchAttached(_))));
    // The message of a report is no such field.
    let text = log.repeat(100_000) + &report("c", &format!("{0}\r\n{0}", "m".repeat(500_000)));
    assert_eq!(parse(&text, &NodeId::root()).unwrap().reports.len(), 100_001);
    let text = report("c", "a") + &log.repeat(3);
    let tight = Limits { copied: 3 * "Prdick".len(), ..Limits::default() };
    assert!(parse_within(&text, &NodeId::root(), tight).is_ok());
    let tighter = Limits { copied: tight.copied - 1, ..tight };
    assert_eq!(
        parse_within(&text, &NodeId::root(), tighter),
        Err(RunLogError::TooMuchAttached(tighter.copied))
    );
}

#[test]
fn alternating_tags_and_reports() {
    let text = format!("CRITICAL\nx\n{T}    error\n{}{T} R: @@P@@\n", report("c\r\nd", "a")).repeat(20_000);
    let run_log = parse(&text, &NodeId::root()).unwrap();
    assert_eq!(run_log.reports.len(), 40_000);
}
