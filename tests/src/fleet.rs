// SPDX-License-Identifier: Apache-2.0
//! Who is below whom, as the files that policy servers get (protocol 5.1, 5.2).

use protocol::{certificate::Certificate, node_id::NodeId};
use serde_json::{Map, Value, json};

use crate::{Result, identity::Identity};

/// All machines of a site.
#[derive(Debug, Clone, Default)]
pub struct Fleet {
    members: Vec<Member>,
}

#[derive(Debug, Clone)]
struct Member {
    node_id: NodeId,
    certificate: Certificate,
    policy_server: NodeId,
}

impl Fleet {
    /// A fleet with its root only.
    pub fn new(root: &Identity) -> Self {
        let mut fleet = Self::default();
        fleet.add(root, &root.node_id);
        fleet
    }

    /// Adds a machine below a policy server.
    pub fn add(&mut self, machine: &Identity, policy_server: &NodeId) {
        self.add_certificate(machine.node_id.clone(), machine.certificate.clone(), policy_server);
    }

    /// Adds a machine of which only the certificate is known.
    pub fn add_certificate(&mut self, node_id: NodeId, certificate: Certificate, policy_server: &NodeId) {
        self.members.push(Member { node_id, certificate, policy_server: policy_server.clone() });
    }

    /// Removes a machine.
    pub fn remove(&mut self, node_id: &NodeId) {
        self.members.retain(|member| member.node_id != *node_id);
    }

    /// `nodeslist.json` for the policy server `here`: what is below it, and `root`.
    pub fn node_list(&self, here: &NodeId) -> String {
        let entries: Map<String, Value> = self
            .members
            .iter()
            .filter(|member| here.is_root() || member.node_id.is_root() || self.leads_to(member, here))
            .map(|member| {
                let entry = json!({
                    "hostname": "localhost",
                    "key-hash": member.certificate.key_hash().to_string(),
                    "policy-server": member.policy_server.as_str(),
                });
                (member.node_id.to_string(), entry)
            })
            .collect();
        Value::Object(entries).to_string()
    }

    /// All certificates, concatenated.
    pub fn certificates(&self) -> Result<Vec<u8>> {
        let mut bundle = Vec::new();
        for member in &self.members {
            bundle.extend(member.certificate.x509().to_pem()?);
            bundle.push(b'\n');
        }
        Ok(bundle)
    }

    fn leads_to(&self, member: &Member, server: &NodeId) -> bool {
        let mut member = member;
        for _ in 0..=self.members.len() {
            if member.node_id == *server || member.policy_server == *server {
                return true;
            }
            match self.members.iter().find(|m| m.node_id == member.policy_server) {
                Some(above) if above.node_id != member.node_id => member = above,
                _ => return false,
            }
        }
        false
    }
}
