// SPDX-License-Identifier: Apache-2.0
//! `relayd ca` and `relayd server-key`: the program, checked with the `openssl` program.

mod support;

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use protocol::private_key::{self, KeyKind};
use support::{idle_server, relayd, stdout};

struct Root {
    directory: tempfile::TempDir,
}

impl Root {
    /// A root with a gateway whose key is its own.
    fn new() -> Self {
        let directory = idle_server("");
        let path = directory.path();
        let key = private_key::generate(KeyKind::P256).unwrap();
        let certificate = private_key::self_signed(&key, &"root".parse().unwrap()).unwrap();
        fs::write(path.join("server.key"), private_key::to_pem(&key).unwrap()).unwrap();
        fs::write(path.join("server.cert"), certificate.to_pem()).unwrap();
        let place = path.display().to_string();
        let root = Self { directory };
        root.configure(&format!(
            "[ca]\ndirectory = \"{place}/ca\"\n[gateway]\nlisten = \"127.0.0.1:0\"\n\
             certificate = \"{place}/server.cert\"\nkey = \"{place}/server.key\"\n"
        ));
        root
    }

    fn configure(&self, more: &str) {
        let main = self.path("main.conf");
        fs::write(&main, fs::read_to_string(&main).unwrap() + more).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    fn args<'a>(&'a self, args: &[&'a str]) -> Vec<&'a str> {
        [&["-c", self.directory.path().to_str().unwrap()], args].concat()
    }

    fn says(&self, args: &[&str]) -> String {
        stdout(&self.args(args))
    }

    fn json(&self, args: &[&str]) -> serde_json::Value {
        serde_json::from_str(&self.says(args)).unwrap()
    }

    /// Exit code and standard error of a command that must fail.
    fn fails(&self, args: &[&str]) -> (i32, String) {
        let output = relayd(&self.args(args));
        assert!(!output.status.success(), "{args:?}: {output:?}");
        (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
    }

    fn mode(&self, name: &str) -> u32 {
        fs::metadata(self.path(name)).unwrap().permissions().mode() & 0o777
    }
}

fn openssl(args: &[&str]) -> Output {
    Command::new("openssl").args(args).output().unwrap()
}

fn verifies(authority: &Path, certificate: &str, purpose: &str, host: &str) -> bool {
    let authority = authority.to_str().unwrap();
    let args = ["verify", "-CAfile", authority, "-purpose", purpose, "-verify_hostname", host, certificate];
    openssl(&args).status.success()
}

#[test]
fn an_authority_issues_what_other_programs_accept() {
    let root = Root::new();
    let (code, error) = root.fails(&["ca", "show"]);
    assert!(code == 4 && error.contains("relayd ca init"), "{code} {error}");

    let made = root.says(&["ca", "init", "--name", "Example nodes", "--key", "p256"]);
    assert!(
        made.contains("name         Example nodes\n") && made.contains("key hash     sha256//"),
        "{made}"
    );
    assert_eq!((root.mode("ca"), root.mode("ca/ca.key"), root.mode("ca/ca.cert")), (0o700, 0o600, 0o644));
    let key = fs::read(root.path("ca/ca.key")).unwrap();
    let (code, error) = root.fails(&["ca", "init"]);
    assert!(code == 1 && error.contains("relayd ca renew"), "{code} {error}");
    assert_eq!(fs::read(root.path("ca/ca.key")).unwrap(), key);

    let exported = root.path("ca.pem");
    root.says(&["ca", "export", "--out", exported.to_str().unwrap()]);
    assert_eq!(fs::read_to_string(&exported).unwrap(), root.says(&["ca", "export"]));

    let (out, key_out) = (root.text("db.pem"), root.text("db.key"));
    let issue =
        ["ca", "issue", "--host", "db.example.org", "--dns", "db", "--ip", "192.0.2.7", "--out", &out];
    root.says(&[&issue[..], &["--key-out", &key_out, "--key", "p256"]].concat());
    assert!(verifies(&exported, &out, "sslserver", "db.example.org"));
    assert!(verifies(&exported, &out, "sslclient", "db"));
    assert!(!verifies(&exported, &out, "sslserver", "www.example.org"));
    assert_eq!((root.mode("db.key"), root.mode("db.pem")), (0o600, 0o644));
    let (_, error) = root.fails(&[&issue[..], &["--key-out", &key_out]].concat());
    assert!(error.contains("not overwritten"), "{error}");

    // The key stays where it is; the names in the request do not count.
    let request = root.text("db.csr");
    let subject = ["-subj", "/CN=www.example.org", "-out", &request];
    assert!(openssl(&[&["req", "-new", "-key", &key_out][..], &subject].concat()).status.success());
    root.says(&[&issue[..], &["--csr", &request, "--days", "10"]].concat());
    assert!(verifies(&exported, &out, "sslserver", "db.example.org"));
    assert!(!verifies(&exported, &out, "sslserver", "www.example.org"));

    // What was issued before a renewal is good after it.
    let before = root.json(&["ca", "show", "--json"]);
    root.says(&["ca", "renew", "--days", "7300"]);
    let after = root.json(&["ca", "show", "--json"]);
    assert_eq!(before["key_hash"], after["key_hash"]);
    assert!(before["not_after"].as_str() < after["not_after"].as_str(), "{before} {after}");
    assert!(verifies(&root.path("ca/ca.cert"), &out, "sslserver", "db.example.org"));
}

#[test]
fn requests_that_prove_nothing_or_are_for_others_get_nothing() {
    let root = Root::new();
    root.says(&["ca", "init", "--key", "p256"]);
    let (key, request, out) = (root.text("k"), root.text("r"), root.text("o"));
    fs::write(&key, private_key::to_pem(&private_key::generate(KeyKind::P256).unwrap()).unwrap()).unwrap();
    let issue = ["ca", "issue", "--host", "a.example.org", "--out", &out, "--csr", &request];
    let make = |subject: &str| {
        let made = openssl(&["req", "-new", "-key", &key, "-subj", subject, "-out", &request]);
        assert!(made.status.success(), "{made:?}");
    };
    make("/UID=node-1");
    assert!(root.fails(&issue).1.contains("--node"));
    assert!(root.fails(&[&issue[..], &["--node", "node-2"]].concat()).1.contains("another node"));
    root.says(&[&issue[..], &["--node", "node-1"]].concat());

    make("/CN=a");
    let text = fs::read_to_string(&request).unwrap();
    let mut der = openssl(&["req", "-in", &request, "-outform", "DER"]).stdout;
    let last = der.len() - 1;
    der[last] ^= 1;
    let altered = root.text("altered");
    fs::write(&altered, der).unwrap();
    let made = openssl(&["req", "-inform", "DER", "-in", &altered, "-out", &request]);
    assert!(made.status.success() && fs::read_to_string(&request).unwrap() != text);
    assert!(root.fails(&issue).1.contains("not signed by its own key"));
    fs::write(&request, "nothing").unwrap();
    assert!(root.fails(&issue).1.contains("not a certificate request"));
    assert_eq!(root.fails(&["ca", "issue", "--host", "a b", "--out", &out, "--csr", &request]).0, 2);
    assert_eq!(root.fails(&["ca", "issue", "--host", "a", "--out", &out]).0, 2);
}

#[test]
fn a_server_key_is_announced_used_and_its_predecessors_forgotten() {
    let root = Root::new();
    let show = ["server-key", "show", "--json"];
    let first = root.json(&show);
    assert!(first["next"].is_null() && first["before"].as_array().unwrap().is_empty(), "{first}");
    let (code, error) = root.fails(&["server-key", "activate"]);
    assert!(code == 4 && error.contains("server-key next"), "{code} {error}");

    let said = root.says(&["server-key", "next", "--key", "p256"]);
    let announced = root.json(&show);
    let next = announced["next"]["key_hash"].as_str().unwrap();
    assert!(said.contains(next) && announced["current"] == first["current"], "{said} {announced}");
    assert_eq!(root.mode("server.key.next"), 0o600);
    assert!(root.fails(&["server-key", "next"]).1.contains(next));

    root.says(&["server-key", "activate"]);
    let active = root.json(&show);
    assert_eq!(active["current"], announced["next"]);
    assert_eq!(active["before"][0], first["current"]);
    // Stock OpenSSL agrees that the old key signed the new certificate.
    let chain = fs::read_to_string(root.path("server.cert")).unwrap();
    let end = chain.find("-----END CERTIFICATE-----\n").unwrap() + "-----END CERTIFICATE-----\n".len();
    fs::write(root.path("old.pem"), &chain[end..]).unwrap();
    let verified =
        openssl(&["verify", "-partial_chain", "-CAfile", &root.text("old.pem"), &root.text("server.cert")]);
    assert!(verified.status.success(), "{verified:?}");

    root.says(&["server-key", "forget-chain"]);
    assert!(root.json(&show)["before"].as_array().unwrap().is_empty());
    root.says(&["server-key", "next", "--key", "p256"]);
    root.says(&["server-key", "cancel"]);
    assert_eq!(root.fails(&["server-key", "cancel"]).0, 4);
    assert_eq!(root.json(&show)["current"], active["current"]);
}

#[test]
fn the_key_of_the_agent_is_not_changed_under_it() {
    let root = Root::new();
    // The same file under another name.
    std::os::unix::fs::symlink(root.path("server.key"), root.path("agent.key")).unwrap();
    fs::copy(root.path("server.cert"), root.path("agent.cert")).unwrap();
    let place = root.text("agent");
    root.configure(&format!(
        "[output.upstream]\nhost = \"a\"\nclient_certificate = \"{place}.cert\"\nclient_key = \"{place}.key\"\n"
    ));
    let (code, error) = root.fails(&["server-key", "next"]);
    assert!(code == 1 && error.contains("agent key roll"), "{code} {error}");
    let none = Root { directory: idle_server("") };
    assert!(none.fails(&["server-key", "show"]).1.contains("gateway.listen"));
}

/// Nodes get its certificates only after they were let in: nobody could ever come in by them.
#[test]
fn a_root_does_not_start_with_its_own_authority_as_that_of_its_clients() {
    let root = Root::new();
    root.says(&["ca", "init", "--key", "p256"]);
    let exported = root.text("ca.pem");
    root.says(&["ca", "export", "--out", &exported]);
    root.configure(&format!("client_authentication = \"authority\"\nclient_ca_path = \"{exported}\"\n"));
    for args in [&["--test"][..], &["config", "check"], &[]] {
        let (code, error) = root.fails(args);
        assert!(
            code == 3 && error.contains("write client_authentication = \"key\""),
            "{args:?}: {code} {error}"
        );
    }
    let foreign = Root::new();
    foreign.says(&["ca", "init", "--key", "p256"]);
    fs::write(exported, foreign.says(&["ca", "export"])).unwrap();
    root.says(&["--test"]);
}
