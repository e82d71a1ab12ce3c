// SPDX-License-Identifier: Apache-2.0
//! Questions about the fleet from the command line.

use relayd::config::DatabaseUrl;

use crate::hours::Hours;

/// The program itself, whether the daemon runs or not.
pub fn commands_say_the_same(url: &DatabaseUrl, hours: &Hours) {
    let directory = tempfile::tempdir().unwrap();
    let url = match url {
        DatabaseUrl::Postgres(url) => url.clone(),
        DatabaseUrl::Sqlite(path) => format!("sqlite:{}", path.display()),
    };
    let main = format!(
        "[general]\nnode_id = \"root\"\n[processing.reporting]\noutput = \"database\"\n\
         [output.database]\nurl = \"{url}\"\n"
    );
    std::fs::write(directory.path().join("main.conf"), main).unwrap();
    let run = |arguments: &[&str]| {
        let mut relayd = std::process::Command::new(env!("CARGO_BIN_EXE_relayd"));
        let output = relayd.arg("-c").arg(directory.path()).args(arguments).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    };
    let said = |arguments: &[&str]| {
        let (code, out, err) = run(arguments);
        assert_eq!((code, err.as_str()), (0, ""), "{arguments:?}: {out}");
        out
    };
    let summary = said(&["compliance"]);
    assert!(summary.contains("nodes       3: 0 compliant, 1 failing, 2 without answer\n"), "{summary}");
    assert!(summary.contains("results     4: 1 error, 1 audit_compliant, 2 no_answer\n"), "{summary}");
    let json: serde_json::Value =
        serde_json::from_str(&said(&["compliance", "--at", "90m", "--json"])).unwrap();
    assert_eq!((&json["compliance"], &json["nodes"]["compliant"]), (&100.0.into(), &2.into()));
    let failing = said(&["compliance", "failing", "--node", "N0.example.org"]);
    let lines: Vec<_> = failing.lines().map(str::trim).collect();
    let expected =
        ["log_info: looking at /etc/x", "log_warn: cannot write", "log_warn: no room left", "it is wrong"];
    assert!(lines[0].starts_with("NODE") && lines[1].starts_with("n0.example.org  error"), "{failing}");
    assert_eq!(lines[2..], expected, "{failing}");
    let rules = said(&["compliance", "--by", "rule", "--csv", "--status", "failing"]);
    assert_eq!(rules.lines().nth(1), Some("r1,,,,2,0.00,0,0,1,0,0,0,0,0,1"), "{rules}");
    let changes = said(&["compliance", "changes", "--from", "90m", "--by", "component"]);
    assert!(changes.contains("success → error  r1"), "{changes}");
    let timeline = said(&["compliance", "timeline", "n0.example.org"]);
    assert_eq!(timeline.lines().count(), 4, "{timeline}");
    let nodes = said(&["nodes", "--status", "no_answer"]);
    assert!(nodes.ends_with("2 nodes\n") && nodes.contains("n1.example.org"), "{nodes}");
    assert!(said(&["nodes", "show", "n0"]).contains("status       failing, 50.00 %\n"));
    for (lines, arguments) in [
        (6, &["runs", "--node", "n1", "--limit", "5"][..]),
        (21, &["runs", "--csv"]),
        (20, &["runs", "--json"]),
        // All of the last node is read, and not all of it is printed.
        (2, &["compliance", "changes", "--from", "3h", "--node", "n0", "--limit", "1"]),
        (2, &["compliance", "changes", "--from", "3h", "--by", "component", "--limit", "1"]),
    ] {
        let (code, out, err) = run(arguments);
        assert_eq!((code, err.as_str()), (0, "… and more; see --limit\n"), "{arguments:?}: {out}");
        assert_eq!(out.lines().count(), lines, "{arguments:?}: {out}");
    }
    assert_eq!(said(&["runs", "--csv", "--limit", "1000"]).lines().count(), 38);
    let text = said(&["runs", "show", "n0", &hours.shown(0), "--text"]);
    assert!(text.lines().count() == 4 && text.starts_with("R: @@Common@@control@@"), "{text}");
    assert!(said(&["runs", "show", "n0"]).contains("    log_warn: no room left\n    it is wrong\n"));
    assert!(said(&["compliance", "rebuild"]).starts_with("built from 37 runs of 2 nodes"));
    assert_eq!(said(&["compliance", "timeline", "n0.example.org"]), timeline);
    for (code, arguments) in [
        (4, &["nodes", "show", "nobody"][..]),
        (4, &["runs", "show", "n2"]),
        (2, &["compliance", "--status", "failing"]),
        (2, &["compliance", "--at", "tomorrow"]),
        (2, &["compliance", "--csv"]),
        (2, &["compliance", "changes"]),
        (2, &["compliance", "--at", "2020-01-01"]),
        (2, &["compliance", "failing", "--at", "2020-01-01"]),
        (2, &["compliance", "timeline", "n0", "--from", "1h", "--to", "2h"]),
        (2, &["runs", "--from", "1h", "--to", "2h"]),
        (2, &["inventory", "show", "n0", "--section", "bogus"]),
        (4, &["compliance", "failing", "--rule", "nosuch"]),
        (4, &["inventory", "show", "n0"]),
    ] {
        let (seen, out, err) = run(arguments);
        assert!(seen == code && out.is_empty() && !err.is_empty(), "{arguments:?}: {seen} {out} {err}");
    }
}
