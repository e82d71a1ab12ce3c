// SPDX-License-Identifier: Apache-2.0
//! Replays the corpus of the fuzz targets: each input once through the same functions.

use std::fs;

use protocol::smime;

use self::replay::{corpus, replay};

#[path = "../../fuzz/src/replay.rs"]
mod replay;
#[path = "../../fuzz/src/targets.rs"]
mod targets;

#[test]
fn names() {
    replay("names", targets::names);
}

#[test]
fn run_log() {
    replay("run_log", targets::run_log);
}

#[test]
fn smime() {
    replay("smime", targets::smime);
}

#[test]
fn unpack() {
    replay("unpack", targets::unpack);
}

#[test]
fn node_list() {
    replay("node_list", targets::node_list);
}

#[test]
fn certificates() {
    replay("certificates", targets::certificates);
}

#[test]
fn upload_path() {
    replay("upload_path", targets::upload_path);
}

#[test]
fn shared_file() {
    replay("shared_file", targets::shared_file);
}

#[test]
fn node_tree() {
    replay("node_tree", targets::node_tree);
}

#[test]
fn enrolment_request() {
    replay("enrolment_request", targets::enrolment_request);
}

#[test]
fn policy_manifest() {
    replay("policy_manifest", targets::policy_manifest);
}

#[test]
fn signed_seeds_reach_the_end_of_the_reader() {
    for (seed, accepted) in [("valid", true), ("altered", false), ("other-key", false)] {
        let message = fs::read(corpus("smime").join(seed)).unwrap();
        let verified = smime::verify(&message, std::slice::from_ref(&*targets::SIGNER));
        assert_eq!(verified.is_ok(), accepted, "{seed}: {verified:?}");
    }
}

#[test]
fn seeds_of_requests_reach_the_end_of_the_reader() {
    for (seed, expected) in [
        ("p256", "node-1 web true"),
        ("rsa", "node-2  false"),
        ("crlf", "node-1 web true"),
        ("s-plain", "e745a140-40bc-4b86-b6dc-084488fc906b  false"),
        ("s-full", "e745a140-40bc-4b86-b6dc-084488fc906b web-1.example.org true"),
        ("s-multi-valued", "n  true"),
        ("with-certificate", "node-1 web false"),
        ("s-certificate-of-another", "the certificate in the request is not one of this node and this key"),
        ("s-nul", "the subject has not exactly one UID that is a node id"),
        ("two", "not one PEM certificate request and nothing else"),
    ] {
        let input = fs::read(corpus("enrolment_request").join(seed)).unwrap();
        let said = match targets::parsed_request(&input) {
            Ok(request) => format!("{} {} {}", request.node_id, request.hostname, request.as_relay),
            Err(error) => error.to_string(),
        };
        assert_eq!(said, expected, "{seed}");
    }
}

#[test]
fn remote_run() {
    replay("remote_run", targets::remote_run);
}

#[test]
fn triggers() {
    replay("triggers", targets::triggers);
}
