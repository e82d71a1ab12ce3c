// SPDX-License-Identifier: Apache-2.0
//! One function for each reader of hostile input. Each checks what must hold for any input at all.
//!
//! The corpus test of `protocol` includes this file, so that plain `cargo test` replays the corpus.

use std::sync::LazyLock;

use openssl::{
    hash::MessageDigest,
    pkey::{PKey, Private},
    sign::Signer,
};
use protocol::{
    certificate::{self, Certificate},
    compression::{self, Compression},
    enrolment::{Request, RequestError},
    hash::KeyHash,
    inventory_name::InventoryName,
    node_id::NodeId,
    node_list::NodeList,
    node_tree::{self, TreeDocument},
    policy_manifest::{Expectation, Manifest},
    private_key::{self, KeyKind},
    remote_run::{Condition, Event, Line, LineReader, MAX_LINE, RunForm, RunOrder, RunRequestId, Targets},
    run_id::{self, RunId, RunLogName},
    run_log::{self, print::to_agent_lines},
    shared_file::{self, Address, Metadata, metadata},
    smime,
    triggers::{self, ReportFrom},
    urls,
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

/// Documents of the node tree: what is read is written and read back, and can be applied.
pub fn node_tree(data: &[u8]) {
    let Ok(document) = TreeDocument::from_json(data) else { return };
    assert!(node_tree::is_version(&document.version));
    assert_eq!(TreeDocument::from_json(&document.to_json()).expect("it was written here"), document);
    let there = document.nodes.values().flatten().count();
    let list = document.apply(NodeList::default());
    assert_eq!(list.len(), there);
    assert_eq!(NodeList::from_json(&list.to_json()).expect("it was written here"), list);
    assert!(list.below(&NodeId::root()).len() <= list.len());
}

/// Manifests of policies, signed or not: what is read prints and reads back to the same, its paths stay
/// within the tree and name one file each; and no input that is not signed is taken under a pinned key.
pub fn policy_manifest(data: &[u8]) {
    if let Ok(manifest) = Manifest::read_unverified(data) {
        let text = manifest.to_json();
        assert_eq!(Manifest::from_json(text.as_bytes()).as_ref(), Ok(&manifest));
        for file in manifest.files().iter() {
            let inside = |part| matches!(part, std::path::Component::Normal(_));
            assert!(file.path.as_path().components().all(inside), "{}", file.path);
            assert_eq!(manifest.files().get(&file.path), Some(file));
        }
    }
    let pinned = std::slice::from_ref(&*SIGNER);
    let (node_id, now) = (&NodeId::root(), chrono::DateTime::UNIX_EPOCH);
    if (Expectation { node_id, pinned, held: None, now }).accept(data).is_ok() {
        assert!(smime::verify(data, pinned).is_ok());
    }
}

/// Certificate requests: as they come, or, after an `s`, subject and attributes (the length of the
/// subject in two bytes before them) of one with a good signature, which no fuzzer would make.
pub fn enrolment_request(data: &[u8]) {
    let Ok(request) = parsed_request(data) else { return };
    assert_safe(request.node_id.as_str());
    assert!(request.key_hash.matches(request.spki_der()));
    assert!(request.hostname.len() <= 255 && !request.hostname.contains(['/', '\0', ' ']));
    if let Some(token) = request.token() {
        assert!(!token.is_empty() && token.bytes().all(|b| b.is_ascii_graphic()));
    }
    if let Some(certificate) = request.certificate() {
        assert_eq!(certificate.sole_node_id(), Some(&request.node_id));
        assert_eq!(certificate.spki_der(), request.spki_der());
    }
    let (node, hostname) = (&request.node_id, &request.hostname);
    let again = Request::make(&KEY, node, hostname, request.as_relay, request.token()).expect("it was read");
    let again = Request::parse(&again).expect("it was made here");
    assert_eq!((&again.node_id, &again.hostname), (node, hostname));
    assert_eq!((again.as_relay, again.token()), (request.as_relay, request.token()));
}

/// The request in an input of [`enrolment_request`].
pub fn parsed_request(data: &[u8]) -> Result<Request, RequestError> {
    match data.split_first() {
        Some((b's', [high, low, parts @ ..])) => {
            let at = usize::from(u16::from_be_bytes([*high, *low])).min(parts.len());
            let (subject, attributes) = parts.split_at(at);
            Request::parse(&signed_request(subject, attributes))
        }
        _ => Request::parse(data),
    }
}

static KEY: LazyLock<PKey<Private>> =
    LazyLock::new(|| private_key::generate(KeyKind::P256).expect("OpenSSL makes keys"));

fn signed_request(subject: &[u8], attributes: &[u8]) -> Vec<u8> {
    const ECDSA_WITH_SHA256: &[u8] = b"\x30\x0a\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x02";
    let spki = KEY.public_key_to_der().expect("OpenSSL writes keys");
    let parts = [&[2, 1, 0], &*value(0x30, subject), &spki, &value(0xa0, attributes)].concat();
    let info = value(0x30, &parts);
    let signer = Signer::new(MessageDigest::sha256(), &KEY);
    let signature = signer.and_then(|mut signer| signer.sign_oneshot_to_vec(&info)).expect("OpenSSL signs");
    let signature = value(3, &[&[0], &*signature].concat());
    let der = value(0x30, &[&info, ECDSA_WITH_SHA256, &signature].concat());
    let base64 = openssl::base64::encode_block(&der);
    format!("-----BEGIN CERTIFICATE REQUEST-----\n{base64}\n-----END CERTIFICATE REQUEST-----\n").into()
}

/// A DER value of up to 64 KiB.
fn value(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len().to_be_bytes();
    let head = match content.len() {
        0..0x80 => vec![tag, length[7]],
        0x80..0x100 => vec![tag, 0x81, length[7]],
        _ => vec![tag, 0x82, length[6], length[7]],
    };
    [&head, content].concat()
}

/// Certificate bundles.
pub fn certificates(data: &[u8]) {
    if let Ok(certificates) = certificate::read_bundle(data) {
        for certificate in &certificates {
            assert!(certificate.key_hash().matches(certificate.spki_der()));
            assert_eq!(Certificate::from_pem(&certificate.to_pem()).is_ok(), certificate.to_x509().is_ok());
            let _ = (certificate.dns_names(), certificate.uris(), certificate.not_after());
        }
    }
    if let Ok(certificate) = Certificate::from_pem(data) {
        let _ = certificate.node_id();
    }
}

/// Paths of requests with a name in them: what comes out is safe as a part of a path, and makes the same path again.
pub fn upload_path(data: &[u8]) {
    let Ok(path) = std::str::from_utf8(data) else { return };
    if let Ok((kind, name)) = urls::parse_upload_path(path) {
        assert_safe(&name);
        assert_eq!(urls::parse_upload_path(&kind.path(&name)), Ok((kind, name)));
    }
    if let Ok((kind, node)) = urls::parse_identity_path(path) {
        assert_safe(node.as_str());
        assert_eq!(urls::parse_identity_path(&kind.path(&node)), Ok((kind, node)));
    }
}

/// Remote runs, by the first byte: `f` forms of version 1, `j` requests of version 2, anything else the
/// lines that another server sends. What is read is written and read back, and is safe in an argument.
pub fn remote_run(data: &[u8]) {
    let safe = |condition: &Condition| {
        assert!(condition.as_str().len() <= 1024 && !condition.as_str().contains(['-', ',', ' ', '\0']));
    };
    match data.split_first() {
        Some((b'f', body)) => {
            let Ok(mut form) = RunForm::parse(body) else { return };
            form.conditions.iter().for_each(safe);
            form.nodes.iter().flatten().for_each(|node| assert_safe(node.as_str()));
            let again = RunForm::parse(form.to_body().as_bytes()).expect("it was written here");
            form.bad_ids = 0;
            assert_eq!(again, form);
        }
        Some((b'j', body)) => {
            let Ok(order) = RunOrder::from_json(body) else { return };
            order.conditions.iter().for_each(safe);
            if let Targets::Nodes(nodes) = &order.targets {
                nodes.iter().for_each(|node| assert_safe(node.as_str()));
            }
            assert_eq!(RunOrder::from_json(&order.to_json()), Ok(order));
        }
        _ => {
            let (mut whole, mut cut) = (Vec::new(), Vec::new());
            LineReader::default().push(data, |line| whole.push(line));
            let (mut reader, half) = (LineReader::default(), data.len() / 2);
            reader.push(&data[..half], |line| cut.push(line));
            reader.push(&data[half..], |line| cut.push(line));
            assert_eq!(whole, cut);
            for line in whole.into_iter().flatten() {
                let json = line.to_json();
                assert!(json.len() <= MAX_LINE);
                // Times are written to the millisecond.
                assert_eq!(Line::from_json(&json).expect("it was written here").to_json(), json);
            }
        }
    }
}

/// Triggers: after a `q` the query of a request for news or of a report, else a report. What is read is the same
/// when written and read again, and bounded.
pub fn triggers(data: &[u8]) {
    if let Some((b'q', query)) = data.split_first() {
        let Ok(query) = std::str::from_utf8(query) else { return };
        if let Ok(have) = triggers::have(Some(query)) {
            assert!(have.len() <= triggers::MAX_RUNS);
            let path = triggers::news_path(&have);
            assert_eq!(triggers::have(path.split_once('?').map(|(_, query)| query)), Ok(have));
        }
        if let Ok(place) = ReportFrom::parse(Some(query)) {
            let path = triggers::report_path(&RunRequestId::new(), place);
            assert_eq!(ReportFrom::parse(path.split_once('?').map(|(_, query)| query)), Ok(place));
        }
        return;
    }
    let Ok(events) = triggers::events(data) else { return };
    assert!(events.iter().all(Event::is_bounded));
    assert!(events.iter().rev().skip(1).all(|event| !event.is_final()));
    let lines: String = events.iter().map(triggers::line).collect();
    assert_eq!(triggers::events(lines.as_bytes()), Ok(events));
}

/// Shared files: after an `a` an address, after a `t` a time, else the start of an upload. What is read is
/// safe, and is the same when written and read again.
pub fn shared_file(data: &[u8]) {
    let text = std::str::from_utf8(data.get(1..).unwrap_or_default()).unwrap_or_default();
    match data.first() {
        Some(b'a') => {
            let Ok(address) = Address::from_url(text) else { return };
            assert_safe(address.target.as_str());
            assert_safe(address.source.as_str());
            assert_safe(address.file.as_str());
            assert!(!address.file.as_str().to_ascii_lowercase().ends_with(".metadata"));
            assert_eq!(Address::from_url(&address.to_url()), Ok(address));
        }
        Some(b't') => {
            if let Ok(ttl) = shared_file::parse_ttl(text) {
                assert_eq!(shared_file::parse_ttl(&ttl.as_secs().to_string()), Ok(ttl));
            }
        }
        _ => {
            let Ok(Some(end)) = metadata::split(data) else { return };
            assert!(end <= metadata::MAX_SIZE && data[end - 1] == b'\n');
            let Ok(read) = Metadata::parse(&data[..end]) else { return };
            assert_eq!(Metadata::parse(read.to_string().as_bytes()), Ok(read));
        }
    }
}
