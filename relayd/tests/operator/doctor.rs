// SPDX-License-Identifier: Apache-2.0
//! Faults of an installation are injected one by one; each must be found, and nothing in a sound one.

use std::{
    fs::{self, File, Permissions},
    net::{Ipv4Addr, SocketAddr, TcpListener},
    os::unix::fs::PermissionsExt,
    process::Command,
    sync::atomic::{AtomicU8, Ordering},
    time::{Duration, SystemTime},
};

use protocol::private_key::{self, KeyKind};
use serde_json::Value;

use crate::{
    site::{Site, certificate_of},
    status::lonely_relay,
};

const SQLITE: &str = "[output.database]\nurl = \"sqlite:DIR/relayd.db\"\n";

fn sound(more: &str) -> Site {
    let site = Site::root(&format!("{SQLITE}{more}"));
    tidy(&site);
    site.run(&["database", "migrate"]);
    site
}

/// The modes that an installation has.
pub fn tidy(site: &Site) {
    for directory in ["", "etc", "reports/incoming", "reports/failed", "inventories/incoming", "shared-files"]
    {
        fs::set_permissions(site.at(directory), Permissions::from_mode(0o770)).unwrap();
    }
    fs::set_permissions(site.at("etc/main.conf"), Permissions::from_mode(0o640)).unwrap();
}

/// An address of this machine that no other test has, nor any client: a port that is free there stays so.
fn own_address() -> SocketAddr {
    static NUMBER: AtomicU8 = AtomicU8::new(1);
    let [.., high, low] = std::process::id().to_be_bytes();
    let address = Ipv4Addr::new(127, NUMBER.fetch_add(1, Ordering::Relaxed).clamp(1, 254), high, low);
    TcpListener::bind((address, 0)).unwrap().local_addr().unwrap()
}

/// A root with a gateway on a free port.
fn with_gateway() -> Site {
    let address = own_address();
    let site = sound(&format!(
        "[gateway]\nlisten = \"{address}\"\ncertificate = \"DIR/s.cert\"\nkey = \"DIR/s.key\"\n\
         high_water_percent = 100\n"
    ));
    let key = private_key::generate(KeyKind::P256).unwrap();
    fs::write(site.at("s.cert"), private_key::self_signed(&key, &"root".parse().unwrap()).unwrap().to_pem())
        .unwrap();
    fs::write(site.at("s.key"), key.private_key_to_pem_pkcs8().unwrap()).unwrap();
    fs::set_permissions(site.at("s.key"), Permissions::from_mode(0o600)).unwrap();
    site
}

pub fn errors(site: &Site, more: &[&str]) -> Vec<Value> {
    let said = site.run(&[&["doctor", "--json"], more].concat());
    let answer = said.json();
    let findings = answer["findings"].as_array().unwrap();
    let errors: Vec<_> = findings.iter().filter(|finding| finding["level"] == "error").cloned().collect();
    assert_eq!((said.code == 1, &answer["errors"]), (!errors.is_empty(), &errors.len().into()), "{answer:#}");
    for finding in findings.iter().filter(|finding| finding["level"] != "fine") {
        assert!(finding["place"].is_string() && finding["remedy"].is_string(), "{finding}");
    }
    errors
}

/// Exactly one error is found: by this check, at this place, and it says this.
fn finds(site: &Site, check: &str, place: &str, says: &str) {
    let errors = errors(site, &[]);
    assert!(
        errors.len() == 1
            && errors[0]["check"] == check
            && errors[0]["place"].as_str().unwrap().contains(place)
            && errors[0]["text"].as_str().unwrap().contains(says),
        "expected {check}: {place}: …{says}…, got {errors:#?}"
    );
}

#[test]
fn a_sound_installation_has_no_errors_whether_the_daemon_runs_or_not() {
    let mut site = with_gateway();
    assert_eq!(errors(&site, &[]), Vec::<Value>::new());
    site.start();
    assert_eq!(errors(&site, &[]), Vec::<Value>::new());
    let human = site.run(&["doctor"]);
    assert!(human.code == 0 && human.out.contains("\n0 errors, "), "{human:?}");
    assert!(human.out.contains("ok       ports"), "{}", human.out);
}

#[test]
fn mistakes_in_the_configuration_are_all_told_with_their_lines() {
    let site = sound("");
    let text = fs::read_to_string(site.at("etc/main.conf")).unwrap();
    fs::write(site.at("etc/main.conf"), format!("{text}[gateway]\nlistne = 1\n[triggers]\nwait = \"x\"\n"))
        .unwrap();
    fs::write(site.at("etc/logging.conf"), "[general]\nlevel = \"loud\"\n").unwrap();
    let errors = errors(&site, &[]);
    assert_eq!(errors.len(), 3, "{errors:#?}");
    assert!(errors.iter().all(|error| error["check"] == "configuration"));
    assert!(errors[0]["place"].as_str().unwrap().ends_with("logging.conf:2"), "{errors:#?}");
}

#[test]
fn permissions_of_the_user_of_the_daemon_and_of_others() {
    let site = with_gateway();
    fs::set_permissions(site.at("s.key"), Permissions::from_mode(0o644)).unwrap();
    finds(&site, "permissions", "s.key", "the key of the gateway has mode 0644");
    fs::set_permissions(site.at("s.key"), Permissions::from_mode(0o600)).unwrap();
    fs::set_permissions(site.at("reports/incoming"), Permissions::from_mode(0o777)).unwrap();
    finds(&site, "permissions", "reports/incoming", "every user of this machine may put files there");
    fs::set_permissions(site.at("reports/incoming"), Permissions::from_mode(0o770)).unwrap();
    fs::set_permissions(site.at("etc/main.conf"), Permissions::from_mode(0o644)).unwrap();
    finds(&site, "permissions", "main.conf", "the configuration, which may have passwords, has mode 0644");
    // Who may not even enter the directory.
    let errors = errors(&site, &["--user", "nobody"]);
    let denied =
        errors.iter().filter(|error| error["text"].as_str().unwrap().contains("nobody may not enter"));
    assert!(denied.count() >= 5, "{errors:#?}");
    let said = site.run(&["doctor", "--user", "no-such-user"]);
    assert!(said.out.contains("there is no user no-such-user"), "{}", said.out);
}

#[test]
fn ports_that_others_have_and_gateways_that_do_not_answer() {
    let mut site = with_gateway();
    let text = fs::read_to_string(site.at("etc/main.conf")).unwrap();
    let address = text.split("listen = \"127.").nth(1).unwrap().split('"').next().unwrap();
    let address = format!("127.{address}");
    let taken = TcpListener::bind(&address).unwrap();
    finds(&site, "ports", &address, "another program listens there");
    drop(taken);
    site.start();
    // Changed, and not restarted.
    let other = own_address().to_string();
    fs::write(site.at("etc/main.conf"), text.replace(&address, &other)).unwrap();
    finds(&site, "ports", &other, "the daemon runs, but nobody answers here");
}

#[test]
fn certificates_that_do_not_fit_are_damaged_or_missing() {
    let site = with_gateway();
    fs::write(site.at("s.cert"), certificate_of("root")).unwrap();
    finds(&site, "certificates", "s.cert", "does not belong to the key");
    fs::write(site.at("s.cert"), "no certificate").unwrap();
    finds(&site, "certificates", "s.cert", "");
    fs::remove_file(site.at("s.cert")).unwrap();
    finds(&site, "permissions", "s.cert", "is not there");
}

#[test]
fn a_database_without_tables_or_from_the_future() {
    let site = sound("migrate_at_start = false\n");
    site.sql("DELETE FROM __diesel_schema_migrations WHERE version = '0003'");
    finds(&site, "database", "relayd.db", "the database lacks 0003");
    site.sql("INSERT INTO __diesel_schema_migrations (version) VALUES ('0003'), ('9999')");
    finds(&site, "database", "relayd.db", "newer relayd");
}

#[test]
fn a_clock_that_is_behind_and_node_lists_that_are_none() {
    let site = sound("");
    let main = File::options().write(true).open(site.at("etc/main.conf")).unwrap();
    main.set_modified(SystemTime::now() + Duration::from_secs(7200)).unwrap();
    finds(&site, "time", "main.conf", "but now it is");
    main.set_modified(SystemTime::now()).unwrap();
    fs::write(site.at("nodeslist.json"), "[]").unwrap();
    finds(&site, "nodes", "nodeslist.json", "");
}

#[test]
fn an_uplink_that_nobody_answers() {
    let site = lonely_relay();
    let errors = errors(&site, &[]);
    let error =
        errors.iter().find(|error| error["check"] == "uplink").unwrap_or_else(|| panic!("{errors:#?}"));
    assert!(error["text"].as_str().unwrap().contains("cannot connect to 127.0.0.1"), "{error}");
}

/// In a mount namespace of its own.
#[test]
fn spools_on_two_file_systems_and_full_disks() {
    let site = sound("");
    let examine = |mounts: &str| -> Option<Vec<Value>> {
        let script = format!("set -e; cd \"$1\"; {mounts}; exec \"$2\" -c etc doctor --json");
        let output = Command::new("unshare")
            .args(["--mount", "--map-root-user", "sh", "-c", &script, "sh"])
            .arg(site.at(""))
            .arg(env!("CARGO_BIN_EXE_relayd"))
            .output()
            .unwrap();
        if output.stdout.is_empty() && std::env::var_os("CI").is_none() {
            eprintln!("skipped: no mount namespaces here: {}", String::from_utf8_lossy(&output.stderr));
            return None;
        }
        let answer: Value =
            serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {output:?}"));
        let findings = answer["findings"].as_array().unwrap();
        Some(findings.iter().filter(|finding| finding["level"] == "error").cloned().collect())
    };
    let Some(apart) = examine("mount -t tmpfs -o mode=770 none reports/failed") else { return };
    assert!(
        apart.len() == 1 && apart[0]["text"].as_str().unwrap().contains("another file system"),
        "{apart:#?}"
    );
    // The same file system, mounted twice.
    let twice = examine("mount --bind reports/failed reports/failed").unwrap();
    assert!(twice.len() == 1 && twice[0]["check"] == "disk", "{twice:#?}");
    let full = "mount -t tmpfs -o mode=770,size=64k none reports; mkdir -m 770 reports/incoming reports/failed; \
                head -c 100k /dev/zero > reports/fill || true";
    let full = examine(full).unwrap();
    assert!(full.len() == 1 && full[0]["text"].as_str().unwrap().starts_with("full: "), "{full:#?}");
    let inodes =
        "mount -t tmpfs -o mode=770,nr_inodes=3 none reports; mkdir -m 770 reports/incoming reports/failed";
    let inodes = examine(inodes).unwrap();
    assert!(inodes.len() == 1 && inodes[0]["text"].as_str().unwrap().starts_with("no inode"), "{inodes:#?}");
    let read_only = examine("mount --bind reports reports; mount -o remount,bind,ro reports").unwrap();
    assert!(
        read_only.iter().any(|error| error["text"].as_str().unwrap().contains("read-only")),
        "{read_only:#?}"
    );
}
