// SPDX-License-Identifier: Apache-2.0
//! Manifests of policies: what is one, what a node takes, and that stock OpenSSL agrees about signatures.
#![allow(missing_docs)]

mod common;

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use common::{Identity, openssl};
use proptest::{collection::vec, prelude::*};
use protocol::{
    certificate::Certificate,
    hash::ContentDigest,
    limits::{POLICY_FILES, POLICY_TREE},
    policy_manifest::{Changes, Expectation, FileList, MAX_VERSION, Manifest, ManifestError, ManifestFile},
    private_key::{KeyKind, generate},
    smime::{self, SmimeError},
};

fn file(path: &str, content: &str) -> ManifestFile {
    ManifestFile {
        path: path.parse().unwrap(),
        size: content.len() as u64,
        sha256: ContentDigest::of(content.as_bytes()),
        executable: false,
    }
}

fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_795_000_000 + seconds, 0).unwrap()
}

fn manifest(node: &str, version: u64) -> Manifest {
    let run = ManifestFile { executable: true, ..file("bin/run", "#!/bin/sh\n") };
    let files = FileList::new(vec![file("rudder.json", "{}"), run, file("bin-2", "é")]).unwrap();
    Manifest::new(node.parse().unwrap(), version, at(0), Some(at(3600)), files.into()).unwrap()
}

fn signer() -> Identity {
    Identity::new(generate(KeyKind::P256).unwrap())
}

#[test]
fn one_file_a_line_in_the_order_of_their_paths() {
    let manifest = manifest("node-1", 7).with_note("first \"one\"".into()).unwrap();
    let text = manifest.to_json();
    assert_eq!(
        text,
        r##"{
 "format": "relayd-policy-manifest-1",
 "node_id": "node-1",
 "version": 7,
 "created": "2026-11-18T11:06:40Z",
 "expires": "2026-11-18T12:06:40Z",
 "note": "first \"one\"",
 "files": [
  {"path":"bin-2","size":2,"sha256":"4a99557e4033c3539de2eb65472017cad5f9557f7a0625a09f1c3f6e2ba69c4c"},
  {"path":"bin/run","size":10,"sha256":"a8076d3d28d21e02012b20eaf7dbf75409a6277134439025f282e368e3305abf","executable":true},
  {"path":"rudder.json","size":2,"sha256":"44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"}
 ]
}
"##
    );
    assert_eq!(Manifest::from_json(text.as_bytes()), Ok(manifest));
}

#[test]
fn a_node_takes_what_is_for_it_new_enough_signed_and_not_expired() {
    let (own, other) = (signer(), signer());
    let signed = |manifest: &Manifest, by: &Identity| manifest.sign(&by.certificate, &by.key).unwrap();
    let good = signed(&manifest("node-1", 7), &own);
    let said = |message: &[u8], pinned: &[Certificate], held, now| {
        let node_id = &"node-1".parse().unwrap();
        match (Expectation { node_id, pinned, held, now }).accept(message) {
            Ok(manifest) => manifest.version().to_string(),
            Err(refusal) => refusal.as_str().to_owned(),
        }
    };
    let pin = std::slice::from_ref(&own.certificate);
    let both = [other.certificate.clone(), own.certificate.clone()];
    for (message, pinned, held, now, verdict) in [
        (&good, pin, None, at(0), "7"),
        (&good, &both, Some(7), at(3599), "7"),
        (&good, pin, Some(6), at(0), "7"),
        (&good, pin, Some(8), at(0), "older"),
        (&good, pin, None, at(3600), "expired"),
        (&good, std::slice::from_ref(&other.certificate), None, at(0), "bad_signature"),
        (&signed(&manifest("node-2", 7), &own), pin, None, at(0), "other_node"),
        (&signed(&manifest("node-1", 7), &other), pin, None, at(0), "bad_signature"),
        (&signed(&manifest("node-1", 7), &other), &both, None, at(0), "7"),
        (&manifest("node-1", 7).to_json().into(), pin, None, at(0), "not_signed"),
        (&smime::sign(b"{}", &own.certificate, &own.key).unwrap(), pin, None, at(0), "malformed"),
        (&b"".to_vec(), pin, None, at(0), "bad_signature"),
        (&vec![b' '; 17 << 20], pin, None, at(0), "malformed"),
        // Without a pinned key neither signature nor version nor expiry count; whose they are does.
        (&good, &[], Some(8), at(9999), "7"),
        (&manifest("node-1", 0).to_json().into(), &[], None, at(0), "0"),
        (&manifest("node-2", 0).to_json().into(), &[], None, at(0), "other_node"),
        (&b"".to_vec(), &[], None, at(0), "malformed"),
    ] {
        let shown = String::from_utf8_lossy(&message[..message.len().min(400)]);
        assert_eq!(said(message, pinned, held, now), verdict, "{shown} held {held:?} at {now}");
    }
}

#[test]
fn an_altered_byte_of_what_was_signed_is_noticed() {
    let own = signer();
    let message = manifest("node-1", 7).sign(&own.certificate, &own.key).unwrap();
    let text = String::from_utf8(message).unwrap();
    for (from, to) in [("node-1", "node-2"), (": 7,", ": 8,"), ("12:06:40", "23:06:40"), ("4a99", "4a98")] {
        let altered = text.replacen(from, to, 1);
        assert_ne!(altered, text);
        let refused = smime::verify(altered.as_bytes(), std::slice::from_ref(&own.certificate));
        assert_eq!(refused.unwrap_err(), SmimeError::DigestMismatch, "{from}");
    }
}

#[test]
fn stock_openssl_verifies_a_manifest() {
    let own = signer();
    let manifest = manifest("node-1", 7);
    std::fs::write(own.path().join("m"), manifest.sign(&own.certificate, &own.key).unwrap()).unwrap();
    let text = openssl(
        own.path(),
        &["smime", "-verify", "-text", "-in", "m", "-certfile", "cert.pem", "-nointern", "-noverify"],
    )
    .unwrap();
    assert_eq!(Manifest::from_json(&text), Ok(manifest));
}

#[test]
fn what_is_no_manifest_is_refused_for_a_reason() {
    let good = manifest("node-1", 7).to_json();
    let with = |from: &str, to: &str| {
        assert!(good.contains(from), "{from}");
        Manifest::from_json(good.replacen(from, to, 1).as_bytes()).unwrap_err().to_string()
    };
    for (from, to, reason) in [
        ("{\n", "[\n", "not a manifest"),
        ("manifest-1", "manifest-2", "format \"relayd-policy-manifest-2\" are not known"),
        ("\"format\"", "\"formats\"", "missing field `format`"),
        ("node-1", "../node-1", "a node id starts with"),
        ("\"version\": 7", "\"version\": -7", "invalid value"),
        ("\"version\": 7", "\"version\": 7.0", "invalid type"),
        ("\"version\": 7", "\"version\": 9007199254740992", "larger than 9007199254740991"),
        ("\"version\": 7,", "\"version\": 7, \"version\": 7,", "duplicate field"),
        ("\"version\": 7,", "\"version\": 7, \"extra\": 7,", "unknown field `extra`"),
        ("\"version\": 7,", "\"version\": 7, \"note\": \"\",", "a note is one line"),
        ("\"version\": 7,", "\"version\": 7, \"note\": \"a\\nb\",", "a note is one line"),
        ("T11:06:40Z", "", "not a manifest"),
        ("bin/run", "/bin/run", "an empty path segment"),
        ("bin/run", "../run", "starts with"),
        ("bin/run", "bin\\\\run", "backslash"),
        ("bin/run", "bin/\\u0000", "control character"),
        ("bin/run", "rudder.json", "rudder.json is named twice"),
        ("bin/run", "bin-2/run", "bin-2 is both a file and a directory"),
        ("bin/run", "rudder.json/a/b", "rudder.json is both a file and a directory"),
        ("\"size\":2", "\"size\":18446744073709551615", "bytes together"),
        ("4a99", "4A99", "64 lower-case"),
        ("4a99", "", "64 lower-case"),
        (",\"executable\"", ",\"setuid\"", "unknown field `setuid`"),
        ("}\n ]\n}\n", "}\n ]\n}\n{}", "trailing characters"),
    ] {
        let said = with(from, to);
        assert!(said.contains(reason), "{from} -> {to}: {said}");
    }
    assert!(matches!(Manifest::from_json(&vec![b' '; 17 << 20]), Err(ManifestError::Size(_))));
}

#[test]
fn trees_have_limits() {
    let many = |count: usize| FileList::new((0..count).map(|n| file(&n.to_string(), "")).collect());
    assert_eq!(many(POLICY_FILES).unwrap().len(), POLICY_FILES);
    assert_eq!(many(POLICY_FILES + 1), Err(ManifestError::Files(POLICY_FILES + 1)));
    let large = |path| ManifestFile { size: POLICY_TREE / 2 + 1, ..file(path, "") };
    assert_eq!(FileList::new(vec![large("a")]).unwrap().total_size(), POLICY_TREE / 2 + 1);
    assert_eq!(FileList::new(vec![large("a"), large("b")]), Err(ManifestError::Tree));
    let none = Arc::new(FileList::default());
    let node = "n".parse().unwrap();
    assert!(Manifest::new(node, MAX_VERSION + 1, at(0), None, none).is_err());
}

#[test]
fn changes_are_found_by_path_content_and_executable_bit() {
    let old = FileList::new(vec![file("a", "1"), file("b", "1"), file("c", "1"), file("d/x", "1")]).unwrap();
    let run = ManifestFile { executable: true, ..file("c", "1") };
    let new = FileList::new(vec![file("a", "1"), file("b", "2"), run, file("d", "1")]).unwrap();
    let changes = Changes::between(&old, &new);
    let paths = |files: &[&ManifestFile]| files.iter().map(|f| f.path.to_string()).collect::<Vec<_>>();
    assert_eq!((paths(&changes.added), paths(&changes.removed)), (vec!["d".into()], vec!["d/x".into()]));
    let changed: Vec<_> = changes.changed.iter().map(|(_, new)| new.path.as_str()).collect();
    assert_eq!(changed, ["b", "c"]);
    assert!(Changes::between(&new, &new).is_empty());
}

fn any_file() -> impl Strategy<Value = ManifestFile> {
    let size = prop_oneof![0..5000u64, any::<u64>()];
    ("[a-c\"é]{1,2}(/[a-c]{1,2}){0,2}", size, any::<[u8; 32]>(), any::<bool>()).prop_map(
        |(path, size, digest, executable)| ManifestFile {
            path: path.parse().unwrap(),
            size,
            sha256: ContentDigest(digest),
            executable,
        },
    )
}

/// The rules of a list, said in another way.
fn is_tree(files: &[ManifestFile]) -> bool {
    let clash = |a: &ManifestFile, b: &ManifestFile| {
        let (a, b) = (a.path.as_str(), b.path.as_str());
        a == b || b.starts_with(&format!("{a}/"))
    };
    let clashes =
        files.iter().enumerate().any(|(i, a)| files.iter().enumerate().any(|(j, b)| i != j && clash(a, b)));
    !clashes && files.iter().map(|f| u128::from(f.size)).sum::<u128>() <= u128::from(POLICY_TREE)
}

proptest! {
    #[test]
    fn lists_are_trees(files in vec(any_file(), 0..6)) {
        prop_assert_eq!(FileList::new(files.clone()).is_ok(), is_tree(&files));
    }

    #[test]
    fn what_is_written_is_read(
        files in vec(any_file(), 0..6),
        version in 0..=MAX_VERSION,
        created in -2_000_000_000_000i64..2_000_000_000_000,
        life in proptest::option::of(-10i64..1_000_000_000),
        note in proptest::option::of("[^\\p{Cc}]{1,20}"),
    ) {
        let Ok(files) = FileList::new(files) else { return Ok(()) };
        let created = DateTime::from_timestamp_millis(created).unwrap();
        let expires = life.map(|seconds| created + TimeDelta::seconds(seconds));
        let made = Manifest::new("n".parse().unwrap(), version, created, expires, files.into()).unwrap();
        let made = match note {
            Some(note) => made.with_note(note).unwrap(),
            None => made,
        };
        let text = made.to_json();
        let read = Manifest::from_json(text.as_bytes()).unwrap();
        prop_assert_eq!(&read, &made);
        prop_assert_eq!(&read.to_json(), &text);
        let lines = made.files().lines();
        prop_assert!(text.contains(lines));
        prop_assert_eq!(&FileList::from_lines(&lines.replace('\n', "\r\n")).unwrap(), &**made.files());
    }
}
