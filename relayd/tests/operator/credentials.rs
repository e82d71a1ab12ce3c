// SPDX-License-Identifier: Apache-2.0
//! What the service manager passes to the daemon, an administrator has not while it is stopped. Commands do without,
//! and those that cannot say how they get it; the daemon and its own check need all of it.

use std::fs;

use crate::{
    doctor::{errors, tidy},
    site::{Said, Site},
};

const PASSWORD: &str = "relayd-test.password";

/// A root whose password of the database and whose key of the gateway are credentials.
fn site() -> Site {
    let site = Site::root(&format!(
        "[output.database]\nurl = \"postgres://nobody@127.0.0.1:1/none\"\n\
         password = \"credential:{PASSWORD}\"\n[nodes]\nsource = \"database\"\n\
         [gateway]\nlisten = \"127.0.0.1:0\"\ncertificate = \"DIR/s.cert\"\n\
         key = \"credential:relayd-test.key\"\nhigh_water_percent = 100\n"
    ));
    fs::write(site.at("s.cert"), crate::site::certificate_of("root")).unwrap();
    tidy(&site);
    site
}

fn run(site: &Site, args: &[&str]) -> Said {
    Said::by(site.command(args).env_remove("CREDENTIALS_DIRECTORY"))
}

#[test]
fn commands_that_need_no_credential_do_without() {
    let mut site = site();
    site.know(&["n1"]);
    for args in [&["--test"][..], &["config", "check"]] {
        let said = run(&site, args);
        let told = "output.database.password is not checked: cannot read the credential";
        assert!(said.code == 0 && said.out.contains(told) && said.out.contains("Syntax: OK"), "{said:?}");
    }
    for args in [&["config", "show"][..], &["spool", "list"]] {
        let said = run(&site, args);
        assert_eq!((said.code, said.err.as_str()), (0, ""), "{args:?}: {}", said.out);
    }
    assert_eq!(run(&site, &["status"]).code, 3, "the daemon does not run, and that is all");
    // What cannot be looked at is not taken for the cause.
    let said = run(&site, &["why", "--json", "--wait", "20s", "n1"]);
    let answer = said.json();
    assert_eq!((said.code, &answer["cause"]["check"]), (1, &"spool".into()), "{answer:#}");
    assert!(answer["cause"]["text"].as_str().unwrap().contains("does not run"), "{answer:#}");
}

#[test]
fn commands_that_need_a_credential_say_how_they_get_it() {
    let site = site();
    for args in [&["database", "status"][..], &["database", "migrate"], &["node", "list"]] {
        let said = run(&site, args);
        let remedy = format!("systemd-run --pipe --wait --property=LoadCredential={PASSWORD}:FILE relayd");
        assert!(said.code == 1 && said.err.contains(&remedy), "{args:?}: {said:?}");
    }
    // As the remedy has it: then the server is asked, which is not there.
    fs::write(site.at(PASSWORD), "secret\n").unwrap();
    let said = Said::by(site.command(&["database", "status"]).env("CREDENTIALS_DIRECTORY", site.at("")));
    assert!(said.code == 1 && said.err.contains("cannot connect to the database"), "{said:?}");
}

#[test]
fn the_daemon_and_its_own_check_need_all_credentials() {
    let site = site();
    let said = run(&site, &[]);
    assert!(said.code == 2 && said.out.contains(PASSWORD) | said.err.contains(PASSWORD), "{said:?}");
    let said = Said::by(site.command(&["--test"]).env("CREDENTIALS_DIRECTORY", site.at("")));
    assert!(said.code == 2 && said.err.contains("LoadCredential= in the unit"), "{said:?}");
    fs::write(site.at(PASSWORD), "secret\n").unwrap();
    let said = Said::by(site.command(&["--test"]).env("CREDENTIALS_DIRECTORY", site.at("")));
    assert!(said.code == 0 && !said.out.contains("not checked"), "{said:?}");
}

/// `relayd doctor` says what it could not look at, and finds no fault in that.
#[test]
fn a_credential_that_only_the_running_service_has_is_no_fault() {
    let site = site();
    assert_eq!(errors(&site, &[]), Vec::<serde_json::Value>::new());
    let answer = run(&site, &["doctor", "--json"]).json();
    let unknown = |check: &str, says: &str| {
        let mut findings = answer["findings"].as_array().unwrap().iter();
        findings.any(|one| {
            one["check"] == check && one["level"] == "unknown" && one["text"].as_str().unwrap().contains(says)
        })
    };
    assert!(unknown("permissions", "relayd-test.key, which only the running service has"), "{answer:#}");
    assert!(unknown("configuration", "output.database.password"), "{answer:#}");
    assert!(unknown("database", PASSWORD), "{answer:#}");
}
