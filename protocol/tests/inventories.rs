// SPDX-License-Identifier: Apache-2.0
//! Inventories: published samples, the corpus of the fuzz target, limits, reading what is written.
#![allow(missing_docs, reason = "tests")]

use std::fs;

use chrono::{DateTime, NaiveDateTime, Utc};
use proptest::prelude::*;
use protocol::{
    inventory::{
        self, ReadError,
        check::{self, CheckError, Checked},
        cursor::{MAX_DEPTH, MAX_ELEMENTS, MAX_LISTED, MAX_TEXT},
        software::LONGEST,
    },
    private_key::{self, KeyKind},
};

#[path = "common/mod.rs"]
mod common;
#[path = "../../fuzz/src/inventory.rs"]
mod fuzzed;
#[path = "../../fuzz/src/replay.rs"]
mod replay;

#[test]
fn nothing_breaks_the_reader() {
    replay::replay("inventory", fuzzed::inventory);
}

#[test]
fn seeds_reach_the_end_of_the_reader() {
    for (seed, expected) in [
        ("plain", "root web-1.example.org"),
        ("escaped", "root web-1.example.org"),
        ("localhost", "root web-1.example.org"),
        ("zoned", "root web-1.example.org"),
        ("other-node", "the certificate is not that of node somebody-else"),
        ("old", "made 2023-11-01 22:00:00 UTC, which is not within two days before and 12 hours after now"),
        ("document-type", "it has a document type, or entities of its own"),
        ("entity", "it has a document type, or entities of its own"),
        ("twice", "not exactly one RUDDER element"),
        ("deep", "its elements are nested deeper than 32 levels"),
    ] {
        let input = fs::read(replay::corpus("inventory").join(seed)).unwrap();
        assert_eq!(fuzzed::said(&input), expected, "{seed}");
    }
}

fn checked(document: &[u8]) -> Result<Checked, String> {
    let request = inventory::read(document).map_err(|e| e.to_string())?;
    check::content(request).map_err(|e| e.to_string())
}

#[test]
fn published_samples_are_read_as_documented() {
    let Some(samples) = common::samples() else { return };
    for (file, id, version, host) in [
        ("debian12", "e6cc8e97-01de-48bc-8fee-8f28970116d3", "8.0.3-debian12", "node3.rudder.local"),
        ("centos8", "25990bc8-2076-43fa-af76-120bfc9d7ba1", "1398866025:8.0.3-1.EL.8", "node2.rudder.local"),
        (
            "a79d82c6-4baf-4866-801c-6883d07559c3",
            "a79d82c6-4baf-4866-801c-6883d07559c3",
            "9.0.0~alpha1~git202506110941",
            "agent2.rudder.local",
        ),
        (
            "AGENT1-c6642a36-b1ed-43e4-a7b7-7d0e1f85063e",
            "c6642a36-b1ed-43e4-a7b7-7d0e1f85063e",
            "8.2.5.1902648046",
            "agent1",
        ),
        (
            "WORKSTATION1-8f94b6a2-5cb6-4f76-9fa7-467e8b22f5e7",
            "8f94b6a2-5cb6-4f76-9fa7-467e8b22f5e7",
            "8.2.2.1902573166",
            "workstation1",
        ),
        (
            "signed_inventory",
            "4d3a43bc-8508-46a2-92d7-cfe7320309a5",
            "7.2.0~rc1-ubuntu22.04",
            "node1-overridden.rudder.local.override",
        ),
    ] {
        let checked = checked(&common::read(samples.join(format!("inventories/{file}.ocs")))).unwrap();
        println!(
            "{file}: {} {} {} {}",
            checked.hostname, checked.agent, checked.agent_version, checked.kernel
        );
        assert_eq!(checked.node_id.as_str(), id);
        assert!(version.is_empty() || checked.agent_version == version, "{}", checked.agent_version);
        assert!(host.is_empty() || checked.hostname == host, "{}", checked.hostname);
        check::certificate(&checked).unwrap();
        // They are old; when they were made they were not.
        let log_date = checked.content.access_log.as_ref().unwrap().log_date.as_deref().unwrap();
        let made = NaiveDateTime::parse_from_str(log_date, "%Y-%m-%d %H:%M:%S").unwrap().and_utc();
        assert_eq!(check::date(&checked.content, made), Ok(made));
        assert!(matches!(check::date(&checked.content, Utc::now()), Err(CheckError::Date(_))));
        let written = inventory::write(&checked.content, "x");
        let again = inventory::read(written.as_bytes()).unwrap();
        assert_eq!(again.content, [checked.content], "{file}");
    }
}

#[test]
fn published_cases_end_as_documented() {
    let Some(samples) = common::samples() else { return };
    let no_agent = "no usable AGENT";
    for (file, expected) in [
        ("minimal-one-agent", Ok("")),
        ("minimal-two-agents-fails", Ok("8.1.0")),
        ("minimal-two-agents", Err("AGENT_VERSION is missing")),
        ("minimal-no-rudder", Err(no_agent)),
        ("minimal-one-agent-two-rudder-fails", Err("not exactly one RUDDER element")),
        ("minimal-zero-agent", Err(no_agent)),
        ("minimal-zero-bis-agent", Err(no_agent)),
        ("one-agent-full", Ok("6.1.0.release-1.EL.7")),
        ("linux-8-3-with-agent-version", Ok("8.3.1")),
        ("linux-8-3-without-agent-version", Ok("8.3.1-ubuntu22.04")),
        ("invalid-hostname-localhost", Err("HOSTNAME is missing")),
        ("invalid-hostname-localhost-alternative-error", Err("HOSTNAME is missing")),
        ("invalid-hostname-localhost-alternative-ok", Ok("")),
    ] {
        let result = checked(&common::read(samples.join(format!("inventories/tag-cases/{file}.ocs"))));
        match (&result, expected) {
            (Ok(checked), Ok(version)) => assert!(version.is_empty() || checked.agent_version == version),
            (Err(error), Err(part)) => assert!(error.contains(part), "{file}: {error}"),
            _ => panic!("{file}: {result:?}"),
        }
        match (file, result) {
            ("minimal-two-agents-fails", Ok(checked)) => {
                assert_eq!(checked.policy_server.as_str(), "root_1", "the first agent");
            }
            ("invalid-hostname-localhost-alternative-ok", Ok(checked)) => {
                assert_eq!(checked.hostname, "some.valid.hostname");
            }
            ("one-agent-full", Ok(checked)) => {
                let rudder = &checked.content.rudder[0];
                assert_eq!(rudder.capabilities.as_ref().unwrap().names.len(), 6);
                assert_eq!(rudder.custom_properties.as_ref().unwrap().as_array().unwrap().len(), 1);
                assert_eq!(checked.content.software_updates.len(), 1);
            }
            _ => {}
        }
    }
}

const DATE: &str = "<ACCESSLOG><LOGDATE>2023-11-14 22:00:00</LOGDATE></ACCESSLOG>";

fn rudder(node: &str) -> String {
    let key = private_key::generate(KeyKind::P256).unwrap();
    let certificate = private_key::self_signed(&key, &node.parse().unwrap()).unwrap();
    let certificate = String::from_utf8(certificate.to_pem()).unwrap();
    format!(
        "<RUDDER><AGENT><AGENT_NAME>CFEngine-Community</AGENT_NAME><AGENT_CERT>{certificate}</AGENT_CERT>\
         <OWNER>root</OWNER><POLICY_SERVER_UUID>root</POLICY_SERVER_UUID></AGENT>\
         <AGENT_VERSION>9.0.0</AGENT_VERSION><HOSTNAME>h.example.org</HOSTNAME><UUID>{node}</UUID></RUDDER>"
    )
}

fn document(content: &str) -> String {
    let system =
        "<OPERATINGSYSTEM><KERNEL_VERSION>6.1.0</KERNEL_VERSION><NAME>Debian</NAME></OPERATINGSYSTEM>";
    format!(
        "<?xml version=\"1.0\"?>\n<REQUEST><CONTENT>{content}{system}</CONTENT><DEVICEID>x</DEVICEID></REQUEST>"
    )
}

fn error_of(xml: &str) -> String {
    let all = |xml: &str| {
        let checked = checked(xml.as_bytes())?;
        let now = DateTime::from_timestamp(1_700_000_000, 0).unwrap();
        check::date(&checked.content, now).map_err(|e| e.to_string())?;
        check::certificate(&checked).map_err(|e| e.to_string())
    };
    all(xml).expect_err("refused")
}

#[test]
fn the_name_of_a_host_is_the_first_that_says_something() {
    let property = |json: &str| format!("<CUSTOM_PROPERTIES>{json}</CUSTOM_PROPERTIES></RUDDER>");
    let good = document(&rudder("n1"));
    for (from, to, expected) in [
        ("", "", "h.example.org"),
        ("h.example.org", "", "f.example.org"),
        ("h.example.org", "localhost", "f.example.org"),
        (
            "</RUDDER>",
            &*property("[{\"a\":1},{\"rudder_override_hostname\":\"o.example.org\"}]"),
            "o.example.org",
        ),
        ("</RUDDER>", &*property("not JSON"), "h.example.org"),
    ] {
        let fqdn = "<OPERATINGSYSTEM><FQDN>f.example.org</FQDN>";
        let xml = good.replace("<OPERATINGSYSTEM>", fqdn);
        let xml = if from.is_empty() { xml } else { xml.replace(from, to) };
        assert_eq!(checked(xml.as_bytes()).unwrap().hostname, expected, "{to}");
    }
    assert!(error_of(&good.replace("h.example.org", "::1")).contains("HOSTNAME is missing"));
}

#[test]
fn refuses_what_is_ambiguous_incomplete_old_or_dangerous() {
    let good = rudder("n1");
    let whole = document(&format!("{DATE}{good}"));
    for (xml, expected) in [
        (document(DATE), "exactly one RUDDER"),
        (document(&format!("{DATE}{good}{good}")), "exactly one RUDDER"),
        (whole.replace("</CONTENT>", &format!("</CONTENT><CONTENT>{good}</CONTENT>")), "exactly one CONTENT"),
        (document(&good), "LOGDATE is missing"),
        (whole.replace("<DEVICEID>x</DEVICEID>", "<DEVICEID/>"), "DEVICEID is missing"),
        (whole.replace("CFEngine-Community", "puppet"), "no usable AGENT: AGENT_NAME is neither"),
        (whole.replace("<OWNER>root", "<OWNER>"), "no usable AGENT: OWNER"),
        (whole.replace("<NAME>Debian", "<NAME>"), "OPERATINGSYSTEM/NAME is missing"),
        (whole.replace("<KERNEL_VERSION>6.1.0", "<KERNEL_VERSION>"), "KERNEL_VERSION is missing"),
        (whole.replace("2023-11-14 22", "2023-11-11 22"), "two days"),
        (whole.replace("2023-11-14 22", "2023-11-16 22"), "two days"),
        (whole.replace("2023-11-14 22:00", "yesterday"), "LOGDATE is malformed"),
        (whole.replace("<UUID>n1", "<UUID>n2"), "not that of node n2"),
        (whole.replace("<UUID>n1", "<UUID>../n1"), "UUID is malformed"),
        (whole.replace("h.example.org", "h;rm -rf"), "HOSTNAME is malformed"),
        (whole.replace("h.example.org", "h\0"), "NUL"),
        (whole.replace("<REQUEST>", "<!DOCTYPE x [<!ENTITY a \"b\">]><REQUEST>"), "document type"),
        (whole.replace("h.example.org", "&file;"), "entities"),
        (whole.replace("REQUEST", "OTHER"), "not REQUEST"),
        (format!("{whole}<REQUEST/>"), "not the only one"),
        (whole.replace("</REQUEST>", ""), "within an element"),
        (whole.replace("</UUID>", "</UID>"), "malformed XML"),
        (
            whole.replace("<UUID>n1", &format!("<UUID>{}", "x".repeat(MAX_TEXT + 1))),
            "CONTENT/RUDDER/UUID is longer",
        ),
        (format!("<REQUEST>{}", "<a>".repeat(MAX_DEPTH)), "nested deeper"),
        (format!("<REQUEST>{}", "<a/>".repeat(MAX_ELEMENTS)), "elements"),
        (document(&"<SOFTWARES/>".repeat(MAX_LISTED + 1)), "more than 30000 SOFTWARES"),
        (document(&"<SOFTWAREUPDATES/>".repeat(MAX_LISTED + 1)), "more than 30000 SOFTWAREUPDATES"),
        (String::new(), "not REQUEST"),
    ] {
        let error = error_of(&xml);
        assert!(error.contains(expected), "{expected}: {error}");
    }
}

/// Fields that nobody looks at count as well, so that a bomb is not merely passed over.
#[test]
fn all_texts_together_have_a_limit() {
    let comment = format!("<SOFTWARES><COMMENTS>{}</COMMENTS></SOFTWARES>", "x".repeat(MAX_TEXT));
    let xml = document(&comment.repeat(65));
    assert_eq!(inventory::read(xml.as_bytes()), Err(ReadError::TooMuch));
}

#[test]
fn what_is_different_each_time_is_taken_out() {
    let sections = "<HARDWARE><ETIME>3</ETIME><MEMORY>457</MEMORY></HARDWARE>\
        <DRIVES><FREE>1</FREE><TYPE>/</TYPE><TOTAL>9</TOTAL></DRIVES><DRIVES><TYPE>/proc</TYPE></DRIVES>\
        <ENVS><KEY>A</KEY><VAL>b</VAL></ENVS>";
    let long = format!("<PROCESSES><PID>1</PID><CMD>{}</CMD></PROCESSES>", "é".repeat(LONGEST));
    let xml = document(&format!("{DATE}{sections}{long}{}", rudder("n1")));
    let mut first = checked(xml.as_bytes()).unwrap().content;
    let changed = xml
        .replace("<FREE>1<", "<FREE>2<")
        .replace("<ETIME>3<", "<ETIME>4<")
        .replace("<VAL>b<", "<VAL>c<")
        .replace("22:00:00", "23:00:00")
        .replace("<PID>1<", "<PID>7<");
    let mut second = checked(changed.as_bytes()).unwrap().content;
    assert_ne!(first, second);
    let momentary = first.take_momentary();
    assert_ne!(momentary, second.take_momentary());
    assert_eq!(first, second);
    assert_eq!(momentary.free_space.len(), 1);
    assert_eq!((momentary.free_space[0].free, momentary.duration), (Some(1), Some(3)));
    assert_eq!(momentary.processes[0].command.as_ref().unwrap().as_str().len(), LONGEST);
    assert_eq!(first.hardware.unwrap().memory, Some(457));
}

proptest! {
    #[test]
    fn nothing_makes_it_panic(text in "(<|>|/|&|;|#|!|\\[|REQUEST|CONTENT|RUDDER|UUID|x| |\"){0,80}") {
        let _ = checked(text.as_bytes());
    }

    /// Whatever a node has in its fields comes out of the document again, but for what XML cannot say.
    #[test]
    fn what_is_written_is_read(texts in prop::collection::vec("\\PC{0,20}", 4)) {
        let [name, version, command, property] = <[String; 4]>::try_from(texts).unwrap();
        let mut content = inventory::Content::default();
        let said = |text: &str| Some(text.trim().to_owned()).filter(|text| !text.is_empty());
        content.software.push(inventory::software::Software {
            name: said(&name),
            version: Some(format!("1{}", version.trim())),
            ..Default::default()
        });
        content.processes.push(inventory::software::Process {
            pid: Some(1),
            command: said(&command).map(Into::into),
            ..Default::default()
        });
        content.rudder.push(inventory::Rudder {
            custom_properties: Some(serde_json::json!([{ "p": property }])),
            ..Default::default()
        });
        let written = inventory::write(&content, "device");
        let read = inventory::read(written.as_bytes()).unwrap();
        prop_assert_eq!(read.content, [content]);
    }
}
