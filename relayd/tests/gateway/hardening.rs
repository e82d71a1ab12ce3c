// SPDX-License-Identifier: Apache-2.0
//! What TLS must not let through, tried with a client that is not ours: `openssl s_client`.

use std::{
    ffi::OsStr,
    fs,
    io::{BufRead, BufReader},
    net::SocketAddr,
    process::{Command, Stdio},
};

use protocol::{private_key, tls::TlsVersion};

use crate::harness::*;

/// What `openssl s_client` says, after it sent a request; `Err` when there was no connection.
fn s_client(address: SocketAddr, arguments: &[&str]) -> Result<String, String> {
    let request = "printf 'GET /uuid HTTP/1.1\\r\\nHost: x\\r\\nConnection: close\\r\\n\\r\\n'; sleep 1";
    let mut sender = Command::new("sh").args(["-c", request]).stdout(Stdio::piped()).spawn().unwrap();
    let output = Command::new("openssl")
        .args(["s_client", "-connect", &address.to_string(), "-ign_eof"])
        .args(arguments)
        .stdin(sender.stdout.take().unwrap())
        .output()
        .unwrap();
    sender.kill().unwrap();
    sender.wait().unwrap();
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    if said.contains("HTTP/1.1 200") { Ok(said) } else { Err(said) }
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_below_the_minimum_and_weak_groups_are_refused() {
    let strict = start().await;
    let lenient = start_with(|settings| settings.oldest_tls = TlsVersion::V1_2).await;
    let weakest = "DEFAULT@SECLEVEL=0";
    for (gateway, arguments, connects) in [
        (&strict, &["-tls1_3"][..], true),
        (&strict, &["-tls1_2"], false),
        (&lenient, &["-tls1_3"], true),
        (&lenient, &["-tls1_2"], true),
        (&lenient, &["-tls1_1", "-cipher", weakest], false),
        (&lenient, &["-tls1", "-cipher", weakest], false),
        // Whom the client thinks it speaks to plays no part.
        (&strict, &["-servername", "other.example.org"], true),
        (&strict, &["-noservername"], true),
        (&strict, &["-groups", "P-256"], true),
        (&strict, &["-groups", "X25519"], true),
        (&strict, &["-groups", "P-521"], false),
        (&strict, &["-groups", "ffdhe2048", "-cipher", weakest], false),
        (&lenient, &["-tls1_2", "-groups", "P-224", "-cipher", weakest], false),
        (&lenient, &["-tls1_2", "-groups", "P-192", "-cipher", weakest], false),
        // Without forward secrecy, without encryption, with a broken cipher.
        (&lenient, &["-tls1_2", "-cipher", "AES256-GCM-SHA384"], false),
        (&lenient, &["-tls1_2", "-cipher", "NULL@SECLEVEL=0"], false),
        (&lenient, &["-tls1_2", "-cipher", "DES-CBC3-SHA@SECLEVEL=0"], false),
    ] {
        let said = s_client(gateway.address, arguments);
        assert_eq!(said.is_ok(), connects, "{arguments:?}: {said:?}");
    }
    strict.stop().await;
    lenient.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn there_is_no_session_to_save() {
    for (version, protocol) in [(TlsVersion::V1_3, "-tls1_3"), (TlsVersion::V1_2, "-tls1_2")] {
        let gateway = start_with(|settings| settings.oldest_tls = version).await;
        let files = Files::of(&gateway);
        let arguments =
            [protocol, "-cert", &files.certificate, "-key", &files.key, "-sess_out", &files.session];
        let said = s_client(gateway.address, &arguments).unwrap();
        assert!(said.contains("New, TLSv1."), "{said}");
        assert!(!said.contains("TLS session ticket:"), "{said}");
        let id = said.lines().find_map(|line| line.trim().strip_prefix("Session-ID:"));
        assert_eq!(id.unwrap_or_default().trim(), "", "{said}");
        assert!(!fs::exists(&files.session).unwrap(), "{said}");
        gateway.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_from_elsewhere_and_its_early_data_are_not_taken() {
    let gateway = start().await;
    let files = Files::of(&gateway);
    // A server with the same certificate that hands out what the gateway does not.
    let (cert, key) = (gateway.directory.path().join("cert"), gateway.directory.path().join("key"));
    let mut generous = Command::new("openssl")
        .args(["s_server", "-accept", "127.0.0.1:0", "-tls1_3", "-www", "-max_early_data", "16384"])
        .args([OsStr::new("-cert"), cert.as_os_str(), OsStr::new("-key"), key.as_os_str()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(generous.stdout.take().unwrap()).lines().map_while(Result::ok);
    let address = lines.find_map(|line| line.strip_prefix("ACCEPT ")?.parse().ok()).unwrap();
    // Its answer comes behind the tickets, and it closes the connection: both are here when the client ends.
    let said = s_client(address, &["-tls1_3", "-sess_out", &files.session]).unwrap_or_else(|said| said);
    generous.kill().unwrap();
    generous.wait().unwrap();
    assert!(fs::exists(&files.session).unwrap(), "{said}");

    fs::write(&files.early, "GET /uuid HTTP/1.1\r\nHost: early\r\n\r\n").unwrap();
    let arguments = ["-tls1_3", "-sess_in", &files.session, "-early_data", &files.early];
    let said = s_client(gateway.address, &arguments).unwrap();
    assert!(said.contains("New, TLSv1.3") && said.contains("Early data was rejected"), "{said}");
    assert_eq!(gateway.metric("relayd_gateway_requests_total"), 1.0, "{said}");
    gateway.stop().await;
}

struct Files {
    certificate: String,
    key: String,
    session: String,
    early: String,
}

impl Files {
    fn of(gateway: &Running) -> Self {
        let at = |name: &str| gateway.directory.path().join(name).into_os_string().into_string().unwrap();
        let files = Self {
            certificate: at("node.cert"),
            key: at("node.key"),
            session: at("session"),
            early: at("early"),
        };
        let identity = &gateway.fleet.direct;
        fs::write(&files.certificate, identity.0.x509().to_pem().unwrap()).unwrap();
        fs::write(&files.key, private_key::to_pem(&identity.1).unwrap()).unwrap();
        files
    }
}
