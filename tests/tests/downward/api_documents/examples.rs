// SPDX-License-Identifier: Apache-2.0
//! The curl commands of the documents, run as they stand.

use std::{fs, process::Command};

use protocol::{private_key, smime};
use tests::{
    Result,
    enrolment::Newcomer,
    identity::{Identity, Keys},
    realm::Realm,
    server::Server,
};

use super::{
    policies,
    shared::{self, signed},
    walk::Walk,
};

/// Runs all commands; each has to end with success, or at least as the operation answers without more
/// preparation.
pub fn run(walk: &Walk, realm: &Realm) -> Result<()> {
    let root = &realm.root;
    let machine = realm.machine(root, Keys::P256)?;
    let variables = variables(root, &machine)?;
    policies::prepare(root, &machine.node_id)?;
    for (listener, document) in [("local", &walk.local), ("gateway", &walk.gateway)] {
        let mut operations: Vec<_> = document.operations().iter().collect();
        // What is fetched has to be there.
        operations.sort_by_key(|(id, _)| !id.starts_with("put"));
        for (id, operation) in operations {
            let source = operation.object["x-codeSamples"][0]["source"].as_str().ok_or("no command")?;
            let mut bash = Command::new("bash");
            bash.args(["-euc", source]).envs(variables.iter().map(|(name, value)| (name, value)));
            bash.current_dir(root.directory()).env_remove("http_proxy").env_remove("https_proxy");
            let output = bash.output()?;
            let said = format!(
                "{}{}",
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr)
            );
            let expected = if NOT_FOUND.contains(&&**id) { 22 } else { 0 };
            if output.status.code() != Some(expected) {
                return Err(format!("{listener} {id}: {}\n{source}\n{said}", output.status).into());
            }
        }
    }
    Ok(())
}

/// Whose commands are about something that is not there: nobody asked for that run, or made it.
const NOT_FOUND: &[&str] = &["postTrigger", "getRun", "getNodeInventory", "getInventoryChanges"];

fn variables(root: &Server, machine: &Identity) -> Result<Vec<(&'static str, String)>> {
    let directory = root.directory();
    let write = |name: &str, content: &[u8]| -> Result<String> {
        let path = directory.join(format!("example-{name}"));
        fs::write(&path, content)?;
        Ok(path.display().to_string())
    };
    let request = |of: &Identity| Newcomer::new(of, "machine.example.com").request();
    let next = Identity::new(machine.node_id.clone(), Keys::P256)?;
    Ok(vec![
        ("LOCAL", format!("http://{}", root.api())),
        ("GATEWAY", format!("https://{}", root.gateway())),
        ("PIN", root.key_hash().to_string()),
        ("CERT", write("certificate", &machine.certificate.x509().to_pem()?)?),
        ("KEY", write("key", private_key::to_pem(&machine.key)?.as_ref())?),
        ("NODE", machine.node_id.to_string()),
        ("FILE", write("file.gz", &tests::simulated::gzip(b"example")?)?),
        ("ENROLMENT", write("enrolment", &request(machine)?)?),
        ("NEW_KEY", write("new-key", &smime::sign(&request(&next)?, &machine.certificate, &machine.key)?)?),
        ("SHARED_FILE", write("shared", &signed(b"example", machine)?)?),
        ("HASH", shared::hash(b"example")?),
        ("RUN", "3f333b87-7e3c-4f8d-9a5e-3f1d6ab5a0c7".to_owned()),
        ("OUTPUT", directory.join("example-output").display().to_string()),
    ])
}
