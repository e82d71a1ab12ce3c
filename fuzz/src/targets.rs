// SPDX-License-Identifier: Apache-2.0
//! One function for each reader of hostile input. Each checks what must hold for any input at all.
//!
//! The corpus test of `protocol` includes this file, so that plain `cargo test` replays the corpus.

use std::sync::LazyLock;

use protocol::{
    certificate::{self, Certificate},
    compression::{self, Compression},
    hash::KeyHash,
    inventory_name::InventoryName,
    node_id::NodeId,
    node_list::NodeList,
    run_id::{self, RunId, RunLogName},
    run_log::{self, print::to_agent_lines},
    smime, urls,
};

/// The node that signed the valid seeds of [`smime`]; its key is gone.
pub static SIGNER: LazyLock<Certificate> = LazyLock::new(|| {
    Certificate::from_pem(include_bytes!("../signer.pem")).expect("the certificate of the seeds")
});

/// Names of files and nodes, notations of keys: what is accepted is safe and says the same when printed.
pub fn names(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(name) = text.parse::<RunLogName>() {
        assert_eq!(name.to_string(), text);
        assert!(run_id::is_considered(text));
        assert_safe(text);
        let again = RunLogName::new(name.run_id().clone());
        if let Ok(again) = again.as_str().parse::<RunLogName>() {
            assert_eq!(again.run_id().node_id, name.run_id().node_id);
        }
    }
    if let Ok(name) = text.parse::<InventoryName>() {
        assert_eq!(name.as_str(), text);
        assert_safe(text);
        // Only not to crash: the name decides nothing about the node.
        let _ = name.node_id();
    }
    if let Ok(id) = text.parse::<NodeId>() {
        assert_eq!(id.as_str(), text);
        assert_safe(text);
    }
    if let Ok(hash) = text.parse::<KeyHash>() {
        assert_eq!(hash.to_string().parse::<KeyHash>().as_ref(), Ok(&hash));
    }
}

fn assert_safe(name: &str) {
    assert!(!name.is_empty() && name != "." && name != "..");
    assert!(!name.contains(['/', '\0', '\n', '\r']), "{name:?}");
}

/// Run logs: what was parsed prints and parses back to the same, and has its JSON form.
pub fn run_log(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let node = NodeId::root();
    let Ok(mut parsed) = run_log::parse(&text, &node) else { return };
    assert!(!parsed.reports.is_empty());
    assert!(parsed.reports.iter().all(|r| !r.rule_id.is_empty() && !r.component.is_empty()));
    for part in &parsed.skipped {
        assert!(text.contains(part.text));
    }
    let run_id = RunId { node_id: node.clone(), start: parsed.start };
    serde_json::to_string(&run_log::json::View::new(&run_id, &parsed)).expect("always JSON");
    parsed.skipped.clear();
    let printed = to_agent_lines(&parsed);
    let again = run_log::parse(&printed, &node).expect("a printed log parses");
    assert_eq!(again, parsed);
}

/// Signed messages: nothing that is accepted holds what a database refuses.
pub fn smime(data: &[u8]) {
    if let Ok(verified) = smime::verify(data, std::slice::from_ref(&*SIGNER)) {
        assert!(!verified.text.contains('\0'));
    }
}

/// Packed uploads, the format in the first byte: never more than the cap comes out.
pub fn unpack(data: &[u8]) {
    const CAP: u64 = 1 << 20;
    let Some((format, packed)) = data.split_first() else { return };
    let format = match format {
        b'g' => Compression::Gzip,
        b'z' => Compression::Zip,
        _ => Compression::None,
    };
    if let Ok(content) = compression::unpack(packed, format, CAP) {
        assert!(content.len() as u64 <= CAP);
    }
}

/// Node lists: every node that is below a policy server has a way there.
pub fn node_list(data: &[u8]) {
    let Ok(list) = NodeList::from_json(data) else { return };
    assert_eq!(list.len(), list.iter().count());
    let root = NodeId::root();
    for (node, _) in list.iter().take(100) {
        let hop = list.next_hop(node, &root);
        if list.is_below(node, &root) {
            assert!(hop.is_ok(), "{node}: {hop:?}");
        }
    }
}

/// Certificate bundles.
pub fn certificates(data: &[u8]) {
    if let Ok(certificates) = certificate::read_bundle(data) {
        for certificate in &certificates {
            assert!(certificate.key_hash().matches(certificate.spki_der()));
        }
    }
    if let Ok(certificate) = Certificate::from_pem(data) {
        let _ = certificate.node_id();
    }
}

/// Paths of upload requests: what comes out is safe as a part of a path, and makes the same path again.
pub fn upload_path(data: &[u8]) {
    let Ok(path) = std::str::from_utf8(data) else { return };
    if let Ok((kind, name)) = urls::parse_upload_path(path) {
        assert_safe(&name);
        assert_eq!(urls::parse_upload_path(&kind.path(&name)), Ok((kind, name)));
    }
}
