// SPDX-License-Identifier: Apache-2.0
//! The interface can be driven with curl.

use std::{fs, process::Command};

use protocol::private_key;

use crate::harness::*;

#[tokio::test(flavor = "multi_thread")]
async fn curl_uploads_with_a_client_certificate() {
    if Command::new("curl").arg("--version").output().is_err() {
        eprintln!("skipped: curl is not installed");
        return;
    }
    let gateway = start().await;
    let at = |name: &str| gateway.directory.path().join(name).into_os_string().into_string().unwrap();
    let identity = &gateway.fleet.direct;
    fs::write(at("node.cert"), identity.0.x509().to_pem().unwrap()).unwrap();
    fs::write(at("node.key"), private_key::to_pem(&identity.1).unwrap()).unwrap();
    let name = run_log(DIRECT, 1);
    fs::write(at(&name), gzip(&[7; 500_000])).unwrap();
    let url = format!("https://{}", gateway.address);
    let pin = gateway.fleet.root.0.key_hash().to_string();
    let curl = |arguments: &[&str]| {
        let output = Command::new("curl")
            .args(["-sS", "-k", "--pinnedpubkey", &pin, "-w", "%{http_code}"])
            .args(arguments)
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap()
    };
    let with_key = |arguments: &[&str]| {
        let (cert, key) = (at("node.cert"), at("node.key"));
        curl(&[&["--cert", &cert, "--key", &key], arguments].concat())
    };
    assert_eq!(curl(&[&format!("{url}/uuid")]), "root\n200");
    let target = format!("{url}/reports/");
    assert_eq!(with_key(&["-T", &at(&name), &target]), "201");
    assert_eq!(with_key(&["-T", &at(&name), &target]), "204");
    assert!(curl(&["-T", &at(&name), &target]).ends_with("401"));
    assert_eq!(fs::read(gateway.reports().join(&name)).unwrap(), gzip(&[7; 500_000]));
    gateway.stop().await;
}
