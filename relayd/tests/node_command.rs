// SPDX-License-Identifier: Apache-2.0
//! `relayd node` and `relayd token`: the program on a registry in SQLite and in PostgreSQL.

mod common;
mod support;

use std::{fs, process::Stdio};

use common::cluster;
use protocol::hash::KeyHash;
use relayd::{config::DatabaseUrl, db::Connection};
use serde_json::Value;
use support::{idle_server, stdout};

struct Root {
    directory: tempfile::TempDir,
    database: DatabaseUrl,
}

/// What a command said.
struct Said {
    code: i32,
    out: String,
    err: String,
}

impl Root {
    /// A root with these nodes in SQLite: id, host name, state, role, policy server.
    fn new(nodes: &[[&str; 5]]) -> Self {
        let directory = idle_server("");
        let file = directory.path().join("relayd.db");
        Self::with(directory, DatabaseUrl::Sqlite(file), nodes)
    }

    /// The same in PostgreSQL.
    fn on_postgres(nodes: &[[&str; 5]]) -> Self {
        let cluster = cluster::shared();
        let url = cluster.url("postgres", &cluster.create_database());
        Self::with(idle_server(""), DatabaseUrl::Postgres(url), nodes)
    }

    fn with(directory: tempfile::TempDir, database: DatabaseUrl, nodes: &[[&str; 5]]) -> Self {
        let main = directory.path().join("main.conf");
        let url = match &database {
            DatabaseUrl::Postgres(url) => url.clone(),
            DatabaseUrl::Sqlite(path) => format!("sqlite:{}", path.display()),
        };
        let more = format!("[nodes]\nsource = \"database\"\n[output.database]\nurl = \"{url}\"\n");
        fs::write(&main, fs::read_to_string(&main).unwrap() + &more).unwrap();
        stdout(&["-c", directory.path().to_str().unwrap(), "database", "migrate"]);
        let root = Self { directory, database };
        let sql: String = nodes.iter().map(insert).collect();
        root.sql(&format!("BEGIN; {sql} COMMIT"));
        root
    }

    fn sql(&self, sql: &str) {
        Connection::open(&self.database).unwrap().execute(sql).unwrap();
    }

    fn run(&self, args: &[&str]) -> Said {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_relayd"))
            .arg("-c")
            .arg(self.directory.path())
            .args(args)
            .stdin(Stdio::null())
            .env("SUDO_USER", "alice")
            .output()
            .unwrap();
        Said {
            code: output.status.code().unwrap(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    fn says(&self, args: &[&str]) -> String {
        let said = self.run(args);
        assert_eq!(said.code, 0, "{args:?}: {}{}", said.out, said.err);
        said.out
    }

    fn node(&self, node: &str) -> Value {
        serde_json::from_str(&self.says(&["node", "show", "--json", node])).unwrap()
    }

    fn state(&self, node: &str) -> String {
        self.node(node)["state"].as_str().unwrap().to_owned()
    }

    /// Host names that a list has.
    fn listed(&self, filter: &[&str]) -> Vec<String> {
        let said = self.run(&[&["node", "list", "--json"], filter].concat());
        assert_eq!(said.code, 0, "{}", said.err);
        let lines = said.out.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines.map(|node| node["hostname"].as_str().unwrap().to_owned()).collect()
    }
}

fn fingerprint(node: &str) -> String {
    KeyHash::sha256_of(node.as_bytes()).to_string()
}

fn insert([id, host, state, role, server]: &[&str; 5]) -> String {
    let key = fingerprint(id);
    format!(
        "INSERT INTO node (nodeid, hostname, state, role, policy_server, requested, version) \
         VALUES ('{id}', '{host}', '{state}', '{role}', '{server}', 1700000000, 1); \
         INSERT INTO node_key (nodeid, key_hash, added) VALUES ('{id}', '{key}', 1700000000);"
    )
}

const WEB1: &str = "11111111-aaaa-4000-8000-000000000001";
const WEB2: &str = "11111111-bbbb-4000-8000-000000000002";
const DB1: &str = "22222222-aaaa-4000-8000-000000000003";
const RELAY: &str = "33333333-aaaa-4000-8000-000000000004";
const BELOW: &str = "44444444-aaaa-4000-8000-000000000005";

const FLEET: [[&str; 5]; 5] = [
    [WEB1, "web1.example.org", "pending", "node", "root"],
    [WEB2, "web2.example.org", "pending", "node", "root"],
    [DB1, "db1.example.org", "accepted", "node", "root"],
    [RELAY, "relay.example.org", "pending", "relay", "root"],
    [BELOW, "below.example.org", "accepted", "node", RELAY],
];

fn fleet() -> Root {
    Root::new(&FLEET)
}

/// The same in either database.
fn fleets() -> [Root; 2] {
    [fleet(), Root::on_postgres(&FLEET)]
}

#[test]
fn nodes_are_found_by_what_they_have_in_common() {
    for root in fleets() {
        let all = ["below", "db1", "relay", "web1", "web2"].map(|name| format!("{name}.example.org"));
        assert_eq!(root.listed(&[]), all);
        for (filter, expected) in [
            (&["--state", "pending"][..], &["relay", "web1", "web2"][..]),
            (&["--name", "WEB*", "--state", "pending"], &["web1", "web2"]),
            (&["--relay", "relay.example.org"], &["below"]),
            (&["--below", "root"], &["below", "db1", "relay", "web1", "web2"]),
            (&["--silent-for", "2d", "--state", "accepted"], &["below", "db1"]),
            (&["--conflicts"], &[]),
            (&["--state", "revoked"], &[]),
        ] {
            let expected: Vec<_> = expected.iter().map(|name| format!("{name}.example.org")).collect();
            assert_eq!(root.listed(filter), expected, "{filter:?}");
        }
        let table = root.says(&["node", "list"]);
        let row = table.lines().find(|line| line.contains("db1.example.org")).unwrap();
        assert!(row.starts_with(DB1) && row.contains("accepted") && row.contains(&fingerprint(DB1)), "{row}");
        assert!(table.ends_with("5 nodes\n"), "{table}");
        assert_eq!(root.says(&["node", "list", "--name", "nobody"]), "0 nodes\n");
    }
}

#[test]
fn a_node_is_named_by_id_start_or_host_name_and_never_guessed() {
    for root in fleets() {
        for name in [DB1, "22222222", "DB1.example.org"] {
            assert_eq!(root.node(name)["node_id"], DB1);
        }
        for (name, why) in [("nobody", "no node"), ("2222222", "no node"), ("11111111", "may be any of")] {
            let said = root.run(&["node", "show", name]);
            assert!(said.code == 4 && said.err.contains(why), "{name}: {} {}", said.code, said.err);
        }
        let text = root.says(&["node", "show", "db1.example.org"]);
        assert!(text.contains(&format!("fingerprint  {}", fingerprint(DB1))), "{text}");

        // Where it asked from and when it was last seen are two things.
        root.sql(&format!(
            "UPDATE node SET address = '192.0.2.7', last_contact = NULL WHERE nodeid = '{DB1}'"
        ));
        let line = |start: &str| {
            let text = root.says(&["node", "show", DB1]);
            text.lines().find(|line| line.starts_with(start)).unwrap_or_else(|| panic!("{text}")).to_owned()
        };
        assert!(line("first asked  ").ends_with(" from 192.0.2.7"), "{}", line("first asked  "));
        assert_eq!(line("last seen "), "last seen    never");
        root.sql(&format!("UPDATE node SET last_contact = 1700000000 WHERE nodeid = '{DB1}'"));
        let seen = line("last seen ");
        assert!(seen.starts_with("last seen    2023-11-14") && !seen.contains("from"), "{seen}");
    }
}

#[test]
fn a_machine_that_names_itself_like_another_is_not_taken_for_it() {
    for root in fleets() {
        // An id like a host name, a host name like an id and like the start of one.
        root.sql(&insert(&["web1.example.org", "evil.example.org", "pending", "node", "root"]));
        root.sql(&insert(&["evil-2", &WEB2.to_uppercase(), "pending", "node", "root"]));
        root.sql(&insert(&["evil-3", "22222222", "pending", "node", "root"]));
        root.sql(&insert(&[&format!("{BELOW}-evil"), "x.example.org", "pending", "node", "root"]));
        for (name, meant) in [("web1.example.org", WEB1), (WEB2, WEB2), ("22222222", DB1), (BELOW, BELOW)] {
            let said = root.run(&["node", "accept", name]);
            assert_eq!(said.code, 4, "{name}: {}", said.out);
            assert!(
                said.err.contains("may be any of") && said.err.contains(&format!("id:{meant}")),
                "{}",
                said.err
            );
            assert_eq!(root.node(&format!("id:{meant}"))["node_id"], meant);
        }
        let said = root.says(&["node", "accept", &format!("id:{WEB2}")]);
        assert_eq!(said, format!("accepted  {WEB2}  {}  web2.example.org\n1 accepted\n", fingerprint(WEB2)));
        assert_eq!(root.run(&["node", "show", "id:22222222"]).code, 4, "a whole id");
    }
}

#[test]
fn states_follow_what_the_operator_says() {
    for root in fleets() {
        let said = root.says(&["node", "accept", "web1.example.org", "--fingerprint", &fingerprint(WEB1)]);
        assert_eq!(said, format!("accepted  {WEB1}  {}  web1.example.org\n1 accepted\n", fingerprint(WEB1)));
        let node = root.node(WEB1);
        assert!(node["state"] == "accepted" && node["decided_by"] == "alice", "{node}");
        assert_eq!(root.says(&["node", "accept", WEB1]), "0 accepted, 1 were so already\n");
        let other = root.run(&["node", "accept", WEB2, "--fingerprint", &fingerprint(WEB1)]);
        assert!(other.code == 1 && other.err.contains(&fingerprint(WEB2)), "{}", other.err);
        assert_eq!(root.state(WEB2), "pending");

        root.says(&["node", "reject", WEB2]);
        assert_eq!(root.state(WEB2), "rejected");
        root.says(&["node", "accept", WEB2]);
        root.says(&["node", "revoke", WEB1, WEB2, WEB1]);
        assert_eq!((root.state(WEB1), root.state(WEB2)), ("revoked".into(), "revoked".into()));
        assert_eq!(root.run(&["node", "reject", WEB1]).code, 1);
        root.says(&["node", "accept", WEB1]);
        root.says(&["node", "delete", WEB2]);
        assert_eq!(root.run(&["node", "show", WEB2]).code, 4);
        // One name that is wrong, and nothing is done to the others.
        assert_eq!(root.run(&["node", "revoke", WEB1, "nobody"]).code, 4);
        assert_eq!(root.state(WEB1), "accepted");
    }
}

#[test]
fn relays_need_to_be_accepted_as_such_and_nodes_move_below_them() {
    for root in fleets() {
        let said = root.run(&["node", "accept", RELAY]);
        assert!(said.code == 1 && said.err.contains("--relay"), "{}", said.err);
        let move_to = ["node", "move", DB1, "--to", "relay.example.org"];
        assert_ne!(root.run(&move_to).code, 0, "it is no relay yet");
        root.says(&["node", "accept", RELAY, "--relay"]);
        root.says(&move_to);
        assert_eq!(root.node(DB1)["policy_server"], RELAY);
        let text = root.says(&["node", "show", DB1]);
        assert!(text.contains(&format!("connects to  {RELAY}  (relay.example.org)\n")), "{text}");
        assert_eq!(root.run(&["node", "delete", RELAY]).code, 1, "there are nodes below it");
        let said = root.says(&["node", "move", "--relay", RELAY, "--to", "root", "--yes"]);
        assert!(said.ends_with("\n2 moved\n"), "{said}");
        assert_eq!(root.node(DB1)["policy_server"], "root");
        // Relays are made one by one.
        assert_eq!(root.run(&["node", "accept", "--all-pending", "--relay", "--yes"]).code, 2);
    }
}

#[test]
fn filters_do_nothing_before_somebody_said_yes() {
    let root = fleet();
    let said = root.run(&["node", "accept", "--name", "web*"]);
    assert!(
        said.code == 2 && said.err.contains("2 nodes chosen") && said.err.contains("--yes"),
        "{}",
        said.err
    );
    assert_eq!(root.state(WEB1), "pending");
    let said = root.says(&["node", "accept", "--name", "web*", "--yes"]);
    assert!(said.contains(&fingerprint(WEB2)) && said.ends_with("\n2 accepted\n"), "{said}");
    let said = root.run(&["node", "accept", "--name", "web*", "--yes"]);
    assert_eq!(said.code, 4, "filters are about those that wait: {}", said.out);
    assert_eq!(root.run(&["node", "revoke"]).code, 2);
    assert_eq!(root.run(&["node", "revoke", WEB1, "--name", "web*"]).code, 2);
    assert!(root.says(&["node", "revoke", "--name", "web*", "--yes"]).ends_with("\n2 revoked\n"));
    // The root is never among those that a filter chooses; by name it is refused.
    root.sql(&insert(&["root", "root.example.org", "accepted", "node", "root"]));
    assert_eq!(root.run(&["node", "revoke", "--name", "root*", "--yes"]).code, 4);
    let list = root.says(&["node", "list", "--name", "root*"]);
    assert!(list.contains("  accepted  root "), "{list}");
    assert!(root.says(&["node", "show", "root"]).contains("\nrole         root\n"));
    let said = root.run(&["node", "revoke", "root"]);
    assert!(said.code == 1 && said.err.contains("this root"), "{}", said.err);
    let said = root.run(&["node", "accept", "--all-pending", "--yes"]);
    assert!(said.code == 1 && said.out == "0 accepted, 1 refused\n", "{}{}", said.out, said.err);
}

#[test]
fn thousands_are_handled_with_word_about_progress() {
    let ids: Vec<String> = (0..2500).map(|n| format!("{n:08x}-0000-4000-8000-000000000000")).collect();
    let nodes: Vec<_> = ids.iter().map(|id| [id.as_str(), "many", "pending", "node", "root"]).collect();
    let root = Root::new(&nodes);
    let said = root.run(&["node", "accept", "--all-pending", "--yes"]);
    assert_eq!((said.code, &*said.out), (0, "2500 accepted\n"));
    assert_eq!(said.err, "1000 of 2500\n2000 of 2500\n2500 of 2500\n");
}

#[test]
fn conflicts_are_shown_until_they_are_resolved() {
    for root in fleets() {
        root.sql(&format!(
            "INSERT INTO node_conflict (nodeid, kind, key_hash, address, detail, first_seen, last_seen, count) \
             VALUES ('{DB1}', 'other_key', '{}', '192.0.2.7', 'another key\x1b[2J claims this id', 1700000000, \
             1700000100, 3)",
            fingerprint(WEB1)
        ));
        assert_eq!(root.listed(&["--conflicts"]), ["db1.example.org"]);
        assert!(root.says(&["node", "list"]).contains("db1.example.org  (1 conflict)"));
        let text = root.says(&["node", "show", DB1]);
        assert!(text.contains("other_key: another key") && text.contains("192.0.2.7"), "{text}");
        assert!(
            text.contains(&fingerprint(WEB1)) && text.contains("3 times") && !text.contains('\x1b'),
            "{text}"
        );
        root.says(&["node", "resolve", DB1]);
        assert!(root.listed(&["--conflicts"]).is_empty());
        assert!(root.says(&["node", "show", DB1]).contains("by alice"));
    }
}

#[test]
fn where_another_program_decides_the_setting_is_named() {
    let root = fleet();
    let main = root.directory.path().join("main.conf");
    let text = fs::read_to_string(&main).unwrap().replace("source = \"database\"", "source = \"files\"")
        + "[processing.reporting]\noutput = \"database\"\n";
    fs::write(&main, text).unwrap();
    assert_eq!(root.listed(&["--state", "accepted"]).len(), 2);
    for args in [&["node", "accept", WEB1][..], &["token", "create", "--host", "a"]] {
        let said = root.run(args);
        assert!(said.code == 2 && said.err.contains("nodes.source = \"files\""), "{}", said.err);
    }
}

#[test]
fn a_server_without_database_gets_none_by_being_asked() {
    let root = fleet();
    let main = root.directory.path().join("main.conf");
    let text = fs::read_to_string(&main).unwrap().replace("source = \"database\"", "source = \"files\"")
        + "[processing.reporting]\noutput = \"disabled\"\n";
    fs::write(&main, text).unwrap();
    fs::remove_file(root.directory.path().join("relayd.db")).unwrap();
    let said = root.run(&["node", "list"]);
    assert!(said.code == 2 && said.err.contains("nodes_list_file"), "{}", said.err);
    assert!(!root.directory.path().join("relayd.db").exists());
}

#[test]
fn tokens_are_shown_once_and_kept_as_digests() {
    for root in fleets() {
        let create = ["token", "create", "--host", "web{n}.example.org", "--count", "3", "--expires", "1h"];
        let made = root.run(&create);
        assert_eq!(made.code, 0, "{}", made.err);
        let tokens: Vec<_> = made.out.lines().map(|line| line.split_once('-').unwrap()).collect();
        assert_eq!(tokens.len(), 3);
        assert!(
            made.err.contains("web3.example.org") && made.err.ends_with("3 tokens made\n"),
            "{}",
            made.err
        );
        let list = root.says(&["token", "list", "--json"]) + &root.says(&["token", "list"]);
        let files: Vec<u8> = fs::read_dir(root.directory.path())
            .unwrap()
            .flat_map(|entry| fs::read(entry.unwrap().path()).unwrap_or_default())
            .collect();
        for (id, secret) in &tokens {
            assert!(list.contains(id) && made.err.contains(id));
            assert!(!list.contains(secret) && !made.err.contains(secret));
            assert!(!files.windows(secret.len()).any(|window| window == secret.as_bytes()));
        }
        let as_json = root.says(&["token", "create", "--host", "db1", "--json"]);
        let one: Value = serde_json::from_str(&as_json).unwrap();
        assert!(
            one["host"] == "db1" && one["token"].as_str().unwrap().starts_with(one["id"].as_str().unwrap())
        );

        let (id, _) = tokens[0];
        assert_eq!(root.says(&["token", "revoke", id]), format!("{id}  revoked\n"));
        assert!(root.says(&["token", "list", "--state", "revoked"]).contains(id));
        assert!(!root.says(&["token", "list", "--state", "usable"]).contains(id));
        assert_eq!(root.says(&["token", "list", "--state", "used"]), "0 tokens\n");
        assert_eq!(root.run(&["token", "revoke", "000000000000"]).code, 4);
        for bad in
            [&["--host", "a b"][..], &["--host", "a", "--expires", "0s"], &["--host", "a", "--count", "0"]]
        {
            assert_eq!(root.run(&[&["token", "create"], bad].concat()).code, 2, "{bad:?}");
        }
    }
}
