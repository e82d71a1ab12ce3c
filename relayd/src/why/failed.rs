// SPDX-License-Identifier: Apache-2.0
//! Was a run log refused for good, and why?

use super::{
    gather::Evidence,
    traces::{self, When},
};
use crate::{finding::Finding, spool::disposition::Reason};

pub(super) const NAME: &str = "failed";

pub(super) fn check(e: &Evidence<'_>) -> Vec<Finding> {
    let Some(last) = e.files.failed.first() else { return Vec::new() };
    let id = e.node.as_ref().map_or("NODE", |node| node.as_str());
    let (reason, detail) = match &last.reason {
        Some(reason) => (reason.reason.as_str(), reason.detail.as_str()),
        None => ("", "there is no reason file beside it"),
    };
    let number = e.files.failed.len();
    let many = if number == 1 { String::new() } else { format!(", the newest of {number}") };
    let what = if reason.is_empty() { String::new() } else { format!(" as {reason}") };
    let text = format!("it was refused{what}{many}: {detail}");
    let remedy = remedy(reason, id);
    let place = last.file.path.display();
    // What was stored after it shows that its reason does not hold any more.
    vec![traces::judged(e, When::of(&last.file), Finding::error(NAME, place, text, remedy))]
}

/// Whether the last run log was refused because its node, or its key, was not known then.
pub(super) fn is_of_a_stranger(e: &Evidence<'_>) -> bool {
    const REASONS: [Reason; 3] = [Reason::UnknownNode, Reason::NoCertificate, Reason::BadSignature];
    e.files.failed.first().is_some_and(|last| {
        let reason = last.reason.as_ref().map(|reason| reason.reason.as_str());
        REASONS.iter().any(|one| Some(one.as_str()) == reason)
            && !traces::is_overtaken(e, When::of(&last.file))
    })
}

/// What to do about each reason of the spool (`spool::disposition::Reason`).
fn remedy(reason: &str, id: &str) -> String {
    let retry = format!("then `relayd spool retry --node {id}`");
    match reason {
        "unknown_node" => format!(
            "see that the node is in the node list and that the daemon has loaded it (`systemctl reload \
             rudder-relayd`), {retry}"
        ),
        "no_certificate" => format!(
            "see that its certificate is in general.nodes_certs_file, `systemctl reload rudder-relayd`, {retry}"
        ),
        "bad_signature" => format!(
            "compare the key of the node (`agent cert show` there) with the one that is known here; when it was \
             installed anew, accept its new key, {retry}; otherwise somebody else signed it"
        ),
        "bad_compression" | "bad_content" => format!(
            "look at it with `relayd run-log show FILE`; see on the node if its disk was full or another program \
             writes its run logs; `relayd spool drop --node {id}` removes it"
        ),
        "too_large" => format!(
            "raise processing.reporting.max_file_size or max_inflated_size in main.conf, restart, {retry}; see \
             also why the node says so much"
        ),
        "bad_name" | "not_a_file" => {
            format!("see which program writes it into the spool; `relayd spool drop --node {id}` removes it")
        }
        "conflict" => format!(
            "another run of the same node and second is stored: see if two machines use this identity (`relayd \
             node show {id}`); `relayd spool drop --node {id}` removes it"
        ),
        "database_refused" => format!("see what the database says above; mend that, {retry}"),
        "upstream_refused" => format!("see what the server above says; mend that, {retry}"),
        "unreadable" => format!("see if the disk is damaged (`dmesg`), {retry}"),
        _ => format!("see `relayd spool show NAME`, {retry}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_has_a_remedy_of_its_own() {
        for reason in Reason::ALL {
            assert_ne!(remedy(reason.as_str(), "x"), remedy("something else", "x"), "{reason:?}");
        }
    }
}
