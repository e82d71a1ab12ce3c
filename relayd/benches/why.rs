// SPDX-License-Identifier: Apache-2.0
//! How long `relayd why` takes on a large root: a list and a bundle of many nodes, a backlog, many refused files,
//! and a database with runs of all of them. By the clock on the wall, because somebody waits for the answer; the
//! measure is 200 ms.
//!
//! ```text
//! cargo bench -p relayd --bench why
//! ```

use std::{fs, path::Path, time::Instant};

use protocol::{
    hash::KeyHash,
    node_list::{NodeEntry, NodeList},
    private_key::{self, KeyKind},
};
use relayd::{
    config::{self, Config, DatabaseUrl},
    db::Connection,
    why::{Bounds, Evidence, judge},
};

const NODES: usize = 100_000;
/// Nodes with a certificate in the bundle: as many as are looked through.
const CERTIFIED: usize = 40_000;
const WAITING: usize = 50_000;
const REFUSED: usize = 50_000;
const ROUNDS: usize = 5;
/// Milliseconds.
const LONGEST: u64 = 200;

fn main() {
    let directory = std::env::temp_dir().join(format!("relayd-why-{}", std::process::id()));
    fs::create_dir_all(directory.join("reports/incoming")).expect("a directory");
    fs::create_dir_all(directory.join("reports/failed")).expect("a directory");
    let config = make(&directory);
    println!(
        "{NODES} nodes, {CERTIFIED} certificates, {WAITING} files that wait, {REFUSED} that were refused"
    );
    println!("{:<54} {:>9} {:>9} {:>9}", "", "ms", "measure", "names");
    let mut too_long = false;
    for (what, asked) in [
        ("a node by its id, the last of the list", id(NODES - 1)),
        ("a node by its host name", format!("host-{}.example.org", NODES / 2)),
        ("a node that nobody knows", "nobody".to_owned()),
    ] {
        let best = (0..ROUNDS).map(|_| ask(&config, &asked)).min().unwrap_or_default();
        println!("{what:<54} {:>9} {LONGEST:>9} {:>9}", best.0, best.1);
        too_long |= best.0 > LONGEST;
    }
    // What cannot be removed is in a directory for what is temporary.
    let _ = fs::remove_dir_all(&directory);
    assert!(!too_long, "longer than {LONGEST} ms");
}

fn ask(config: &Config, asked: &str) -> (u64, usize) {
    let begun = Instant::now();
    let evidence = Evidence::gather(config, asked, Bounds::default()).expect("one node");
    let answer = judge(&evidence);
    assert!(answer.cause.is_some());
    (u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX), answer.names_read)
}

fn id(number: usize) -> String {
    format!("{number:08x}-0000-4000-8000-000000000000")
}

fn make(directory: &Path) -> Config {
    let path = directory.display();
    let main = format!(
        "[general]\nnode_id = \"root\"\nlisten = \"unix:{path}/api.sock\"\n\
         nodes_list_file = \"{path}/nodeslist.json\"\nnodes_certs_file = \"{path}/nodescerts.pem\"\n\
         [processing.reporting]\noutput = \"database\"\ndirectory = \"{path}/reports\"\n\
         [output.database]\nurl = \"sqlite:{path}/relayd.db\"\n"
    );
    fs::write(directory.join("main.conf"), main).expect("the configuration");
    let entry = |number: usize| NodeEntry {
        hostname: format!("host-{number}.example.org"),
        key_hash: Some(KeyHash::sha256_of(&number.to_be_bytes())),
        other_key_hashes: Vec::new(),
        policy_server: "root".parse().expect("an id"),
        is_relay: false,
    };
    let list: NodeList =
        (0..NODES).map(|number| (id(number).parse().expect("an id"), entry(number))).collect();
    fs::write(directory.join("nodeslist.json"), list.to_json()).expect("the list");
    let key = private_key::generate(KeyKind::P256).expect("a key");
    let bundle: Vec<u8> = (0..CERTIFIED)
        .flat_map(|number| {
            let node = id(NODES - 1 - number).parse().expect("an id");
            private_key::self_signed(&key, &node).expect("a certificate").to_pem()
        })
        .collect();
    println!("{} bytes of certificates", bundle.len());
    fs::write(directory.join("nodescerts.pem"), bundle).expect("the bundle");
    for number in 0..WAITING.max(REFUSED) {
        let name = format!("2024-05-01T02:03:04+00:00@{}.log.gz", id(number));
        if number < WAITING {
            fs::write(directory.join("reports/incoming").join(&name), "").expect("a file");
        }
        if number < REFUSED {
            fs::write(directory.join("reports/failed").join(&name), "").expect("a file");
        }
    }
    let database = DatabaseUrl::Sqlite(directory.join("relayd.db"));
    let config = config::load(directory).expect("a configuration").config;
    relayd::db::migrate(&config.database).expect("tables");
    let sql = format!(
        "WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < {NODES}) \
         INSERT INTO reportsexecution (nodeid, date, nodeconfigid, insertionid) \
         SELECT printf('%08x-0000-4000-8000-000000000000', i), '2024-05-01 02:03:04+00:00', 'x', i FROM n"
    );
    Connection::open(&database).and_then(|mut connection| Ok(connection.execute(&sql)?)).expect("runs");
    config
}
