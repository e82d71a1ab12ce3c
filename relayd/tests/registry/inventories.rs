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
use protocol::{certificate::Certificate, compression, urls::UploadKind};
use relayd::{
    config::SpoolSettings,
    registry::{
        admin::{self, Accept},
        record::{ConflictKind, NodeState},
    },
    sink::enrol::{Authority, Enrol, Keeping},
    spool::Spool,
};
use tokio_util::sync::CancellationToken;

use crate::{
    on_both,
    rig::{Machine, Place, Root, until},
};

on_both!(
    a_first_inventory_makes_a_node_known_in_any_order_of_its_files,
    what_is_not_signed_by_the_node_goes_to_failed_with_both_files,
    an_inventory_signed_with_the_current_key_brings_the_next,
    an_inventory_brings_no_key_that_the_node_does_not_have,
);

struct InventorySpool {
    directory: PathBuf,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

impl InventorySpool {
    fn open(place: &Place, root: &Root) -> Self {
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
        let authority = Authority { nodes: root.nodes.clone(), registry: Some(root.registry.clone()) };
        let enrol = Enrol::new(authority, Keeping::received(&directory).unwrap(), settings.max_file_size);
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

    async fn close(self) {
        self.stop.cancel();
        self.task.await.unwrap();
    }
}

/// An inventory that has the certificate of one machine, and its signature by another one's key.
fn inventory(of: &Machine, signed_by: &Machine) -> (Vec<u8>, Vec<u8>) {
    let certificate = String::from_utf8(of.certificate.to_pem()).unwrap();
    let xml = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<REQUEST><CONTENT><ACCESSLOG><LOGDATE>{}</LOGDATE></ACCESSLOG>\
         <OPERATINGSYSTEM><KERNEL_VERSION>6.1.0</KERNEL_VERSION><NAME>Debian</NAME></OPERATINGSYSTEM>\
         <RUDDER><AGENT><AGENT_NAME>cfengine-community</AGENT_NAME><AGENT_CERT>{certificate}</AGENT_CERT>\
         <OWNER>root</OWNER><POLICY_SERVER_UUID>root</POLICY_SERVER_UUID></AGENT>\
         <AGENT_VERSION>9.0.0</AGENT_VERSION><HOSTNAME>{}</HOSTNAME><UUID>{}</UUID></RUDDER>\
         </CONTENT><DEVICEID>x</DEVICEID></REQUEST>",
        Utc::now().format("%Y-%m-%d %H:%M:%S"),
        of.hostname,
        of.id
    );
    let mut signer = Signer::new(MessageDigest::sha512(), &signed_by.key).unwrap();
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
