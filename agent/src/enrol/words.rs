// SPDX-License-Identifier: Apache-2.0
//! What enrolment tells the person at this node.

use hyper::StatusCode;
use protocol::{
    enrolment::{Answer, State},
    hash::KeyHash,
};

use crate::settings::Server;

/// What is waited for, and what ends it.
pub fn pending(answer: &Answer, as_relay: bool) -> String {
    let role = if as_relay { "--relay " } else { "" };
    format!(
        "waiting for an operator to accept this node{}\n    on the root, if the fingerprint is the one above: relayd node accept {role}{} --fingerprint {}",
        // The root may say the same with its own words.
        in_brackets(if answer.detail.contains("relayd node accept") { "" } else { &answer.detail }),
        answer.node_id,
        answer.key_hash
    )
}

/// A decision, and what can be done about one that is not wanted.
pub fn decided(answer: &Answer) -> String {
    let detail = in_brackets(&answer.detail);
    let id = &answer.node_id;
    match answer.state {
        State::Accepted => format!("accepted{detail}"),
        State::Pending => format!("pending{detail}"),
        State::Rejected => format!(
            "rejected by an operator{detail}\n    if that was a mistake: `relayd node accept {id}` on the root"
        ),
        State::Revoked => format!(
            "revoked: this node was accepted once and is not any more{detail}\n    with a new key: `relayd node delete {id}` on the root, then enrol again"
        ),
        State::Refused => {
            format!("refused{detail}\n    ask the operator of the root for a new token or a decision")
        }
        State::Conflict => format!(
            "conflict: another key holds this id, or this key another id{detail}\n    the operator sees it in `relayd node show {id}`. If this machine is a copy, remove its uuid.hive and keys and enrol again; if it lost its key, `relayd node delete {id}` on the root first"
        ),
    }
}

/// Whom this node trusts from now on.
pub fn first_use(server: &str, key: &KeyHash) -> String {
    format!(
        "{server} is trusted on first use, from now on by its key {key}\n    compare it with `relayd server-key show` there"
    )
}

/// An answer that is none, in one line.
pub fn answered(status: StatusCode, detail: &str) -> String {
    format!("the server answered {status}{}", in_brackets(detail))
}

fn in_brackets(detail: &str) -> String {
    if detail.is_empty() { String::new() } else { format!(" ({detail})") }
}

/// What a relayd needs on a machine that was enrolled as a relay; without pins the server is known by
/// its authority and name.
pub fn relay_conf(server: &Server, pins: &[KeyHash]) -> String {
    let pins: Vec<String> = pins.iter().map(|pin| format!("\"{pin}\"")).collect();
    let (general, keys) = match pins.is_empty() {
        true => ("[general]\npeer_authentication = \"cert_validation\"\n\n", String::new()),
        false => ("", format!("server_key_hashes = [{}]\n", pins.join(", "))),
    };
    format!(
        "# main.conf of this relay\n{general}\
         [nodes]\nsource = \"upstream\"\n\n\
         [gateway]\nlisten = \"0.0.0.0:443\"\n\n\
         [processing.inventory]\noutput = \"upstream\"\n\n\
         [processing.reporting]\noutput = \"upstream\"\n\n\
         [output.upstream]\nhost = \"{}\"\nport = {}\n{keys}",
        server.host, server.port
    )
}
