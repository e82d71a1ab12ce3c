// SPDX-License-Identifier: Apache-2.0
//! Alert rules, dashboard and documentation against the metrics that a running root and a running relay export.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use chrono::Utc;
use serde_json::{Value, json};
use tests::{
    Result,
    client::{connector, once, upload_all},
    http,
    identity::Keys,
    realm::Realm,
    server::Server,
    simulated::Run,
    site::{spool_old, wait_drained},
    wait,
};

const PATIENCE: Duration = Duration::from_secs(25);

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn packaged(file: &str) -> Result<String> {
    let file = workspace().join("packaging").join(file);
    fs::read_to_string(&file).map_err(|e| format!("{}: {e}", file.display()).into())
}

/// Runs promtool; `None` where there is none, after saying so. In CI that is an error.
fn promtool(arguments: &[&str], input: &str) -> Result<Option<(bool, String)>> {
    let mut child = Command::new(workspace().join("tests/promtool"))
        .args(arguments)
        .current_dir(workspace().join("packaging/prometheus"))
        .env("PROMTOOL_DIRECTORY", std::env::current_exe()?.parent().ok_or("no directory")?)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    // Read while it runs: it says little before it has read all.
    child.stdin.take().ok_or("no input")?.write_all(input.as_bytes())?;
    let output = child.wait_with_output()?;
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    match output.status.code() {
        Some(3) if !said.contains("suffix") && std::env::var_os("CI").is_none() => {
            eprintln!("skipped: {said}");
            Ok(None)
        }
        _ => Ok(Some((output.status.success(), said))),
    }
}

/// Metrics by family, with the values of each label; what a server says of itself.
#[derive(Debug, Default)]
struct Exported {
    families: BTreeMap<String, Family>,
    text: String,
}

#[derive(Debug, Default)]
struct Family {
    kind: String,
    labels: BTreeMap<String, BTreeSet<String>>,
}

impl Exported {
    fn of(server: &Server) -> Result<Self> {
        let mut all = Self { text: server.metrics()?, ..Self::default() };
        let text = all.text.clone();
        for line in text.lines() {
            if let Some(kind) = line.strip_prefix("# TYPE ") {
                let (name, kind) = kind.split_once(' ').ok_or("odd TYPE")?;
                all.families.entry(name.to_owned()).or_default().kind = kind.to_owned();
            } else if !line.starts_with('#') {
                let (name, rest) = line.split_at(line.find(['{', ' ']).ok_or("odd line")?);
                let name = all.family_of(name).ok_or_else(|| format!("no TYPE of {name}"))?;
                let family = all.families.entry(name).or_default();
                for (label, value) in labels(rest) {
                    family.labels.entry(label).or_default().insert(value);
                }
            }
        }
        Ok(all)
    }

    /// The family of a series: for those of a histogram the name without its end.
    fn family_of(&self, series: &str) -> Option<String> {
        let ends = ["_bucket", "_sum", "_count"].iter().filter_map(|end| series.strip_suffix(end));
        let of_histogram = |name: &&str| self.families.get(*name).is_some_and(|f| f.kind == "histogram");
        ends.filter(|name| of_histogram(name))
            .chain([series].into_iter().filter(|name| self.families.contains_key(*name)))
            .next()
            .map(str::to_owned)
    }
}

/// Labels with plain values, as in `{a="b",c="d"}`; other matchers are passed over.
fn labels(text: &str) -> Vec<(String, String)> {
    let Some(inner) = text.strip_prefix('{').and_then(|rest| rest.split_once('}')) else { return vec![] };
    let pairs = inner.0.split("\",").filter_map(|pair| pair.trim().split_once("=\""));
    pairs.map(|(label, value)| (label.to_owned(), value.trim_end_matches('"').to_owned())).collect()
}

/// Each metric of ours, or of the process, that an expression names, with what follows.
fn named(expression: &str) -> Vec<(&str, &str)> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let mut found = vec![];
    let mut rest = expression;
    while let Some(start) = rest.find(is_name) {
        let end = rest[start..].find(|c| !is_name(c)).map_or(rest.len(), |end| start + end);
        let word = &rest[start..end];
        // `relayd_gateway_…` in a text is about a family of them.
        if !word.ends_with('_')
            && ["relayd_", "rudder_relayd_", "process_"].iter().any(|ours| word.starts_with(ours))
        {
            found.push((word, &rest[end..]));
        }
        rest = &rest[end..];
    }
    found
}

/// Labels that Prometheus sets, or the dashboard.
const OUTSIDE: [&str; 2] = ["job", "instance"];

/// That every metric of an expression is exported, with these labels and values.
fn check(place: &str, expression: &str, servers: &[&Exported]) -> Vec<String> {
    let mut wrong = vec![];
    for (name, rest) in named(expression) {
        for server in servers {
            let Some(family) = server.family_of(name).and_then(|name| server.families.get(&name)) else {
                wrong.push(format!("{place}: {name} is not exported"));
                continue;
            };
            for (label, value) in labels(rest).into_iter().filter(|(label, _)| !OUTSIDE.contains(&&**label)) {
                // The matchers != and =~ leave their sign at the label.
                let Some(label) = label.strip_suffix(['!', '=']).is_none().then_some(&label) else {
                    continue;
                };
                if !family.labels.get(label).is_some_and(|values| values.contains(&value)) {
                    wrong.push(format!("{place}: {name} has no {label}={value:?}: {:?}", family.labels));
                }
            }
        }
    }
    wrong
}

/// The groups of the alert rules, by name, with their text.
fn groups(rules: &str) -> Vec<(&str, &str)> {
    rules.split("\n  - name: ").skip(1).filter_map(|group| group.split_once('\n')).collect()
}

/// The expressions of a group of alert rules, by alert.
fn alerts(group: &str) -> Vec<(&str, String)> {
    let rules = group.split("- alert: ").skip(1);
    rules
        .filter_map(|rule| {
            let (name, rest) = rule.split_once('\n')?;
            let (_, rest) = rest.split_once("expr: ")?;
            let end =
                ["\n        for:", "\n        labels:"].iter().filter_map(|end| rest.find(end)).min()?;
            Some((name, rest[..end].trim_start_matches('|').to_owned()))
        })
        .collect()
}

/// The expressions of the dashboard: row, panel, expression.
fn panels(dashboard: &Value) -> Vec<(String, String, String)> {
    let mut row = String::new();
    let mut found = vec![];
    for panel in dashboard["panels"].as_array().into_iter().flatten() {
        let title = panel["title"].as_str().unwrap_or_default().to_owned();
        if panel["type"] == "row" {
            row = title;
            continue;
        }
        for target in panel["targets"].as_array().into_iter().flatten() {
            found.push((row.clone(), title.clone(), target["expr"].as_str().unwrap_or_default().to_owned()));
        }
    }
    found
}

/// Metrics whose names existing daemons have set (protocol 7.7): they say "total" and count nothing.
const COMPATIBLE: [&str; 2] = ["rudder_relayd_managed_nodes_total", "rudder_relayd_sub_nodes_total"];

#[test]
fn what_is_not_exported_is_told() {
    let mut server = Exported::default();
    let labels = BTreeMap::from([("status".to_owned(), BTreeSet::from(["ok".to_owned()]))]);
    server.families.insert("relayd_a".into(), Family { kind: "histogram".into(), labels });
    let wrong = |expression| check("here", expression, &[&server]).len();
    assert_eq!(wrong("sum by (le) (rate(relayd_a_bucket{status=\"ok\", instance=\"x\"}[5m])) / up"), 0);
    assert_eq!(wrong("relayd_a{status!=\"ok\"} or relayd_a{status=~\"o.*\"}"), 0);
    assert_eq!(wrong("relayd_a_bucket / relayd_b"), 1);
    assert_eq!(wrong("relayd_a{status=\"error\"} + process_c"), 2);
    let rules = "groups:\n  - name: one\n    rules:\n      - alert: A\n        expr: |\n          relayd_a\n        for: 1m\n";
    let found: Vec<_> = groups(rules).into_iter().flat_map(|(_, text)| alerts(text)).collect();
    assert_eq!(found.iter().map(|(name, e)| (*name, e.trim())).collect::<Vec<_>>(), [("A", "relayd_a")]);
}

#[test]
fn rules_dashboard_and_documentation_are_about_what_is_exported() -> Result<()> {
    let mut realm = Realm::prepare()?;
    let advisories = realm.root.directory().join("advisories.csv");
    fs::write(&advisories, "advisory,package\nA-1,openssl\n")?;
    realm.root.set("processing.inventory.advisories", format!("{:?}", advisories.display().to_string()));
    realm.root.start()?;
    let mut relay = realm.relay(&realm.root)?;
    let machine = realm.machine(&relay, Keys::P256)?;
    let run = Run::new(machine.node_id.clone(), Utc::now(), 5).pack(&machine)?;
    assert_eq!(upload_all(relay.gateway(), &machine, relay.key_hash(), &[run])?, [201]);
    wait_drained(&mut relay, PATIENCE)?;
    let stored = "rudder_relayd_reports_total{status=\"ok\"}";
    wait::until_true("the run log at the root", PATIENCE, || Ok(realm.root.metric(stored)? == Some(1.0)))?;
    // A refusal on each, and policies through the cache.
    for server in [&realm.root, &relay] {
        spool_old(&server.incoming(), "2026-01-01T00:00:00+00:00@nobody.log", b"no run log")?;
        http::get(server.api(), "/rudder/relay-api/1/system/info")?;
    }
    let connector = connector(&machine, relay.key_hash())?;
    let path = format!("/policies/{}/rules/x", machine.node_id);
    assert_eq!(once(relay.gateway(), &connector, hyper::Method::GET, &path, &[], "")?.status, 404);

    let (root, relay) = (Exported::of(&realm.root)?, Exported::of(&relay)?);
    let of_role = |role: &str| match role {
        "relayd-root" | "Root" => vec![&root],
        "relayd-relay" | "Relays" => vec![&relay],
        _ => vec![&root, &relay],
    };
    let mut wrong = vec![];
    let rules = packaged("prometheus/alerts.yml")?;
    let mut count = 0;
    for (group, text) in groups(&rules) {
        for (alert, expression) in alerts(text) {
            assert!(named(&expression).len() + usize::from(expression.contains("up{")) > 0, "{alert}");
            wrong.extend(check(alert, &expression, &of_role(group)));
            count += 1;
        }
    }
    assert_eq!(count, rules.matches("- alert:").count(), "an alert was not looked at");
    let dashboard: Value = serde_json::from_str(&packaged("grafana/relayd.json")?)?;
    let panels = panels(&dashboard);
    assert!(panels.len() > 40, "{}", panels.len());
    for (row, panel, expression) in &panels {
        assert!(!named(expression).is_empty(), "{panel}");
        wrong.extend(check(panel, expression, &of_role(row)));
    }

    let documented = fs::read_to_string(workspace().join("docs/monitoring.md"))?;
    let documented: BTreeSet<_> = named(&documented).into_iter().map(|(name, _)| name).collect();
    let exported: BTreeSet<_> =
        root.families.keys().chain(relay.families.keys()).map(String::as_str).collect();
    let missing = exported.iter().filter(|name| !documented.contains(**name));
    wrong.extend(missing.map(|name| format!("docs/monitoring.md does not mention {name}")));
    let gone = documented.iter().filter(|name| [&root, &relay].iter().all(|s| s.family_of(name).is_none()));
    wrong.extend(gone.map(|name| format!("docs/monitoring.md mentions {name}, which is not exported")));
    assert!(wrong.is_empty(), "{wrong:#?}");

    for server in [&root, &relay] {
        let Some((_, said)) = promtool(&["check", "metrics"], &server.text)? else { return Ok(()) };
        let complaints: Vec<_> = said
            .lines()
            .filter(|line| !line.is_empty() && !COMPATIBLE.iter().any(|name| line.starts_with(name)))
            .collect();
        assert_eq!(complaints, Vec::<&str>::new());
    }
    Ok(())
}

#[test]
fn promtool_has_nothing_against_rules_and_dashboard() -> Result<()> {
    for arguments in [["check", "rules", "alerts.yml"], ["test", "rules", "alerts_test.yml"]] {
        let Some((good, said)) = promtool(&arguments, "")? else { return Ok(()) };
        assert!(good && said.contains("SUCCESS"), "{said}");
    }
    // The dashboard's expressions, as rules; JSON is YAML.
    let dashboard: Value = serde_json::from_str(&packaged("grafana/relayd.json")?)?;
    let rules: Vec<_> = panels(&dashboard)
        .into_iter()
        .enumerate()
        .map(|(number, (_, panel, expression))| {
            let expression = expression.replace("$__rate_interval", "5m");
            json!({"record": format!("panel:{number}"), "expr": expression, "labels": {"panel": panel}})
        })
        .collect();
    let file = tempfile::Builder::new().suffix(".yml").tempfile()?;
    fs::write(&file, json!({"groups": [{"name": "dashboard", "rules": rules}]}).to_string())?;
    let path = file.path().display().to_string();
    let Some((good, said)) = promtool(&["check", "rules", &path], "")? else { return Ok(()) };
    assert!(good, "{said}");
    assert!(said.contains(&format!("{} rules found", rules.len())), "{said}");
    Ok(())
}
