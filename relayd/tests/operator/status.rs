// SPDX-License-Identifier: Apache-2.0
//! `relayd status`, and what `system/status` has for it.

use std::{fs, time::Duration};

use crate::{site::Site, support::wait_until};

const SQLITE: &str = "[output.database]\nurl = \"sqlite:DIR/relayd.db\"\n";

/// A relay whose upstream is a port at which nobody listens, and that is never given to who asks for any.
pub fn lonely_relay() -> Site {
    relay_below(1)
}

/// Waits until the daemon of a relay knows that nobody takes its run logs: before that a file that is old may be all
/// that it complains of.
pub fn wait_for_closed_gate(site: &Site) {
    wait_until("the gate is closed", || {
        site.run(&["status", "--json"]).json()["status"]["uplink"]["status"] == "error"
    });
}

/// A relay whose upstream is this port.
pub fn relay_below(port: u16) -> Site {
    let pin = protocol::hash::KeyHash::sha256_of(b"no key");
    Site::with(&format!(
        "node_id = \"relay\"\nhttps_port = {port}\n\
         [processing.reporting]\noutput = \"upstream\"\ndirectory = \"DIR/reports\"\n\
         catchup.frequency = 1\n\
         [output.upstream]\nhost = \"127.0.0.1\"\npassword = \"hush\"\nserver_key_hashes = [\"{pin}\"]\n\
         [policies.cache]\nenabled = false\n"
    ))
}

#[test]
fn a_healthy_root_says_so_in_all_its_parts() {
    let mut site = Site::root(SQLITE);
    site.know(&["n1", "n2"]);
    site.start();
    let said = site.run(&["status", "--json"]);
    assert_eq!((said.code, said.err.as_str()), (0, ""), "{}", said.out);
    let told = said.json();
    assert_eq!(told["state"], "healthy");
    let status = &told["status"];
    for part in ["database", "configuration", "server", "reports", "rates", "certificates", "disk", "nodes"] {
        assert_eq!(status[part]["status"], "success", "{part}: {status}");
    }
    assert_eq!((&status["server"]["role"], &status["server"]["nodeId"]), (&"root".into(), &"root".into()));
    assert_eq!((&status["nodes"]["known"], &status["nodes"]["source"]), (&3.into(), &"files".into()));
    assert_eq!(status["reports"]["depth"], 0);
    assert_eq!(status["rates"]["spools"]["reports"]["acceptedPerSecond"], 0.0);
    let system = &status["disk"]["fileSystems"][0];
    assert_eq!(system["paths"][0], site.at("reports").display().to_string());
    assert!(system["availableBytes"].as_u64().unwrap() > 0 && status.get("uplink").is_none());
    let human = site.run(&["status"]);
    assert_eq!(human.code, 0);
    assert!(human.out.starts_with("healthy: ") && human.out.contains("0 waiting"), "{}", human.out);
}

#[test]
fn what_is_wrong_is_named_with_a_remedy() {
    let mut site = lonely_relay();
    site.put("reports/incoming/2024-05-01T02:03:04+00:00@n1.log.gz", "x", Duration::from_secs(900));
    site.start();
    wait_for_closed_gate(&site);
    // The configuration breaks while the daemon runs.
    let main = site.at("etc/main.conf");
    let text = fs::read_to_string(&main).unwrap();
    fs::write(&main, text.replace("[general]", "[general]\nlistne = 1")).unwrap();
    let said = site.run(&["status", "--json"]);
    let told = said.json();
    let problems = told["problems"].as_array().unwrap();
    let told = problems.iter().find(|problem| problem["check"] == "configuration").unwrap();
    assert!(
        said.code == 1 && told["text"].as_str().unwrap().contains("main.conf:2: general.listne"),
        "{told}"
    );
    let said = site.run(&["reload"]);
    assert_eq!((said.code, said.err.as_str()), (0, ""), "it is not read again");
    let said = site.run(&["why", "n1"]);
    assert!(said.code == 2 && said.err.contains("goes on with what it read"), "{said:?}");
    // Not even TOML.
    fs::write(&main, format!("{text}\n[gateway\n")).unwrap();
    assert_eq!((site.run(&["status"]).code, site.run(&["reload"]).code), (1, 0));
    fs::write(&main, text).unwrap();
    let said = site.run(&["status", "--json"]);
    let told = said.json();
    assert_eq!((said.code, &told["state"]), (1, &"degraded".into()));
    let problems = told["problems"].as_array().unwrap();
    let checks: Vec<_> = problems.iter().map(|problem| problem["check"].as_str().unwrap()).collect();
    assert_eq!(checks, ["uplink", "reports"], "{problems:?}");
    assert!(problems.iter().all(|problem| problem["remedy"].is_string() && problem["place"].is_string()));
    assert!(problems[0]["text"].as_str().unwrap().contains("reports: cannot connect"), "{problems:?}");
    let human = site.run(&["status"]);
    assert!(human.out.starts_with("degraded: ") && human.out.contains("error    uplink"), "{}", human.out);
}

#[test]
fn a_certificate_that_ends_soon_and_a_full_disk_are_problems() {
    let mut site = Site::root(&format!(
        "{SQLITE}[gateway]\nlisten = \"127.0.0.1:0\"\ncertificate = \"DIR/server.cert\"\n\
         key = \"DIR/server.key\"\nhigh_water_percent = 1\n"
    ));
    let key = protocol::private_key::generate(protocol::private_key::KeyKind::P256).unwrap();
    fs::write(site.at("server.key"), key.private_key_to_pem_pkcs8().unwrap()).unwrap();
    fs::write(site.at("server.cert"), short_lived(&key)).unwrap();
    site.start();
    let told = site.run(&["status", "--json"]).json();
    let status = &told["status"];
    let certificate = &status["certificates"]["list"][0];
    assert_eq!((&certificate["name"], &certificate["daysLeft"]), (&"gateway".into(), &2.into()), "{status}");
    assert_eq!(certificate["file"], site.at("server.cert").display().to_string());
    assert_eq!(status["certificates"]["status"], "error");
    assert!(status["disk"]["details"].as_str().unwrap().contains("more than 1 % used"), "{}", status["disk"]);
}

#[test]
fn a_daemon_that_does_not_run_is_said_to_be_down() {
    let site = Site::root(SQLITE);
    // A mistake in the file is what keeps it from starting.
    let main = site.at("etc/main.conf");
    let text = fs::read_to_string(&main).unwrap();
    fs::write(&main, text.replace("[general]", "[general]\nlistne = 1")).unwrap();
    for command in ["status", "reload"] {
        let said = site.run(&[command]);
        assert!(said.code == 3 && said.err.contains("main.conf:2: general.listne"), "{said:?}");
    }
    fs::write(&main, text).unwrap();
    let said = site.run(&["status"]);
    assert_eq!(said.code, 3);
    assert!(said.err.contains("api.sock") && said.err.contains("systemctl start"), "{}", said.err);
    let said = site.run(&["status", "--json"]);
    assert_eq!((said.code, &said.json()["state"]), (3, &"not running".into()));
    // Something else listens there, and says nothing that makes sense.
    let listener = std::os::unix::net::UnixListener::bind(site.at("api.sock")).unwrap();
    let odd = std::thread::spawn(move || {
        use std::io::{Read, Write};
        let (mut stream, _) = listener.accept().unwrap();
        assert!(stream.read(&mut [0; 4096]).unwrap() > 0);
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello").unwrap();
        stream
    });
    let said = site.run(&["status"]);
    assert!(said.code == 3 && said.err.contains("nonsense"), "{said:?}");
    drop(odd.join().unwrap());
}

/// A certificate that is valid for two more days.
fn short_lived(key: &openssl::pkey::PKey<openssl::pkey::Private>) -> Vec<u8> {
    use openssl::{
        asn1::Asn1Time,
        hash::MessageDigest,
        nid::Nid,
        x509::{X509Builder, X509NameBuilder},
    };
    let mut name = X509NameBuilder::new().unwrap();
    name.append_entry_by_nid(Nid::USERID, "root").unwrap();
    let name = name.build();
    let mut builder = X509Builder::new().unwrap();
    builder.set_version(2).unwrap();
    builder.set_subject_name(&name).unwrap();
    builder.set_issuer_name(&name).unwrap();
    builder.set_pubkey(key).unwrap();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() as i64;
    builder.set_not_before(&Asn1Time::from_unix(now - 86_400).unwrap()).unwrap();
    builder.set_not_after(&Asn1Time::from_unix(now + 2 * 86_400 + 3600).unwrap()).unwrap();
    builder.sign(key, MessageDigest::sha256()).unwrap();
    builder.build().to_pem().unwrap()
}
