// SPDX-License-Identifier: Apache-2.0
//! A run log as the previous daemon reads it (protocol 3), without anything of relayd's parser.

/// What a run log becomes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    pub node: String,
    /// `YYYY-MM-DD HH:MM:SS`, UTC.
    pub start: String,
    pub config_id: String,
    pub rows: Vec<Row>,
}

/// A row of `ruddersysevents`, without its id.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Row {
    pub executed: String,
    pub node: String,
    pub directive: String,
    pub rule: String,
    pub report: String,
    pub component: String,
    pub key_value: String,
    pub start: String,
    pub event_type: String,
    pub policy: String,
    pub message: String,
}

/// Those of protocol 3.4 that cf-agent says here.
const TAGS: [(&str, &str); 5] = [
    ("   error", "log_warn"),
    (" warning", "log_warn"),
    ("  notice", "log_info"),
    ("    info", "log_info"),
    ("R:", "log_info"),
];

/// Reads a complete run log.
pub fn parse(text: &str) -> Run {
    let mut rows: Vec<Row> = Vec::new();
    let mut logs: Vec<Row> = Vec::new();
    let mut in_log = false;
    for line in text.lines() {
        let (stamp, said) = line.split_at(25);
        let (executed, said) = (time(stamp), &said[1..]);
        if let Some(report) = said.strip_prefix("R: @@") {
            let row = report_of(executed, report);
            // Log lines take everything from the report that comes after them, but what they are and say.
            rows.extend(logs.drain(..).map(|log| Row {
                executed: log.executed,
                event_type: log.event_type,
                message: log.message,
                ..row.clone()
            }));
            rows.push(row);
            in_log = false;
        } else if let Some((rest, event_type)) =
            TAGS.iter().find_map(|(tag, event_type)| Some((said.strip_prefix(tag)?, event_type)))
        {
            let message = rest.strip_prefix(':').unwrap_or(rest).trim_start_matches(' ').to_owned();
            logs.push(Row { executed, event_type: (*event_type).to_owned(), message, ..Row::default() });
            in_log = true;
        } else {
            let last = if in_log { logs.last_mut() } else { rows.last_mut() };
            let last = last.expect("a run log begins with a report or a log line");
            last.message += "\n";
            last.message += said;
        }
    }
    let first = rows.first().expect("a run log has reports");
    let config_id =
        &rows.iter().find(|row| row.event_type == "control").expect("a complete run log").key_value;
    Run { node: first.node.clone(), start: first.start.clone(), config_id: config_id.clone(), rows }
}

fn report_of(executed: String, report: &str) -> Row {
    let fields: Vec<_> = report.splitn(8, "@@").map(str::to_owned).collect();
    let [policy, event_type, rule, directive, report, component, key_value, rest] =
        <[String; 8]>::try_from(fields).expect("eight fields");
    let (start, rest) = rest.split_once("##").expect("a start");
    let (node, message) = rest.split_once("@#").expect("a node id");
    let (start, node, message) = (time(start), node.to_owned(), message.to_owned());
    Row { executed, node, directive, rule, report, component, key_value, start, event_type, policy, message }
}

/// Everything here is in UTC and whole seconds.
fn time(text: &str) -> String {
    assert!(text.ends_with("+00:00"), "{text}");
    text[..19].replace('T', " ")
}
