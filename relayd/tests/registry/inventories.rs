// SPDX-License-Identifier: Apache-2.0
//! First inventories enrol nodes; later ones bring new certificates and keys.

use std::{fs, path::PathBuf, slice::from_ref, sync::Arc, time::Duration};

use chrono::Utc;
use openssl::{
    asn1::Asn1Time,
    hash::MessageDigest,
    sign::Signer,
    x509::{X509, X509Name},
};
use protocol::{certificate::Certificate, compression, node_list::NodeList, urls::UploadKind};
use relayd::{
    config::SpoolSettings,
    db::Database,
    fleet::Paging,
    inventories::{
        questions::{self, Filter, Wanted},
        store::Store,
    },
    nodes::NodeTable,
    registry::{
        admin::{self, Accept},
        record::{ConflictKind, NodeState},
    },
    sink::enrol::{Authority, Enrol, Keeping},
    spool::Spool,
};
use tokio_util::sync::CancellationToken;

use crate::{
    common::fleet::config_of,
    on_both,
    rig::{Machine, Place, Root, until},
};

on_both!(
    a_first_inventory_makes_a_node_known_in_any_order_of_its_files,
    what_is_not_signed_by_the_node_goes_to_failed_with_both_files,
    an_inventory_signed_with_the_current_key_brings_the_next,
    an_inventory_brings_no_key_that_the_node_does_not_have,
    in_the_database_a_first_inventory_makes_a_pending_node,
    what_is_no_inventory_is_refused_with_its_reason,
    with_a_node_list_its_certificates_decide,
);

struct InventorySpool {
    directory: PathBuf,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

impl InventorySpool {
    fn open(place: &Place, root: &Root) -> Self {
        let keeping = Keeping::received(&place.path("inventories")).unwrap();
        let registry = Some(root.registry.clone());
        Self::of(place, Authority { nodes: root.nodes.clone(), registry }, keeping)
    }

    /// What inventories say goes into the database.
    fn stored(place: &Place, authority: Authority) -> Self {
        let database = Database::open(&config_of(place.url.clone())).unwrap();
        Self::of(place, authority, Keeping::Database(Store::start(database).unwrap()))
    }

    fn of(place: &Place, authority: Authority, keeping: Keeping) -> Self {
        let directory = place.path("inventories");
        let settings = SpoolSettings {
            directory: directory.clone(),
            sweep_every: Some(Duration::from_millis(200)),
            max_file_size: 20 << 20,
            max_in_flight: 16,
            clean_every: Duration::from_secs(3600),
            retention: Duration::from_secs(86_400),
        };
        let spool = Spool::open(UploadKind::NewInventory, &settings, &prometheus::Registry::new()).unwrap();
        let enrol = Enrol::new(authority, keeping, settings.max_file_size, Arc::default());
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let task = tokio::spawn(async move { spool.run(Arc::new(enrol), stopped).await.unwrap() });
        Self { directory, stop, task }
    }

    fn put(&self, name: &str, content: &[u8]) {
        let temporary = self.directory.join(format!(".{name}"));
        fs::write(&temporary, content).unwrap();
        fs::rename(temporary, self.directory.join("incoming").join(name)).unwrap();
    }

    fn names(&self, directory: &str) -> Vec<String> {
        let entries = fs::read_dir(self.directory.join(directory)).unwrap();
        let mut names: Vec<_> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn put_both(&self, name: &str, (content, sign): (Vec<u8>, Vec<u8>)) {
        self.put(&format!("{name}.ocs.gz"), &content);
        self.put(&format!("{name}.ocs.sign"), &sign);
    }

    /// What the reason says for which both were refused.
    async fn refused(&self, name: &str) -> String {
        let failed = |file: &str| self.directory.join("failed").join(format!("{name}.ocs.{file}"));
        until("both and their reasons", || {
            ["gz", "gz.reason", "sign", "sign.reason"].iter().all(|file| failed(file).exists())
        })
        .await;
        fs::read_to_string(failed("gz.reason")).unwrap()
    }

    async fn close(self) {
        self.stop.cancel();
        self.task.await.unwrap();
    }
}

/// An inventory that has the certificate of one machine, and its signature by another one's key.
fn inventory(of: &Machine, signed_by: &Machine) -> (Vec<u8>, Vec<u8>) {
    signed(&document(of), signed_by)
}

fn document(of: &Machine) -> String {
    let certificate = String::from_utf8(of.certificate.to_pem()).unwrap();
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<REQUEST><CONTENT><ACCESSLOG><LOGDATE>{}</LOGDATE></ACCESSLOG>\
         <OPERATINGSYSTEM><KERNEL_VERSION>6.1.0</KERNEL_VERSION><NAME>Debian</NAME></OPERATINGSYSTEM>\
         <RUDDER><AGENT><AGENT_NAME>cfengine-community</AGENT_NAME><AGENT_CERT>{certificate}</AGENT_CERT>\
         <OWNER>root</OWNER><POLICY_SERVER_UUID>root</POLICY_SERVER_UUID></AGENT>\
         <AGENT_VERSION>9.0.0</AGENT_VERSION><HOSTNAME>{}</HOSTNAME><UUID>{}</UUID></RUDDER>\
         <SOFTWARES><FROM>deb</FROM><NAME>bash</NAME><VERSION>5.2</VERSION></SOFTWARES>\
         </CONTENT><DEVICEID>x</DEVICEID></REQUEST>",
        Utc::now().format("%Y-%m-%d %H:%M:%S"),
        of.hostname,
        of.id
    )
}

/// A packed document and its signature file.
fn signed(xml: &str, by: &Machine) -> (Vec<u8>, Vec<u8>) {
    let mut signer = Signer::new(MessageDigest::sha512(), &by.key).unwrap();
    let digest: String =
        signer.sign_oneshot_to_vec(xml.as_bytes()).unwrap().iter().map(|b| format!("{b:02x}")).collect();
    let sign = format!("header=rudder-signature-v1\nalgorithm=sha512\ndigest={digest}\nhostname=x\n");
    (compression::gzip(xml.as_bytes()), sign.into_bytes())
}

async fn a_first_inventory_makes_a_node_known_in_any_order_of_its_files(place: Place) {
    let root = place.start();
    let spool = InventorySpool::open(&place, &root);
    for (id, signature_first) in [("n1", false), ("n2", true)] {
        let machine = Machine::new(id);
        let (content, sign) = inventory(&machine, &machine);
        let mut files = [(format!("{id}.ocs.gz"), content), (format!("{id}.ocs.sign"), sign)];
        if signature_first {
            files.reverse();
        }
        spool.put(&files[0].0, &files[0].1);
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert_eq!(spool.names("incoming").len(), 1, "it waits for the other one");
        spool.put(&files[1].0, &files[1].1);
        until("both are taken", || spool.names("incoming").is_empty()).await;
        let node = admin::get(&mut place.connect(), &machine.id).unwrap().unwrap();
        assert_eq!((node.node.state, node.node.hostname), (NodeState::Pending, machine.hostname.clone()));
        assert_eq!(node.certificates.len(), 1);
        admin::accept(&mut place.connect(), from_ref(&machine.id), "op", &Accept::default()).unwrap();
        let table = root.until("accepted", |table| table.knows(&machine.id)).await;
        assert_eq!(table.identify(&machine.certificate), Some(&machine.id));
    }
    assert_eq!(spool.names("received"), ["n1.ocs.gz", "n1.ocs.sign", "n2.ocs.gz", "n2.ocs.sign"]);
    assert_eq!(spool.names("failed"), [""; 0]);
    spool.close().await;
    root.stop().await;
}

async fn what_is_not_signed_by_the_node_goes_to_failed_with_both_files(place: Place) {
    let root = place.start();
    let spool = InventorySpool::open(&place, &root);
    let (machine, thief) = (Machine::new("n1"), Machine::new("n1"));
    root.enrol(&machine, None).await.unwrap();
    for (name, of, by, reason) in [
        // Signed by somebody else than the key in it.
        ("a", &machine, &thief, "bad_signature"),
        // A second key claims the id.
        ("b", &thief, &thief, "conflict"),
    ] {
        let (content, sign) = inventory(of, by);
        spool.put(&format!("{name}.ocs.gz"), &content);
        spool.put(&format!("{name}.ocs.sign"), &sign);
        for file in [format!("{name}.ocs.gz"), format!("{name}.ocs.sign")] {
            let path = spool.directory.join("failed").join(format!("{file}.reason"));
            until("its reason", || path.exists()).await;
            let text = fs::read_to_string(path).unwrap();
            assert!(text.contains(reason), "{file}: {text}");
        }
    }
    let node = admin::get(&mut place.connect(), &machine.id).unwrap().unwrap();
    assert_eq!(node.node.key_hash, Some(machine.certificate.key_hash()));
    assert_eq!(node.conflicts.iter().map(|c| c.kind).collect::<Vec<_>>(), [ConflictKind::OtherKey]);
    assert_eq!(spool.names("received"), [""; 0]);
    spool.close().await;
    root.stop().await;
}

async fn an_inventory_signed_with_the_current_key_brings_the_next(place: Place) {
    let root = place.start();
    let spool = InventorySpool::open(&place, &root);
    let (old, new) = (Machine::new("n1"), Machine::new("n1"));
    root.enrol(&old, None).await.unwrap();
    admin::accept(&mut place.connect(), from_ref(&old.id), "op", &Accept::default()).unwrap();
    // The same key with another certificate, then another key.
    let renewed = Machine::with_key("n1", old.key.clone());
    for (name, of) in [("a", &renewed), ("b", &new)] {
        let (content, sign) = inventory(of, &old);
        spool.put(&format!("{name}.ocs.gz"), &content);
        spool.put(&format!("{name}.ocs.sign"), &sign);
        until("taken", || spool.names("incoming").is_empty()).await;
    }
    let node = admin::get(&mut place.connect(), &old.id).unwrap().unwrap();
    assert_eq!(node.keys.len(), 2);
    assert_eq!(node.node.key_hash, Some(new.certificate.key_hash()));
    assert_eq!(node.certificates.len(), 3);
    assert_eq!(spool.names("failed"), [""; 0]);
    spool.close().await;
    root.stop().await;
}

async fn an_inventory_brings_no_key_that_the_node_does_not_have(place: Place) {
    let root = place.start();
    let spool = InventorySpool::open(&place, &root);
    let (node, victim) = (Machine::new("n1"), Machine::new("victim"));
    root.enrol(&node, None).await.unwrap();
    admin::accept(&mut place.connect(), from_ref(&node.id), "op", &Accept::default()).unwrap();
    let mut builder = X509::builder().unwrap();
    builder.set_version(2).unwrap();
    let mut name = X509Name::builder().unwrap();
    name.append_entry_by_text("UID", "n1").unwrap();
    let name = name.build();
    builder.set_subject_name(&name).unwrap();
    builder.set_issuer_name(&name).unwrap();
    builder.set_not_before(&Asn1Time::days_from_now(0).unwrap()).unwrap();
    builder.set_not_after(&Asn1Time::days_from_now(9).unwrap()).unwrap();
    builder.set_pubkey(&victim.key).unwrap();
    builder.sign(&node.key, MessageDigest::sha256()).unwrap();
    let forged = Certificate::new(builder.build()).unwrap();
    let (content, sign) = inventory(&Machine { certificate: forged, ..Machine::new("n1") }, &node);
    spool.put("a.ocs.gz", &content);
    spool.put("a.ocs.sign", &sign);
    let reason = spool.directory.join("failed/a.ocs.gz.reason");
    until("its reason", || reason.exists()).await;
    assert!(fs::read_to_string(reason).unwrap().contains("its own key"));
    let details = admin::get(&mut place.connect(), &node.id).unwrap().unwrap();
    assert_eq!(details.keys.len(), 1);
    assert_eq!(details.node.key_hash, Some(node.certificate.key_hash()));
    spool.close().await;
    root.stop().await;
}

async fn in_the_database_a_first_inventory_makes_a_pending_node(place: Place) {
    let root = place.start();
    let authority = Authority { nodes: root.nodes.clone(), registry: Some(root.registry.clone()) };
    let spool = InventorySpool::stored(&place, authority);
    let machine = Machine::new("n1");
    let mut c = place.connect();
    for (name, state) in [("a", NodeState::Pending), ("b", NodeState::Accepted)] {
        if state == NodeState::Accepted {
            admin::accept(&mut c, from_ref(&machine.id), "op", &Accept::default()).unwrap();
            root.until("accepted", |table| table.knows(&machine.id)).await;
        }
        let (content, sign) = inventory(&machine, &machine);
        spool.put(&format!("{name}.ocs.gz"), &content);
        spool.put(&format!("{name}.ocs.sign"), &sign);
        until("taken", || spool.names("incoming").is_empty()).await;
        assert_eq!(admin::get(&mut c, &machine.id).unwrap().unwrap().node.state, state);
        let stored = questions::inventory(&mut c, "n1", None, &Wanted::default()).unwrap();
        assert_eq!(stored.sections["packages"][0]["name"], "bash");
        assert_eq!(stored.sections["rudder"][0]["hostname"], machine.hostname);
        assert!(stored.sections["rudder"][0]["agents"][0].get("certificate").is_none());
        let listed = questions::summaries(&mut c, &Filter::default(), &PAGE).unwrap().items.len();
        assert_eq!(listed, usize::from(state == NodeState::Accepted), "who waits is not of the fleet");
    }
    assert_eq!(spool.names("failed"), [""; 0]);
    assert!(!spool.directory.join("received").exists());
    // Whoever is deleted is in no answer any more.
    admin::delete(&mut c, from_ref(&machine.id)).unwrap();
    assert_eq!(questions::summaries(&mut c, &Filter::default(), &PAGE).unwrap().items.len(), 0);
    spool.close().await;
    root.stop().await;
}

async fn what_is_no_inventory_is_refused_with_its_reason(place: Place) {
    let root = place.start();
    let authority = Authority { nodes: root.nodes.clone(), registry: Some(root.registry.clone()) };
    let spool = InventorySpool::stored(&place, authority);
    let (machine, other) = (Machine::new("n1"), Machine::new("n2"));
    let good = document(&machine);
    let laughs =
        "<!DOCTYPE x [<!ENTITY a \"ha\"><!ENTITY b \"&a;&a;&a;&a;\"><!ENTITY c \"&b;&b;&b;&b;\">]><REQUEST>";
    let external = "<!DOCTYPE x [<!ENTITY a SYSTEM \"file:///etc/passwd\">]><REQUEST>";
    let (start, end) = (good.find("<RUDDER>").unwrap(), good.find("</RUDDER>").unwrap() + 9);
    let (log_start, log_end) = (good.find("<LOGDATE>").unwrap() + 9, good.find("</LOGDATE>").unwrap());
    let date = |hours: i64| {
        let then = Utc::now() + chrono::Duration::hours(hours);
        good.replace(&good[log_start..log_end], &then.format("%Y-%m-%d %H:%M:%S").to_string())
    };
    let documents = [
        ("laughs", good.replace("<REQUEST>", laughs), "bad_content", "document type"),
        ("external", good.replace("<REQUEST>", external), "bad_content", "document type"),
        (
            "huge",
            good.replace("bash", &"b".repeat((1 << 20) + 1)),
            "bad_content",
            "longer than 1048576 bytes",
        ),
        (
            "many",
            good.replace("<SOFTWARES>", &format!("{}<SOFTWARES>", "<PORTS/>".repeat(600_000))),
            "bad_content",
            "elements",
        ),
        (
            "two",
            good.replace("<SOFTWARES>", &format!("{}<SOFTWARES>", &good[start..end])),
            "bad_content",
            "RUDDER",
        ),
        ("old", date(-72), "bad_content", "two days"),
        ("early", date(48), "bad_content", "12 hours"),
        ("bomb", good.replace("bash", &" ".repeat(201 << 20)), "too_large", "inflates to more"),
    ];
    let pairs = [
        ("forged", signed(&good, &other), "bad_signature"),
        (
            "certificate",
            signed(&document(&other).replace("<UUID>n2", "<UUID>n1"), &other),
            "not that of node n1",
        ),
    ];
    // All at once: whichever of two files comes first waits for the other one.
    let mut expected = Vec::new();
    for (name, xml, reason, detail) in documents {
        spool.put_both(name, signed(&xml, &machine));
        expected.push((name, reason, detail));
    }
    for (name, files, reason) in pairs {
        spool.put_both(name, files);
        expected.push((name, reason, ""));
    }
    for (name, reason, detail) in expected {
        let text = spool.refused(name).await;
        assert!(text.contains(reason) && text.contains(detail), "{name}: {text}");
    }
    let mut c = place.connect();
    assert!(admin::get(&mut c, &machine.id).unwrap().is_none());
    assert_eq!(questions::summaries(&mut c, &Filter::default(), &PAGE).unwrap().items.len(), 0);
    spool.close().await;
    root.stop().await;
}

/// The table is that of `nodeslist.json` and `allnodescerts.pem`: nobody is taken in.
async fn with_a_node_list_its_certificates_decide(place: Place) {
    let (node, forger, stranger, keyless) =
        (Machine::new("n1"), Machine::new("n1"), Machine::new("n2"), Machine::new("n3"));
    let list = r#"{"n1": {"hostname": "h", "policy-server": "root"}, "n3": {"hostname": "h", "policy-server": "root"}}"#;
    let list = NodeList::from_json(list.as_bytes()).unwrap();
    let table = NodeTable::new(list, vec![node.certificate.clone()]);
    let (_sender, nodes) = tokio::sync::watch::channel(Arc::new(table));
    let spool = InventorySpool::stored(&place, Authority { nodes, registry: None });
    let refused = [
        ("forger", &forger, "bad_signature"),
        ("stranger", &stranger, "unknown_node"),
        ("keyless", &keyless, "no_certificate"),
    ];
    refused.iter().for_each(|(name, machine, _)| spool.put_both(name, inventory(machine, machine)));
    spool.put_both("n1", inventory(&node, &node));
    for (name, _, reason) in refused {
        let text = spool.refused(name).await;
        assert!(text.contains(reason), "{name}: {text}");
    }
    until("taken", || spool.names("incoming").is_empty()).await;
    let all = questions::summaries(&mut place.connect(), &Filter::default(), &PAGE).unwrap();
    assert_eq!(all.items.iter().map(|one| &*one.node_id).collect::<Vec<_>>(), ["n1"]);
    spool.close().await;
}

const PAGE: Paging = Paging { after: None, limit: 10 };
