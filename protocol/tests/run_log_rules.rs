// SPDX-License-Identifier: Apache-2.0
//! Every rule of run log content (protocol 3), each on the smallest log that shows it.

use std::borrow::Cow;

use protocol::{
    node_id::NodeId,
    run_log::{RunLog, RunLogError, SkipReason, parse},
};

const T: &str = "2026-01-02T03:04:05+00:00";
const START: &str = "2026-01-02 03:00:00+00:00";

/// A report of root, without line end.
fn report(event_type: &str, component: &str, key: &str, message: &str) -> String {
    format!("{T} R: @@P@@{event_type}@@rule@@directive@@id@@{component}@@{key}@@{START}##root@#{message}")
}

fn simple(message: &str) -> String {
    report("result_success", "c", "k", message)
}

#[track_caller]
fn parsed(text: &str) -> RunLog<'_> {
    parse(text, &NodeId::root()).unwrap_or_else(|error| panic!("{error}: {text:?}"))
}

/// Event type and message of each row.
fn rows<'a>(run_log: &'a RunLog<'_>) -> Vec<(&'a str, &'a str)> {
    run_log.reports.iter().map(|r| (r.event_type, &*r.message)).collect()
}

fn skipped<'a>(run_log: &RunLog<'a>) -> Vec<(usize, SkipReason, &'a str)> {
    run_log.skipped.iter().map(|s| (s.line, s.reason, s.text)).collect()
}

#[test]
fn reads_all_fields() {
    let text = format!(
        "{T} R: @@a technique@@result_na@@r@@d@@@@c d@@@@2026-01-02 03:00:00 +0200##n-1@#said@@##@#so\n"
    );
    let run_log = parse(&text, &"n-1".parse().unwrap()).unwrap();
    let [r] = &run_log.reports[..] else { panic!() };
    assert_eq!((r.policy, r.event_type, r.rule_id, r.directive_id), ("a technique", "result_na", "r", "d"));
    assert_eq!((r.report_id, &*r.component, &*r.key_value), ("0", "c d", "None"));
    assert_eq!(r.message, "said@@##@#so");
    assert_eq!(
        (r.execution.to_rfc3339().as_str(), r.start.to_rfc3339().as_str()),
        (T, "2026-01-02T03:00:00+02:00")
    );
    assert_eq!((run_log.start, run_log.node_id.as_str()), (r.start, "n-1"));
    assert_eq!((run_log.complete, &run_log.config_id), (false, &None));
}

#[test]
fn a_single_separator_character_is_data() {
    let text = format!("{T} R: @@@p@q@@#e#@@r@r@@d@@i@@@c@@#k#@@{START}##root@#@m@");
    let run_log = parsed(&text);
    let r = &run_log.reports[0];
    assert_eq!((r.policy, r.event_type, r.rule_id), ("@p@q", "#e#", "r@r"));
    assert_eq!((&*r.component, &*r.key_value, &*r.message), ("@c", "#k#", "@m@"));
}

#[test]
fn line_ends_of_all_kinds_can_be_mixed_and_the_last_may_lack() {
    for ends in [["\n", "\n"], ["\r\n", "\r"], ["\r", "\r\n"], ["\n", ""]] {
        let text = [&simple("a"), ends[0], &format!("{T} b"), ends[0], &simple("c"), ends[1]].concat();
        let run_log = parsed(&text);
        assert_eq!(rows(&run_log), [("result_success", "a\nb"), ("result_success", "c")], "{ends:?}");
    }
}

#[test]
fn messages_span_lines_with_and_without_time_stamps() {
    let text = format!("{}\nb\n{T} c\n\n{T} \n{T} {T} d\n", simple("a"));
    assert_eq!(rows(&parsed(&text)), [("result_success", &*format!("a\nb\nc\n\n\n{T} d"))]);
    let text = format!("{}\r\nb\r\n{T}    error: log\r\nmore\r\n{}\r\n", simple(""), simple("c"));
    assert_eq!(
        rows(&parsed(&text)),
        [("result_success", "\nb"), ("log_warn", "log\nmore"), ("result_success", "c")]
    );
}

#[test]
fn a_time_stamp_at_the_start_of_a_message_is_removed() {
    assert_eq!(rows(&parsed(&simple(&format!("{T} {T} a")))), [("result_success", &*format!("{T} a"))]);
}

#[test]
fn a_message_may_start_with_a_level_tag_or_hold_report_syntax() {
    let text = format!("{}\nthen R: @@x@@\n", simple("CRITICAL R: @@P@@"));
    assert_eq!(rows(&parsed(&text)), [("result_success", "CRITICAL R: @@P@@\nthen R: @@x@@")]);
}

#[test]
fn component_and_key_value_span_lines() {
    let component = format!("{T} one\r\n{T} two\n\nCRITICAL");
    let text = [
        &report("control", "a", "b", ""),
        "\n",
        &report("control", &component, &format!("k\r{T}    error: l"), "m\nn"),
        "\n",
        &simple("last"),
        "\n",
    ]
    .concat();
    let run_log = parsed(&text);
    assert_eq!(run_log.reports.len(), 3);
    let r = &run_log.reports[1];
    assert_eq!(
        (&*r.component, &*r.key_value, &*r.message),
        ("one\ntwo\n\nCRITICAL", "k\n   error: l", "m\nn")
    );
    assert_eq!(run_log.skipped, []);
}

#[test]
fn log_lines_go_with_the_next_report_and_trailing_ones_with_the_last() {
    let text = format!(
        "{T} R: [INFO] one\n{T} R: DEBUG two\n{}\nmore\n2026-01-02T03:04:06+00:00  verbose: three\n{T} R: four\n",
        report("result_error", "x\r\ny", "k", "m")
    );
    let run_log = parsed(&text);
    let expected = [
        ("log_info", "one"),
        ("log_warn", "two"),
        ("result_error", "m\nmore"),
        ("log_debug", "three"),
        ("log_info", "four"),
    ];
    assert_eq!(rows(&run_log), expected);
    for r in &run_log.reports {
        let fields = (r.policy, r.rule_id, r.directive_id, r.report_id, &*r.component, &*r.key_value);
        assert_eq!(fields, ("P", "rule", "directive", "id", "x\ny", "k"));
        assert_eq!(r.start, run_log.start);
    }
    assert_eq!(run_log.reports[3].execution.to_rfc3339(), "2026-01-02T03:04:06+00:00");
}

#[test]
fn control_reports_make_a_log_complete_and_name_its_policies() {
    for (controls, complete, config_id) in [
        (vec![("start", "c1"), ("end", "c2")], true, Some("c1")),
        (vec![("start", "c1")], true, Some("c1")),
        (vec![("heartbeat", "c0"), ("end", "c2")], false, Some("c2")),
        (vec![("Abort run", "c3")], false, None),
    ] {
        let lines: Vec<_> = controls.iter().map(|(c, k)| report("control", c, k, "") + "\n").collect();
        let text = lines.concat() + &report("result_success", "start", "no", "");
        let run_log = parsed(&text);
        assert_eq!((run_log.complete, run_log.config_id.as_deref()), (complete, config_id), "{text}");
    }
}

#[test]
fn broken_reports_are_skipped_with_their_lines_and_the_rest_is_used() {
    let good = simple("good");
    for broken in [
        format!("{T} R: @@"),
        format!("{T} R: @@Common@@"),
        format!("{T} R: @@@@@@@@@@@@@@@@@@@@@@@@"),
        format!("R: @@P@@e@@r@@d@@i@@c@@k@@{START}##root@#no time stamp"),
        format!("{T} R: @@P@@e@@@@d@@i@@c@@k@@{START}##root@#no rule"),
        format!("{T} R: @@P@@e@@r@@@@i@@c@@k@@{START}##root@#no directive"),
        format!("{T} R: @@P@@e@@r@@d@@i@@@@k@@{START}##root@#no component"),
        format!("{T} R: @@P@@e@@r@@d@@i@@c@@k@@2026-01-02##root@#bad start"),
        format!("{T} R: @@P@@e@@r@@d@@i@@c@@k@@{START}@#no node"),
        format!("{T} R: @@P@@e@@r@@d@@i@@c@@k@@{START}##root no message"),
        format!("{T} R: @@P@@e@@r\n{T} r@@d@@i@@c@@k@@{START}##root@#rule over two lines"),
        format!("{T} R: @@P@@e@@r@@d@@i@@c\r\nnot\r\nended"),
    ] {
        let text = format!("{good}\nb\n{broken}\nx\r\n{T} y\n  notice: z\n{T} R: log\n{good}\n{broken}");
        let run_log = parsed(&text);
        let expected = [("result_success", "good\nb"), ("log_info", "log"), ("result_success", "good")];
        assert_eq!(rows(&run_log), expected, "{broken:?}");
        let first = format!("{broken}\nx\r\n{T} y\n  notice: z");
        let last_line = 8 + broken.split('\n').count();
        assert_eq!(
            skipped(&run_log),
            [
                (3, SkipReason::BrokenReport, first.as_str()),
                (last_line, SkipReason::BrokenReport, broken.as_str())
            ]
        );
    }
}

#[test]
fn a_line_with_a_tag_and_no_time_stamp_is_dropped_alone() {
    let text = format!("{}\n   error: stray\nb\n{}\n", simple("a"), simple("c"));
    let run_log = parsed(&text);
    assert_eq!(rows(&run_log), [("result_success", "a\nb"), ("result_success", "c")]);
    assert_eq!(skipped(&run_log), [(2, SkipReason::StrayLogLine, "   error: stray")]);
}

#[test]
fn garbage_at_the_start_is_kept_aside() {
    let text = format!("\u{feff}one\r\n{T} two\n\n{}\n", simple("a"));
    let run_log = parsed(&text);
    assert_eq!(rows(&run_log), [("result_success", "a")]);
    assert_eq!(skipped(&run_log), [(1, SkipReason::Garbage, &*format!("one\r\n{T} two\n"))]);
    let with_mark = format!("\u{feff}{}", simple("a"));
    assert_eq!(parsed(&with_mark).skipped, []);
}

#[test]
fn a_report_of_another_node_refuses_the_whole_log() {
    let text = format!("{}\n{}\n", simple("a"), simple("b").replace("##root@#", "##other@#"));
    let error = parse(&text, &NodeId::root()).unwrap_err();
    assert_eq!(error, RunLogError::OtherNode { line: 2, expected: NodeId::root(), found: "other".into() });
    let text = text.replace("other", &"x".repeat(10_000));
    assert!(parse(&text, &NodeId::root()).unwrap_err().to_string().len() < 300);
}

#[test]
fn another_start_is_kept_and_counted() {
    let text = format!("{}\n{}\n", simple("a"), simple("b").replace(START, "2026-01-02 04:00:00+00:00"));
    let run_log = parsed(&text);
    assert_eq!((run_log.reports.len(), run_log.other_starts), (2, 1));
    assert_ne!(run_log.reports[1].start, run_log.start);
}

#[test]
fn without_any_valid_report_there_is_nothing() {
    for text in
        ["", "\n", "x", "\u{feff}", &format!("{T} R: log"), &format!("{T} R: @@P@@"), &simple("a")[26..]]
    {
        assert_eq!(parse(text, &NodeId::root()), Err(RunLogError::Empty), "{text:?}");
    }
}

#[test]
fn what_stands_in_the_log_is_borrowed() {
    let text = format!("{T} R: log\n{}\nb\n", report("e", "c", "k\nl", "a"));
    for r in parsed(&text).reports {
        assert!(matches!(r.message, Cow::Borrowed(_)), "{r:?}");
        assert!(matches!((r.component, r.key_value), (Cow::Borrowed(_), Cow::Borrowed("k\nl"))));
    }
}
