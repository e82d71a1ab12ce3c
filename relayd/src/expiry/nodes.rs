// SPDX-License-Identifier: Apache-2.0
//! The certificates of nodes: those that nodes make themselves, and those that an authority issued.
//!
//! Of each kind the one of a node that is valid longest counts. Of their own certificates only the keys
//! matter. Issued ones are for whoever checks them; nodes renew these at half of their life, so one that is
//! near its end belongs to a node that does not come by any more, or is not able to renew.

use chrono::{DateTime, Utc};
use protocol::{certificate::Certificate, node_id::NodeId};

use super::{EARLY, Warning};
use crate::nodes::NodeTable;

/// What was found in a node table at one moment.
#[derive(Debug, Default)]
pub struct Found {
    /// Nodes by their own certificates.
    pub own: Counts,
    /// Nodes by the certificates that an authority issued to them.
    pub issued: Counts,
    /// Nodes whose own certificates end soon.
    ending: Worst,
    /// Nodes whose issued certificates should have been renewed.
    not_renewed: Worst,
}

/// Nodes with certificates, by how long the last one of each is still valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Not any more.
    pub expired: i64,
    /// Less than 7 days.
    pub week: i64,
    /// 7 days or more, less than 30.
    pub month: i64,
    /// 30 days or more.
    pub longer: i64,
}

/// How many there are, and which is first to have no valid certificate.
#[derive(Debug, Default)]
struct Worst {
    nodes: u64,
    first: Option<(DateTime<Utc>, NodeId)>,
}

impl Found {
    /// Looks through a table, at all but this server, whose certificates are watched one by one.
    pub fn of(table: &NodeTable, own_id: &NodeId, now: DateTime<Utc>) -> Self {
        let mut found = Self::default();
        for (node, _) in table.list().iter().filter(|(node, _)| *node != own_id) {
            let (mut own, mut issued): (Option<DateTime<Utc>>, Option<&Certificate>) = (None, None);
            for certificate in table.certificates(node) {
                let end = certificate.not_after();
                if is_self_issued(certificate, node) {
                    own = own.max(Some(end));
                } else if issued.is_none_or(|last| last.not_after() < end) {
                    issued = Some(certificate);
                }
            }
            if let Some(end) = own {
                found.own.add(end, now);
                found.ending.add_if(end > now && end <= now + EARLY, end, node);
            }
            if let Some(certificate) = issued {
                let (begin, end) = (certificate.not_before(), certificate.not_after());
                found.issued.add(end, now);
                // Well after half of its life: it may be a short one.
                let is_late = end - now < (end - begin) / 3;
                found.not_renewed.add_if(is_late && end <= now + EARLY, end, node);
            }
        }
        found
    }

    /// What to say about the certificates that nodes made themselves.
    pub fn of_own(&self) -> Option<Warning> {
        let (nodes, first) = self.ending.tell()?;
        let text = format!(
            "nodes whose own certificates expire within 30 days: {nodes}, first {first}; nothing stops by that, \
             because nodes are known by their keys; only other users of these certificates need new ones"
        );
        Some(Warning { urgent: false, text })
    }

    /// What to say about issued certificates; `checked`: the gateway lets in only nodes with valid ones.
    pub fn of_issued(&self, checked: bool) -> Option<Warning> {
        let (nodes, first) = self.not_renewed.tell()?;
        let consequence = match checked {
            true => "the gateway refuses a node whose certificate has expired",
            false => "services that use an expired one are refused by whoever checks it",
        };
        let text = format!(
            "nodes that have not renewed the certificates that the authority issued to them, which end within 30 \
             days or have ended: {nodes}, first {first}; {consequence}; see whether they still come by \
             (`relayd node list --silent-for 7d`) and what `agent cert renew` says there"
        );
        Some(Warning { urgent: checked, text })
    }
}

impl Counts {
    /// Counts one node.
    pub fn add(&mut self, end: DateTime<Utc>, now: DateTime<Utc>) {
        *match (end - now).num_days() {
            _ if end <= now => &mut self.expired,
            0..7 => &mut self.week,
            7..30 => &mut self.month,
            _ => &mut self.longer,
        } += 1;
    }
}

impl Worst {
    fn add_if(&mut self, matters: bool, end: DateTime<Utc>, node: &NodeId) {
        if matters {
            self.nodes += 1;
            if self.first.as_ref().is_none_or(|(first, _)| end < *first) {
                self.first = Some((end, node.clone()));
            }
        }
    }

    fn tell(&self) -> Option<(u64, &NodeId)> {
        self.first.as_ref().map(|(_, node)| (self.nodes, node))
    }
}

/// Whether the node is named as issuer, as in all certificates that nodes make (protocol 1.3). Looks for the
/// id as a string of DER: tag, length, text.
fn is_self_issued(certificate: &Certificate, node: &NodeId) -> bool {
    // UTF8String, PrintableString, IA5String, and what comes before a length of 128.
    const BEFORE: [u8; 4] = [0x0c, 0x13, 0x16, 0x81];
    let id = node.as_str().as_bytes();
    certificate.issuer_der().windows(id.len() + 2).any(|part| {
        let (head, text) = part.split_at(2);
        BEFORE.contains(&head[0]) && usize::from(head[1]) == id.len() && text == id
    })
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;

    #[test]
    fn limits_of_the_buckets() {
        let (mut counts, now, day) = (Counts::default(), Utc::now(), TimeDelta::days(1));
        for left in [TimeDelta::zero(), -day, TimeDelta::seconds(1), day * 7, day * 30, day * 31] {
            counts.add(now + left, now);
        }
        assert_eq!(counts, Counts { expired: 2, week: 1, month: 1, longer: 2 });
    }
}
