// SPDX-License-Identifier: Apache-2.0
//! What the rule of a route says about an operation, without its owner having to repeat it: who may, and
//! what whoever may not is told.

use std::collections::BTreeMap;

use super::{
    catalogue::Entry,
    operation::{Answer, Header, problem},
};
use crate::gateway::access::{Listener, Purpose, Rule, Who};

/// The scheme of clients with a certificate.
pub const CERTIFICATE: &str = "certificate";
/// The scheme of clients with a password.
pub const PASSWORD: &str = "password";

/// One way to be let in: the schemes that it takes, with their scopes, which are none.
pub type Requirement = BTreeMap<&'static str, [&'static str; 0]>;

/// All answers of an operation: its own and those of its rule.
pub fn answers(entry: &Entry) -> Vec<Answer> {
    let listener = entry.rule.listener;
    let own = entry.operation.answers.iter().filter(|answer| answer.only.is_none_or(|only| only == listener));
    // HEAD knows no ranges (RFC 9110, 14.2).
    let own = own.filter(|answer| entry.method != "HEAD" || !matches!(answer.status, 206 | 416));
    own.copied().chain(refusals(entry.rule)).collect()
}

/// The ways to be let in, any of which is enough.
pub fn requirements(rule: &Rule) -> Vec<Requirement> {
    let mut ways: Vec<Requirement> = rule.who.iter().map(|who| requirement(*who)).collect();
    ways.sort();
    ways.dedup();
    ways
}

/// Whether an example needs no client certificate.
pub fn lets_in_without_certificate(rule: &Rule) -> bool {
    rule.who.iter().any(|who| requirement(*who).is_empty())
}

/// Who may, in words.
pub fn who_may(rule: &Rule) -> String {
    rule.who.iter().map(Who::to_string).collect::<Vec<_>>().join("; ")
}

fn requirement(who: Who) -> Requirement {
    match who {
        Who::Anyone | Who::Visitor | Who::Loopback => Requirement::new(),
        Who::Password | Who::PasswordForListed => Requirement::from([(PASSWORD, [])]),
        Who::Nobody
        | Who::AnyNode
        | Who::NodeNamed
        | Who::RelayAbove
        | Who::NodeForNewcomer
        | Who::Upstream => Requirement::from([(CERTIFICATE, [])]),
    }
}

fn refusals(rule: &Rule) -> Vec<Answer> {
    let has = |who: Who| rule.who.contains(&who);
    match rule.listener {
        Listener::Local if rule.purpose == Purpose::Operate => {
            vec![problem(413, "the request announces a body of more than 1 MiB")]
        }
        Listener::Local => Vec::new(),
        Listener::Gateway if has(Who::Anyone) => Vec::new(),
        Listener::Gateway if has(Who::Visitor) => vec![
            problem(401, "nodes are known by an authority, and there is no client certificate"),
            problem(403, "nodes are known by an authority, which has not issued the client certificate"),
        ],
        Listener::Gateway => {
            let nobody = problem(401, "there is no client certificate, and none of the other ways in");
            let basic = has(Who::Password) || has(Who::PasswordForListed);
            let mut refusals = vec![
                if basic { nobody.headers(&[WWW_AUTHENTICATE]) } else { nobody },
                problem(403, "the client is somebody who may not"),
            ];
            if rule.names_node() {
                refusals.push(problem(404, "the node of the path is not one that the client may know of"));
            }
            refusals
        }
    }
}

const WWW_AUTHENTICATE: Header =
    Header { name: "WWW-Authenticate", text: "`Basic`, where passwords are configured.", always: false };
