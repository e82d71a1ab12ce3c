// SPDX-License-Identifier: Apache-2.0
//! How fast run logs are parsed, by processor time, beside the least that any parser must do with the same
//! text: find its lines, check its encoding.
//!
//! ```text
//! cargo bench -p relayd --bench run_log
//! ```

use std::{hint::black_box, time::Duration};

use chrono::{DateTime, FixedOffset, TimeDelta};
use protocol::{
    node_id::NodeId,
    run_log::{
        self, Level, Report,
        print::{end_report, start_report, to_agent_lines, write_log_line, write_report_line},
    },
};
use rustix::time::{ClockId, clock_gettime};

const REPORTS: i64 = 72;
/// Enough for the processor to reach its clock rate; the best of several is reported.
const ROUND: Duration = Duration::from_millis(300);
const ROUNDS: usize = 5;

fn main() {
    let node: NodeId = "e1e5a2f0-93c7-4ab1-8d5e-0c6a1f7b2d34".parse().expect("a node id");
    let lf = realistic(&node);
    let crlf = lf.replace('\n', "\r\n");
    let rows = run_log::parse(&crlf, &node).expect("a run log").reports.len();
    println!("run log of {rows} rows, {} bytes with CRLF as signed logs have", crlf.len());
    println!("{:<28} {:>9} {:>12}", "", "MB/s", "us per log");
    for (name, text) in [("crlf", &crlf), ("lf", &lf)] {
        let parse = best(text, |text| run_log::parse(text, &node).map_or(0, |run_log| run_log.reports.len()));
        let lines = best(text, |text| memchr::memchr_iter(b'\n', text.as_bytes()).count());
        let encoding = best(text, |text| std::str::from_utf8(text.as_bytes()).map_or(0, str::len));
        for (what, seconds) in [("parse", parse), ("count lines", lines), ("check UTF-8", encoding)] {
            let rate = text.len() as f64 / seconds / 1e6;
            println!("{:<28} {rate:>9.0} {:>12.2}", format!("{what} ({name})"), seconds * 1e6);
        }
        println!(
            "parsing takes {:.1} times as long as counting lines, {:.1} times as long as checking UTF-8\n",
            parse / lines,
            parse / encoding
        );
    }
    println!("made to be slow, 64 MiB each (must take less than 1 s):");
    for (name, line) in HOSTILE {
        let text = lf.clone() + &line.repeat((64 << 20) / line.len());
        let start = cpu_time();
        // Some of these are over a limit, which is an answer, too.
        let answer = run_log::parse(&text, &node).map_or_else(|error| error.to_string(), |_| "parsed".into());
        println!("{name:<28} {:>9.3} s  {answer}", (cpu_time() - start).as_secs_f64());
    }
    println!();
    let run_log = run_log::parse(&lf, &node).expect("a run log");
    let print = best(&lf, |_| to_agent_lines(&run_log).len());
    println!("{:<28} {:>9.0} {:>12.2}", "print (lf)", lf.len() as f64 / print / 1e6, print * 1e6);
}

/// Processor time of this thread: what else runs on the machine counts little.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(time).expect("processor time is positive")
}

/// Seconds of processor time for one call, in the best of some rounds.
fn best(text: &str, call: impl Fn(&str) -> usize) -> f64 {
    let round = || {
        let (start, mut calls) = (cpu_time(), 0u32);
        while cpu_time() - start < ROUND {
            for _ in 0..16 {
                black_box(call(black_box(text)));
            }
            calls += 16;
        }
        (cpu_time() - start).as_secs_f64() / f64::from(calls)
    };
    (0..ROUNDS).map(|_| round()).fold(f64::INFINITY, f64::min)
}

/// A log as agents make it: 72 rows of techniques with several components, some log lines and some
/// messages over two lines.
fn realistic(node: &NodeId) -> String {
    let start: DateTime<FixedOffset> = "2026-01-02T03:00:00+00:00".parse().expect("a date");
    let config_id = "20260101-120000-5f3a9c21";
    let mut log = String::new();
    write_report_line(&mut log, &start_report(start, start, config_id), node);
    for row in 1..REPORTS - 1 {
        let execution = start + TimeDelta::seconds(row / 8);
        if row % 10 == 4 {
            write_log_line(&mut log, &execution, Level::Info, "Executing 'no timeout' ... '/bin/true'");
            continue;
        }
        let (policy, rule, directive) = DIRECTIVES[row as usize % DIRECTIVES.len()];
        let message = match row % 12 {
            5 => "Check of the service was\ncorrect after a restart",
            _ => "Check if the file /etc/example.d/settings.conf has the right content was correct",
        };
        let report = Report {
            execution,
            policy,
            event_type: ["result_success", "result_na", "log_info"][row as usize % 3],
            rule_id: rule,
            directive_id: directive,
            report_id: "0",
            component: "File content".into(),
            key_value: "/etc/example.d/settings.conf".into(),
            start,
            message: message.into(),
        };
        write_report_line(&mut log, &report, node);
    }
    write_report_line(&mut log, &end_report(start, start, config_id), node);
    log
}

/// Lines that cost more than others; what is made of them is in the tests of `protocol`.
const HOSTILE: [(&str, &str); 7] = [
    ("empty lines", "\n"),
    ("empty lines, lone CR", "\r"),
    ("time stamps alone", "2026-01-02T03:04:05+00:00 \r\n"),
    ("uncommon time stamps", "2026-01-02T03:04:05.123Z x\n"),
    ("separators", "@@##@#@@@@#\n"),
    ("components without end", "2026-01-02T03:04:05+00:00 R: @@P@@e@@r@@d@@i@@c\n@@\n"),
    ("one line", "x"),
];

const DIRECTIVES: [(&str, &str, &str); 3] = [
    ("Common", "hasPolicyServer-root", "common-root"),
    ("Inventory", "inventory-all", "inventory-all"),
    ("Service settings", "32377fd7-02fd-43d0-aab7-28460a91347b", "dbdce7bc-2c5b-4ff6-9c7f-0a1d6c3e8f52"),
];
