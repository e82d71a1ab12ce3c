// SPDX-License-Identifier: Apache-2.0
//! The node table: who may send what, with which keys. Made from files, from the registry, or from what
//! the server above tells; published as immutable snapshots; readers never wait.

mod loader;

use std::{collections::HashMap, sync::Arc};

use openssl::sha::sha512;
use protocol::{certificate::Certificate, hash::KeyHash, node_id::NodeId, node_list::NodeList};

pub use self::loader::{Loader, NodesError, read_files, read_list};

/// A snapshot of the nodes, their keys and certificates at one moment.
#[derive(Debug, Default)]
pub struct NodeTable {
    /// Who is where.
    list: NodeList,
    /// Certificates by node, in file order.
    certificates: HashMap<NodeId, Arc<[Certificate]>>,
    /// Keys with which nodes may sign whatever certificate they name.
    signing_keys: HashMap<NodeId, Arc<[Spki]>>,
    /// Nodes by the hash of their key; more than one when machines were cloned.
    by_key: HashMap<KeyHash, Vec<NodeId>>,
}

/// The hashes of one key, of each kind that lists have.
pub type KeyHashes = [KeyHash; 2];

/// A DER SubjectPublicKeyInfo.
pub type Spki = Arc<[u8]>;

/// The newest snapshot, and word when there is a newer one.
pub type Nodes = tokio::sync::watch::Receiver<Arc<NodeTable>>;

impl NodeTable {
    /// Combines a list and certificates. Certificates without a node id and those of nodes that are
    /// not on the list are skipped with one warning for all (protocol 5.2).
    pub fn new(list: NodeList, bundle: Vec<Certificate>) -> Self {
        let mut certificates: HashMap<NodeId, Vec<Certificate>> = HashMap::new();
        let (mut nameless, mut strangers) = (0_usize, Vec::new());
        for certificate in bundle {
            match certificate.node_id() {
                None => nameless += 1,
                Some(node) if list.get(node).is_none() => strangers.push(node.clone()),
                Some(node) => certificates.entry(node.clone()).or_default().push(certificate),
            }
        }
        warn_of_skipped(nameless, &strangers);
        let certificates = certificates.into_iter().map(|(node, all)| (node, all.into())).collect();
        Self::of(list, certificates, HashMap::new())
    }

    /// Combines what a registry knows: `signing_keys` are those that are valid now.
    pub fn of(
        list: NodeList,
        certificates: HashMap<NodeId, Arc<[Certificate]>>,
        signing_keys: HashMap<NodeId, Arc<[Spki]>>,
    ) -> Self {
        let mut by_key: HashMap<KeyHash, Vec<NodeId>> = HashMap::with_capacity(list.len());
        let mut owns = |hash: KeyHash, node: &NodeId| {
            let owners = by_key.entry(hash).or_default();
            if !owners.contains(node) {
                owners.push(node.clone());
            }
        };
        for (node, entry) in list.iter() {
            entry.key_hashes().for_each(|hash| owns(hash.clone(), node));
            if entry.key_hashes().next().is_none() {
                // Without a hash on the list, the certificates say which keys are the node's.
                let certificates = certificates.get(node).into_iter().flat_map(|all| all.iter());
                certificates.for_each(|certificate| owns(certificate.key_hash(), node));
            }
        }
        Self { list, certificates, signing_keys, by_key }
    }

    /// The list.
    pub fn list(&self) -> &NodeList {
        &self.list
    }

    /// Whether the node is on the list.
    pub fn knows(&self, node: &NodeId) -> bool {
        self.list.get(node).is_some()
    }

    /// Certificates with which a node may sign.
    pub fn certificates(&self, node: &NodeId) -> &[Certificate] {
        self.certificates.get(node).map_or(&[], |all| all)
    }

    /// Keys with which a node may sign, whatever certificate the signature names. Only a registry
    /// knows them: it has the key of a node from its request, and perhaps no certificate at all.
    pub fn signing_keys(&self, node: &NodeId) -> &[Spki] {
        self.signing_keys.get(node).map_or(&[], |all| all)
    }

    /// The node to which the key of this certificate belongs (design: TLS identity is by key, not by
    /// name). Only when several nodes have the same key does the name in the certificate decide.
    pub fn identify(&self, certificate: &Certificate) -> Option<&NodeId> {
        self.identify_by(certificate, &key_hashes(certificate))
    }

    /// The same for who has the [`key_hashes`] of the certificate: working them out costs more than looking
    /// for them, and clients ask again and again with the same one.
    pub fn identify_by(&self, certificate: &Certificate, hashes: &KeyHashes) -> Option<&NodeId> {
        let mut owners = self.owners(hashes);
        let first = owners.next()?;
        match owners.next() {
            None => Some(first),
            Some(second) => {
                let named = certificate.node_id()?;
                [first, second].into_iter().chain(owners).find(|owner| *owner == named)
            }
        }
    }

    /// The node whose key has this hash, if there is one and only one.
    pub fn owner_of(&self, hash: &KeyHash) -> Option<&NodeId> {
        match self.by_key.get(hash).map(Vec::as_slice) {
            Some([owner]) => Some(owner),
            _ => None,
        }
    }

    /// Whether a TLS handshake with this certificate may succeed: not when it names a node of the list
    /// and its key is none of that node's. A node whose keys nobody knows yet can show what it likes.
    pub fn admits(&self, certificate: &Certificate) -> bool {
        let Some(node) = certificate.sole_node_id() else { return true };
        let Some(entry) = self.list.get(node) else { return true };
        let has_keys = entry.key_hashes().next().is_some() || !self.certificates(node).is_empty();
        !has_keys || self.owners(&key_hashes(certificate)).any(|owner| owner == node)
    }

    fn owners<'a>(&'a self, hashes: &KeyHashes) -> impl Iterator<Item = &'a NodeId> + use<'a> {
        hashes.each_ref().map(|hash| self.by_key.get(hash)).into_iter().flatten().flatten()
    }
}

/// All that lists may say about the key of a certificate.
pub fn key_hashes(certificate: &Certificate) -> KeyHashes {
    let spki = certificate.spki_der();
    [KeyHash::sha256_of(spki), KeyHash::Sha512(sha512(spki))]
}

fn warn_of_skipped(nameless: usize, strangers: &[NodeId]) {
    if nameless > 0 {
        tracing::warn!("{nameless} certificates without a node id (UID) in their subject are skipped");
    }
    if let Some(first) = strangers.first() {
        tracing::warn!(
            "{} certificates of nodes that are not in the node list are skipped, the first of node {first}",
            strangers.len()
        );
    }
}

#[cfg(test)]
mod tests {
    use protocol::{
        node_list::NodeEntry,
        private_key::{self, KeyKind},
    };

    use super::*;

    struct Machine {
        key: openssl::pkey::PKey<openssl::pkey::Private>,
    }

    impl Machine {
        fn new() -> Self {
            Self { key: private_key::generate(KeyKind::P256).unwrap() }
        }

        fn certificate(&self, name: &str) -> Certificate {
            private_key::self_signed(&self.key, &name.parse().unwrap()).unwrap()
        }
    }

    fn list(nodes: &[(&str, Option<String>)]) -> NodeList {
        let entry = |hash: &Option<String>| serde_json::json!({"hostname": "h", "policy-server": "root", "key-hash": hash.as_deref().unwrap_or("")});
        let object: serde_json::Map<_, _> =
            nodes.iter().map(|(id, hash)| ((*id).to_owned(), entry(hash))).collect();
        NodeList::from_json(serde_json::Value::Object(object).to_string().as_bytes()).unwrap()
    }

    fn identified(table: &NodeTable, certificate: &Certificate) -> Option<String> {
        table.identify(certificate).map(ToString::to_string)
    }

    #[test]
    fn a_node_is_known_by_its_key_whatever_its_certificate_says() {
        let (a, b) = (Machine::new(), Machine::new());
        let sha256 = a.certificate("a").key_hash().to_string();
        let sha512 = KeyHash::Sha512(sha512(b.certificate("b").spki_der())).to_string();
        let table = NodeTable::new(list(&[("a", Some(sha256)), ("b", Some(sha512))]), vec![]);
        assert_eq!(identified(&table, &a.certificate("b")).as_deref(), Some("a"));
        assert_eq!(identified(&table, &b.certificate("b")).as_deref(), Some("b"));
        assert_eq!(identified(&table, &Machine::new().certificate("a")), None);
    }

    #[test]
    fn without_a_hash_on_the_list_the_bundle_decides() {
        let (a, forger) = (Machine::new(), Machine::new());
        let table = NodeTable::new(list(&[("a", None)]), vec![a.certificate("a")]);
        assert_eq!(identified(&table, &a.certificate("x")).as_deref(), Some("a"));
        assert_eq!(identified(&table, &forger.certificate("a")), None);
    }

    #[test]
    fn with_a_hash_on_the_list_the_bundle_does_not_add_keys() {
        let (a, old) = (Machine::new(), Machine::new());
        let hash = a.certificate("a").key_hash().to_string();
        let table = NodeTable::new(list(&[("a", Some(hash))]), vec![old.certificate("a")]);
        assert_eq!(identified(&table, &old.certificate("a")), None);
    }

    #[test]
    fn the_name_decides_between_clones_only() {
        let clone = Machine::new();
        let hash = Some(clone.certificate("a").key_hash().to_string());
        let table = NodeTable::new(list(&[("a", hash.clone()), ("b", hash)]), vec![]);
        assert_eq!(identified(&table, &clone.certificate("a")).as_deref(), Some("a"));
        assert_eq!(identified(&table, &clone.certificate("b")).as_deref(), Some("b"));
        assert_eq!(identified(&table, &clone.certificate("c")), None);
    }

    #[test]
    fn a_key_in_overlap_identifies_its_node_as_well() {
        let (new, old, other) = (Machine::new(), Machine::new(), Machine::new());
        let hash = |machine: &Machine| machine.certificate("a").key_hash();
        let entry = NodeEntry {
            hostname: "h".into(),
            key_hash: Some(hash(&new)),
            other_key_hashes: vec![hash(&old)],
            policy_server: NodeId::root(),
            is_relay: false,
        };
        let table = NodeTable::new([("a".parse().unwrap(), entry)].into_iter().collect(), vec![]);
        for machine in [&new, &old] {
            assert_eq!(identified(&table, &machine.certificate("a")).as_deref(), Some("a"));
            assert_eq!(table.owner_of(&hash(machine)).map(NodeId::as_str), Some("a"));
            assert!(table.admits(&machine.certificate("a")));
        }
        assert!(!table.admits(&other.certificate("a")));
        assert!(table.admits(&other.certificate("b")), "nobody knows b, so it can become known");
        assert!(!table.knows(&"b".parse().unwrap()));
    }

    #[test]
    fn a_certificate_that_names_another_node_is_not_admitted() {
        let (a, b) = (Machine::new(), Machine::new());
        let hash = |machine: &Machine| Some(machine.certificate("x").key_hash().to_string());
        let table = NodeTable::new(list(&[("a", hash(&a)), ("b", hash(&b)), ("new", None)]), vec![]);
        assert!(table.admits(&a.certificate("a")) && !table.admits(&a.certificate("b")));
        assert!(table.admits(&a.certificate("new")), "no key of it is known");
    }

    #[test]
    fn all_certificates_of_listed_nodes_are_kept_in_order() {
        let (first, second) = (Machine::new().certificate("a"), Machine::new().certificate("a"));
        let stranger = Machine::new().certificate("z");
        let table = NodeTable::new(list(&[("a", None)]), vec![first.clone(), stranger, second.clone()]);
        let kept = table.certificates(&"a".parse().unwrap());
        assert_eq!(
            kept.iter().map(Certificate::key_hash).collect::<Vec<_>>(),
            [first.key_hash(), second.key_hash()]
        );
        assert!(table.certificates(&"z".parse().unwrap()).is_empty());
    }
}
