// SPDX-License-Identifier: Apache-2.0
//! Changing the server's key, step by step; each step can be repeated after an interruption.

use std::{fs, io, path::Path};

use protocol::{
    certificate::Certificate,
    node_id::NodeId,
    private_key::{self, KeyKind},
    succession::{self, MAX_PREDECESSORS},
};

use super::{Announced, ServerKey, ServerKeyError, exists, failed, fits, next_files, read_chain, read_key};
use crate::{
    config::IdentityFiles,
    durable::{self, Access, PRIVATE, replace, sync_parent},
};

/// Makes the next key, and its certificate signed by the current one. Both files belong to whom the
/// current ones belong.
pub fn prepare(files: &IdentityFiles, kind: KeyKind, own_id: &NodeId) -> Result<ServerKey, ServerKeyError> {
    let mut current = ServerKey::load(files)?;
    finish_activation(files)?;
    let next = next_files(files);
    if let Some(announced) = Announced::load(&next)? {
        return Err(ServerKeyError::AlreadyNext(announced.leaf().key_hash()));
    }
    if exists(&next.certificate) {
        return Err(ServerKeyError::File {
            verb: "make",
            error: io::Error::new(
                io::ErrorKind::AlreadyExists,
                "it is there without its key; `relayd server-key cancel` removes it",
            ),
            path: next.certificate,
        });
    }
    let key = private_key::generate(kind)?;
    let signer = (current.chain.remove(0), current.key);
    let leaf = succession::succeed(&signer, &key, own_id)?;
    let (before, signing_key) = signer;
    let mut chain = vec![leaf.clone(), before];
    chain.append(&mut current.chain);
    chain.truncate(1 + MAX_PREDECESSORS);
    let access = |path: &Path| Access::like(path).map_err(|e| failed("read", path, e));
    let pem = private_key::to_pem(&key)?;
    // Over one that an interrupted command left: nobody knows that yet.
    replace(&next.key, &pem, access(&files.key)?.with_mode(PRIVATE))
        .map_err(|e| failed("write", &next.key, e))?;
    durable::create(&next.certificate, &pem_of(&chain), access(&files.certificate)?)
        .map_err(|e| failed("write", &next.certificate, e))?;
    Ok(ServerKey { chain: chain.split_off(1), key: signing_key, next: Some(leaf) })
}

/// Makes the next key the current one.
pub fn activate(files: &IdentityFiles) -> Result<ServerKey, ServerKeyError> {
    let current = ServerKey::load(files)?;
    if finish_activation(files)? {
        return Ok(current);
    }
    let next = next_files(files);
    let announced = Announced::load(&next)?.ok_or(ServerKeyError::NoNext)?;
    // Whoever slept through the announcement would find no way from the key that it knows.
    match announced.chain.get(1) {
        Some(signer) if signer.spki_der() == current.certificate().spki_der() => {}
        signer => {
            let signer = signer.unwrap_or_else(|| announced.leaf()).key_hash();
            return Err(ServerKeyError::OtherSigner { signer });
        }
    }
    put(&next.key, &files.key)?;
    put(&next.certificate, &files.certificate)?;
    ServerKey::load(files)
}

/// Gives the next key up. `false` when there was none.
pub fn cancel(files: &IdentityFiles) -> Result<bool, ServerKeyError> {
    // That one is in use already.
    if finish_activation(files)? {
        return Ok(false);
    }
    let next = next_files(files);
    let removed = [remove(&next.certificate)?, remove(&next.key)?];
    Ok(removed.contains(&true))
}

/// Leaves only the certificate of the current key: from now on the keys before it vouch for nothing.
/// Returns how many certificates were dropped.
pub fn forget_chain(files: &IdentityFiles) -> Result<usize, ServerKeyError> {
    let current = ServerKey::load(files)?;
    finish_activation(files)?;
    let dropped = current.chain.len() - 1;
    if dropped > 0 {
        let path = &files.certificate;
        let access = Access::like(path).map_err(|e| failed("read", path, e))?;
        replace(path, &pem_of(&current.chain[..1]), access).map_err(|e| failed("write", path, e))?;
    }
    Ok(dropped)
}

/// Puts the certificate in place whose key is there already. `false` when nothing was interrupted.
fn finish_activation(files: &IdentityFiles) -> Result<bool, ServerKeyError> {
    let next = next_files(files);
    if !exists(&next.certificate) || exists(&next.key) {
        return Ok(false);
    }
    if !fits(&read_key(&files.key)?, &read_chain(&next.certificate)?)? {
        return Ok(false);
    }
    put(&next.certificate, &files.certificate)?;
    Ok(true)
}

fn put(from: &Path, to: &Path) -> Result<(), ServerKeyError> {
    fs::rename(from, to).and_then(|()| sync_parent(to)).map_err(|e| failed("replace", to, e))
}

fn remove(path: &Path) -> Result<bool, ServerKeyError> {
    match fs::remove_file(path) {
        Ok(()) => sync_parent(path).map(|()| true).map_err(|e| failed("remove", path, e)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(failed("remove", path, e)),
    }
}

fn pem_of(chain: &[Certificate]) -> Vec<u8> {
    chain.iter().flat_map(Certificate::to_pem).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use openssl::x509::X509;

    use super::*;

    struct Server {
        directory: tempfile::TempDir,
        files: IdentityFiles,
    }

    fn own_id() -> NodeId {
        NodeId::root()
    }

    fn server() -> Server {
        let directory = tempfile::tempdir().unwrap();
        let files = IdentityFiles {
            certificate: directory.path().join("server.cert"),
            key: directory.path().join("server.key"),
        };
        let key = private_key::generate(KeyKind::P256).unwrap();
        let certificate = private_key::self_signed(&key, &own_id()).unwrap();
        let mode = |mode| Access::own(mode);
        replace(&files.key, &private_key::to_pem(&key).unwrap(), mode(0o640)).unwrap();
        replace(&files.certificate, &certificate.to_pem(), mode(0o644)).unwrap();
        Server { directory, files }
    }

    fn x509(chain: &[Certificate]) -> Vec<X509> {
        chain.iter().map(|certificate| certificate.to_x509().unwrap()).collect()
    }

    fn names(server: &Server) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(server.directory.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn whoever_knows_an_earlier_key_finds_the_present_one_until_the_chain_is_forgotten() {
        let server = server();
        let mut pins = vec![ServerKey::load(&server.files).unwrap().pin()];
        for kind in [KeyKind::P256, KeyKind::Rsa4096, KeyKind::P256] {
            let prepared = prepare(&server.files, kind, &own_id()).unwrap();
            assert_eq!(Some(&prepared.pin()), pins.last());
            let announced = ServerKey::load(&server.files).unwrap();
            assert_eq!(announced.next_pin(), prepared.next_pin());
            assert_eq!(Some(&announced.pin()), pins.last(), "it is not used yet");
            let active = activate(&server.files).unwrap();
            assert_eq!((Some(active.pin()), active.next_pin()), (prepared.next_pin(), None));
            pins.push(active.pin());
        }
        let active = ServerKey::load(&server.files).unwrap();
        assert_eq!(active.chain.len(), 4);
        for pin in &pins {
            assert!(succession::vouched(&x509(&active.chain), std::slice::from_ref(pin)), "{pin}");
        }
        assert_eq!(names(&server), ["server.cert", "server.key"]);

        assert_eq!(forget_chain(&server.files).unwrap(), 3);
        assert_eq!(forget_chain(&server.files).unwrap(), 0);
        let alone = ServerKey::load(&server.files).unwrap();
        assert!(succession::vouched(&x509(&alone.chain), &pins[3..]));
        assert!(!succession::vouched(&x509(&alone.chain), &pins[..3]));
    }

    #[test]
    fn files_keep_owner_and_mode_and_the_key_is_for_the_owner_alone() {
        let server = server();
        prepare(&server.files, KeyKind::P256, &own_id()).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        let next = next_files(&server.files);
        assert_eq!((mode(&next.key), mode(&next.certificate)), (0o600, 0o644));
    }

    #[test]
    fn an_announced_key_is_not_lost_and_can_be_given_up() {
        let server = server();
        assert!(matches!(activate(&server.files), Err(ServerKeyError::NoNext)));
        assert!(!cancel(&server.files).unwrap());
        prepare(&server.files, KeyKind::P256, &own_id()).unwrap();
        let again = prepare(&server.files, KeyKind::P256, &own_id());
        assert!(matches!(again, Err(ServerKeyError::AlreadyNext(_))), "{again:?}");
        assert!(cancel(&server.files).unwrap());
        assert_eq!(ServerKey::load(&server.files).unwrap().next_pin(), None);
        assert_eq!(names(&server), ["server.cert", "server.key"]);
    }

    #[test]
    fn an_interruption_between_any_two_steps_leaves_a_server_that_works() {
        // next: the key is there, the certificate is not.
        let server = server();
        let files = &server.files;
        let next = next_files(files);
        let first = ServerKey::load(files).unwrap().pin();
        fs::write(&next.key, "half").unwrap();
        assert_eq!(ServerKey::load(files).unwrap().next_pin(), None);
        let announced = prepare(files, KeyKind::P256, &own_id()).unwrap().next_pin();

        // activate: the key is in place, the certificate is not.
        fs::rename(&next.key, &files.key).unwrap();
        let between = ServerKey::load(files).unwrap();
        assert_eq!((Some(between.pin()), between.next_pin()), (announced.clone(), None));
        assert!(succession::vouched(&x509(&between.chain), &[first]));
        let copy = |name: &str| {
            fs::copy(files.certificate.with_file_name(name), next.certificate.with_extension(name))
        };
        copy("server.cert.next").unwrap();
        // Giving up what is in use already would leave a key without certificate.
        assert!(!cancel(files).unwrap());
        assert_eq!(Some(ServerKey::load(files).unwrap().pin()), announced);

        fs::rename(next.certificate.with_extension("server.cert.next"), &next.certificate).unwrap();
        assert_eq!(Some(activate(files).unwrap().pin()), announced);
        assert_eq!(names(&server), ["server.cert", "server.key"]);
        // And on from there.
        prepare(files, KeyKind::P256, &own_id()).unwrap();
        activate(files).unwrap();
    }

    #[test]
    fn a_next_key_that_the_current_one_did_not_sign_is_not_used() {
        let (server, other) = (server(), self::server());
        prepare(&server.files, KeyKind::P256, &own_id()).unwrap();
        fs::copy(&other.files.key, &server.files.key).unwrap();
        fs::copy(&other.files.certificate, &server.files.certificate).unwrap();
        assert!(matches!(activate(&server.files), Err(ServerKeyError::OtherSigner { .. })));
        assert!(cancel(&server.files).unwrap());
    }

    #[test]
    fn what_does_not_fit_together_is_said_and_a_bad_next_key_stops_nothing() {
        let (server, other) = (server(), self::server());
        prepare(&server.files, KeyKind::P256, &own_id()).unwrap();
        fs::copy(&other.files.key, next_files(&server.files).key).unwrap();
        assert_eq!(ServerKey::load(&server.files).unwrap().next_pin(), None);
        assert!(matches!(activate(&server.files), Err(ServerKeyError::Mismatch { .. })));
        fs::copy(&other.files.key, &server.files.key).unwrap();
        assert!(matches!(ServerKey::load(&server.files), Err(ServerKeyError::Mismatch { .. })));
        fs::write(&server.files.certificate, "").unwrap();
        assert!(matches!(ServerKey::load(&server.files), Err(ServerKeyError::Empty(_))));
    }
}
