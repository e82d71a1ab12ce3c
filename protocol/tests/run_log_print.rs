// SPDX-License-Identifier: Apache-2.0
//! Printing run logs: printed lines parse back to the same, whatever is in them.

use chrono::{DateTime, FixedOffset, TimeDelta};
use proptest::prelude::*;
use protocol::{
    node_id::NodeId,
    run_log::{
        Level, Report, RunLog, parse,
        print::{end_report, start_report, to_agent_lines, write_log_line, write_report_line},
    },
};

fn date(text: &str) -> DateTime<FixedOffset> {
    DateTime::parse_from_rfc3339(text).unwrap()
}

const TIME: &str = "2026-01-02T03:04:05+00:00";

#[test]
fn writes_what_agents_write() {
    let node: NodeId = "e745a140".parse().unwrap();
    let (time, start) = (date("2026-01-02T03:04:06+00:00"), date(TIME));
    let mut log = String::new();
    write_report_line(&mut log, &start_report(time, start, "20260101-000000-abcd"), &node);
    write_log_line(&mut log, &time, Level::Warn, "no\nway");
    let report = Report {
        event_type: "result_error",
        message: "a\nb".into(),
        key_value: "".into(),
        ..start_report(time, start, "")
    };
    write_report_line(&mut log, &report, &node);
    write_report_line(&mut log, &end_report(time, start, "20260101-000000-abcd"), &node);
    let expected = "\
2026-01-02T03:04:06+00:00 R: @@Common@@control@@rudder@@run@@0@@start@@20260101-000000-abcd@@2026-01-02 03:04:05+00:00##e745a140@#Start execution
2026-01-02T03:04:06+00:00  warning: no
2026-01-02T03:04:06+00:00 way
2026-01-02T03:04:06+00:00 R: @@Common@@result_error@@rudder@@run@@0@@start@@None@@2026-01-02 03:04:05+00:00##e745a140@#a
2026-01-02T03:04:06+00:00 b
2026-01-02T03:04:06+00:00 R: @@Common@@control@@rudder@@run@@0@@end@@20260101-000000-abcd@@2026-01-02 03:04:05+00:00##e745a140@#End execution
";
    assert_eq!(log, expected);
    let run_log = parse(&log, &node).unwrap();
    assert!(run_log.complete && run_log.skipped.is_empty());
    assert_eq!(to_agent_lines(&run_log), expected);
}

#[test]
fn people_read_one_line_per_report_with_a_space_before_the_offset() {
    let report = start_report(date(TIME), date("2026-01-02T03:04:05+02:00"), "c");
    let run_log = RunLog::new(NodeId::root(), vec![report], vec![]).unwrap();
    assert_eq!(
        run_log.to_string(),
        "R: @@Common@@control@@rudder@@run@@0@@start@@c@@2026-01-02 03:04:05 +02:00##root@#Start execution\n"
    );
}

/// Text with all that means something in a run log.
fn hostile() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        2 => "[ -~é]{0,6}",
        1 => Just("@".to_owned()),
        1 => Just("@@".to_owned()),
        1 => Just("##".to_owned()),
        1 => Just("@#".to_owned()),
        1 => Just("\n".to_owned()),
        1 => Just("\r".to_owned()),
        1 => Just("\r\n".to_owned()),
        1 => Just("R: ".to_owned()),
        1 => Just("R: @@".to_owned()),
        1 => Just("R: @@P@@control@@r@@d@@0@@c@@k@@2026-01-02 03:04:05+00:00##root@#m".to_owned()),
        1 => Just("   error: ".to_owned()),
        1 => Just("CRITICAL".to_owned()),
        1 => Just("\u{feff}".to_owned()),
        1 => Just(format!("{TIME} ")),
        1 => Just("2026-01-02T03:04:05.5Z ".to_owned()),
    ];
    prop::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat())
}

fn starts_like_a_line(text: &str) -> bool {
    text.starts_with("R:")
        || ["CRITICAL", "   error", " warning", "  notice", "    info", " verbose", "   debug", "rudder "]
            .iter()
            .any(|tag| text.starts_with(tag))
}

fn without_separator() -> impl Strategy<Value = String> {
    hostile().prop_map(|text| {
        let mut text = text.replace(['\n', '\r'], " ");
        while text.contains("@@") {
            text = text.replace("@@", "@");
        }
        text
    })
}

fn one_line() -> impl Strategy<Value = String> {
    without_separator().prop_map(|text| text.trim_end_matches('@').to_owned())
}

fn several_lines() -> impl Strategy<Value = String> {
    prop::collection::vec(without_separator(), 1..4)
        .prop_map(|lines| lines.join("\n").trim_end_matches('@').to_owned())
        .prop_filter("representable", |text| !text.is_empty() && !text.ends_with("\nR: "))
}

fn message() -> impl Strategy<Value = String> {
    prop::collection::vec(hostile().prop_map(|text| text.replace(['\n', '\r'], "")), 1..5).prop_map(|lines| {
        let (first, rest) = lines.split_first().unwrap();
        let rest = rest.iter().map(|line| if starts_like_a_line(line) { "x" } else { line.as_str() });
        std::iter::once(first.as_str()).chain(rest).collect::<Vec<_>>().join("\n")
    })
}

fn any_date() -> impl Strategy<Value = DateTime<FixedOffset>> {
    (0i64..4_000_000_000, -24 * 60 + 1..24 * 60).prop_map(|(seconds, minutes)| {
        let offset = FixedOffset::east_opt(minutes * 60).unwrap();
        DateTime::from_timestamp(seconds, 0).unwrap().with_timezone(&offset)
    })
}

/// Owned fields of a report, and whether the next one shares them.
type Fields = (String, String, String, String, String, String, String);

fn fields() -> impl Strategy<Value = Fields> {
    let id = || one_line().prop_filter("not empty", |text| !text.is_empty());
    let event_type = prop_oneof![
        Just("control".to_owned()),
        Just("log_info".to_owned()),
        Just("log_warn".to_owned()),
        Just("log_debug".to_owned()),
        one_line()
    ];
    let component = prop_oneof![Just("start".to_owned()), Just("end".to_owned()), several_lines()];
    (one_line(), event_type, id(), id(), id(), component, several_lines())
}

fn report<'a>(
    fields: &'a Fields,
    execution: DateTime<FixedOffset>,
    start: DateTime<FixedOffset>,
    message: &'a str,
) -> Report<'a> {
    let (policy, event_type, rule_id, directive_id, report_id, component, key_value) = fields;
    Report {
        execution,
        policy,
        event_type,
        rule_id,
        directive_id,
        report_id,
        component: component.into(),
        key_value: key_value.into(),
        start,
        message: message.into(),
    }
}

/// Dates compare as instants; this compares what they say.
fn says(run_log: &RunLog<'_>) -> String {
    format!("{run_log:#?}")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn print_then_parse_is_the_identity(
        start in any_date(),
        rows in prop::collection::vec((fields(), any_date(), message(), 0u8..4, 0i64..1_000_000_000), 1..12),
    ) {
        let node = NodeId::root();
        let mut reports: Vec<Report<'_>> = Vec::new();
        for (fields, execution, message, sharing, nanos) in &rows {
            let execution = *execution + TimeDelta::nanoseconds(if *sharing == 0 { *nanos } else { 0 });
            let mut report = report(fields, execution, start, message);
            // Half of the rows look like log lines attached to what is before them.
            if let (true, Some(last)) = (*sharing < 2, reports.last()) {
                let event_type = ["log_info", "log_warn"][usize::from(*sharing)];
                report = Report { event_type, message: report.message, execution, ..last.clone() };
            }
            reports.push(report);
        }
        let forwards = RunLog::new(node.clone(), reports.clone(), vec![]).unwrap();
        reports.reverse();
        let backwards = RunLog::new(node.clone(), reports, vec![]).unwrap();
        for run_log in [forwards, backwards] {
            let text = to_agent_lines(&run_log);
            let parsed = parse(&text, &node);
            prop_assert_eq!(parsed.as_ref().map(says), Ok(says(&run_log)), "{}", text);
        }
    }

    #[test]
    fn no_content_makes_another_report_or_hides_one(
        texts in prop::collection::vec(hostile(), 7),
        message in hostile(),
        log in hostile(),
    ) {
        let [policy, event_type, rule, directive, id, component, key] = &texts[..] else { unreachable!() };
        let start = date(TIME);
        let report = Report {
            execution: start,
            policy,
            event_type,
            rule_id: rule,
            directive_id: directive,
            report_id: id,
            component: component.into(),
            key_value: key.into(),
            start,
            message: message.as_str().into(),
        };
        let node = NodeId::root();
        let mut text = String::new();
        write_report_line(&mut text, &start_report(start, start, "c"), &node);
        write_log_line(&mut text, &start, Level::Info, &log);
        write_report_line(&mut text, &report, &node);
        write_report_line(&mut text, &end_report(start, start, "c"), &node);
        let parsed = parse(&text, &node).unwrap();
        prop_assert_eq!((parsed.reports.len(), parsed.skipped.len()), (4, 0), "{}", text);
        prop_assert_eq!(&parsed.reports[1].component, &parsed.reports[2].component);
        prop_assert_eq!(parsed.reports[1].event_type, "log_info");
        prop_assert_eq!(&parsed.reports[3], &end_report(start, start, "c"));
    }

    #[test]
    fn printing_what_was_parsed_is_stable(text in prop::collection::vec(hostile(), 0..12)) {
        let node = NodeId::root();
        let mut log = String::new();
        write_report_line(&mut log, &start_report(date(TIME), date(TIME), "c"), &node);
        log.push_str(&text.concat());
        // A report in the text may name no other node: then there is nothing to print.
        if let Ok(mut parsed) = parse(&log, &node) {
            parsed.skipped.clear();
            let printed = to_agent_lines(&parsed);
            let again = parse(&printed, &node);
            prop_assert_eq!(again.as_ref().map(says), Ok(says(&parsed)), "{}", printed);
        }
    }
}
