// SPDX-License-Identifier: Apache-2.0
//! Signatures against stock OpenSSL on this machine, in both directions, and against published samples.
#![allow(missing_docs)]

mod common;

use common::{Identity, openssl, read, samples};
use openssl::{pkey::PKey, rsa::Rsa, sha::sha256};
use protocol::{
    certificate::{Certificate, read_bundle},
    private_key::{KeyKind, generate},
    smime::{SmimeError, sign, verify},
};

fn identities() -> Vec<(&'static str, Identity)> {
    vec![
        ("RSA 2048", Identity::new(PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap())),
        ("RSA 4096", Identity::new(generate(KeyKind::Rsa4096).unwrap())),
        ("P-256", Identity::new(generate(KeyKind::P256).unwrap())),
    ]
}

const LOG: &str = "2026-01-02T03:04:05+00:00 one\n2026-01-02T03:04:05+00:00 zwei – drei\n";

#[test]
fn what_stock_openssl_signs_verifies() {
    for (name, identity) in identities() {
        std::fs::write(identity.path().join("log"), LOG).unwrap();
        for program in ["smime", "cms"] {
            for digest in ["sha256", "sha384", "sha512"] {
                let message = openssl(
                    identity.path(),
                    &[
                        program, "-sign", "-text", "-nocerts", "-md", digest, "-in", "log", "-signer",
                        "cert.pem", "-inkey", "key.pem",
                    ],
                )
                .unwrap();
                let verified = verify(&message, std::slice::from_ref(&identity.certificate))
                    .unwrap_or_else(|e| panic!("{name} {program} {digest}: {e}"));
                assert_eq!(verified.text, LOG.replace('\n', "\r\n"), "{name} {program} {digest}");
                let signed = format!("Content-Type: text/plain\r\n\r\n{}", verified.text);
                assert_eq!(verified.digest, sha256(signed.as_bytes()));
                assert_eq!(verified.nuls, 0);
            }
        }
    }
}

#[test]
fn stock_openssl_verifies_what_is_signed_here() {
    for (name, identity) in identities() {
        for (log, content) in [
            (LOG.as_bytes().to_vec(), LOG.replace('\n', "\r\n")),
            (b"".to_vec(), "".into()),
            (b"no end of line".to_vec(), "no end of line\r\n".into()),
            (b"a\rb\r\nc\n\nd\r\r\ne".to_vec(), "a\r\nb\r\nc\r\n\r\nd\r\ne\r\n".into()),
            (b"cut \0 here\nbad \xff byte\n".to_vec(), "cut \u{fffd} here\r\nbad \u{fffd} byte\r\n".into()),
            (b"------\n------B\n.\nFrom x\n".to_vec(), "------\r\n------B\r\n.\r\nFrom x\r\n".into()),
            // OpenSSL reads lines in pieces of 1023 bytes.
            ([vec![b'x'; 1022], b"\r\n".to_vec()].concat(), format!("{}\r\n", "x".repeat(1022))),
            (vec![b'y'; 100_000], format!("{}\r\n", "y".repeat(100_000))),
        ] {
            let message = sign(&log, &identity.certificate, &identity.key).unwrap();
            std::fs::write(identity.path().join("message"), &message).unwrap();
            for program in ["smime", "cms"] {
                let verified = openssl(
                    identity.path(),
                    &[
                        program,
                        "-verify",
                        "-text",
                        "-noverify",
                        "-nointern",
                        "-certfile",
                        "cert.pem",
                        "-in",
                        "message",
                    ],
                )
                .unwrap_or_else(|e| panic!("{name} {program} {log:?}: {e}"));
                assert_eq!(String::from_utf8(verified).unwrap(), content, "{name} {program}");
            }
            let verified = verify(&message, std::slice::from_ref(&identity.certificate)).unwrap();
            assert_eq!((verified.text, verified.nuls), (content, 0), "{name}");
        }
    }
}

#[test]
fn published_samples_give_their_documented_results() {
    let Some(samples) = samples() else { return };
    const NODE: &str = "e745a140-40bc-4b86-b6dc-084488fc906b";
    let certificate = |name: &str| -> Vec<Certificate> {
        read_bundle(&read(samples.join("keys").join(format!("{name}.cert")))).unwrap()
    };
    let right = certificate(NODE);
    let other_serial = certificate(&format!("{NODE}-other"));
    let other_node = certificate("37817c4d-fbf7-4850-a985-50021f4e8f41");
    let bundle = read_bundle(&read(samples.join("keys/nodescerts.pem"))).unwrap();

    for (signed, log, crlf) in [
        ("smime/normal.signed".to_owned(), "smime/normal.log".to_owned(), true),
        (
            format!("runlogs/2017-08-24T15_55_01+00_00@{NODE}.signed"),
            format!("runlogs/2017-08-24T15_55_01+00_00@{NODE}.log"),
            false,
        ),
        (
            format!("runlogs/2018-08-24T15_55_01+00_00@{NODE}.signed"),
            format!("runlogs/2018-08-24T15_55_01+00_00@{NODE}.log"),
            false,
        ),
    ] {
        let message = read(samples.join(&signed));
        let log = String::from_utf8(read(samples.join(&log))).unwrap();
        let expected = if crlf { log } else { log.replace('\n', "\r\n") };
        assert!(verify(&message, &right).unwrap().text == expected, "{signed}");
        assert!(verify(&message, &bundle).is_ok(), "{signed}");
        assert_eq!(verify(&message, &other_serial), Err(SmimeError::SignerNotFound(1)), "{signed}");
        assert_eq!(verify(&message, &other_node), Err(SmimeError::SignerNotFound(1)), "{signed}");
        assert_eq!(verify(&message, &[]), Err(SmimeError::SignerNotFound(0)), "{signed}");
    }
    let altered = read(samples.join("smime/normal-diff.signed"));
    assert_eq!(verify(&altered, &right), Err(SmimeError::DigestMismatch));
}
