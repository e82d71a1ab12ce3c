// SPDX-License-Identifier: Apache-2.0
//! Inventories as agents of the RUDDER family send them: an XML file and its detached signature
//! (protocol 6.1, 6.3, 6.6), with what the root looks at and little more.

use std::fmt::Write as _;

use chrono::Utc;
use openssl::{hash::MessageDigest, sign::Signer};

use crate::{Result, identity::Identity, simulated::gzip};

/// The two files of one inventory.
#[derive(Debug, Clone)]
pub struct Inventory {
    /// Name of the packed inventory.
    pub name: String,
    /// The packed inventory.
    pub content: Vec<u8>,
    /// Name of the signature.
    pub signature_name: String,
    /// The signature.
    pub signature: Vec<u8>,
}

/// An inventory of `machine`, made now and signed with its key.
pub fn of(machine: &Identity, hostname: &str, policy_server: &str) -> Result<Inventory> {
    with_software(machine, hostname, policy_server, "")
}

/// The same with packages: `software` is XML, elements of the kind `SOFTWARES`.
pub fn with_software(
    machine: &Identity,
    hostname: &str,
    policy_server: &str,
    software: &str,
) -> Result<Inventory> {
    let certificate = String::from_utf8(machine.certificate.x509().to_pem()?)?;
    let text = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\" ?>
<REQUEST>
  <CONTENT>
    <ACCESSLOG>
      <LOGDATE>{date}</LOGDATE>
    </ACCESSLOG>
    <OPERATINGSYSTEM>
      <ARCH>x86_64</ARCH>
      <FQDN>{hostname}</FQDN>
      <FULL_NAME>Debian GNU/Linux 12 (bookworm)</FULL_NAME>
      <KERNEL_NAME>linux</KERNEL_NAME>
      <KERNEL_VERSION>6.1.0-9-amd64</KERNEL_VERSION>
      <NAME>Debian</NAME>
    </OPERATINGSYSTEM>
    <RUDDER>
      <AGENT>
        <AGENT_CERT>{certificate}</AGENT_CERT>
        <AGENT_NAME>cfengine-community</AGENT_NAME>
        <OWNER>root</OWNER>
        <POLICY_SERVER_HOSTNAME>127.0.0.1</POLICY_SERVER_HOSTNAME>
        <POLICY_SERVER_UUID>{policy_server}</POLICY_SERVER_UUID>
      </AGENT>
      <AGENT_VERSION>9.0.0</AGENT_VERSION>
      <HOSTNAME>{hostname}</HOSTNAME>
      <UUID>{id}</UUID>
    </RUDDER>
{software}    <VERSIONCLIENT>FusionInventory-Agent_v2.6</VERSIONCLIENT>
  </CONTENT>
  <DEVICEID>{hostname}-2026-01-02-03-04-05</DEVICEID>
  <QUERY>INVENTORY</QUERY>
</REQUEST>
",
        date = Utc::now().format("%Y-%m-%d %H:%M:%S"),
        id = machine.node_id,
    );
    let mut signer = Signer::new(MessageDigest::sha512(), &machine.key)?;
    signer.update(text.as_bytes())?;
    let digest = signer.sign_to_vec()?.iter().fold(String::new(), |mut hex, byte| {
        write!(hex, "{byte:02x}").expect("a String takes everything");
        hex
    });
    let signature = format!(
        "header=rudder-signature-v1\nalgorithm=sha512\ndigest={digest}\nhostname={hostname}\n\
         keydate=2026-01-02 03:04:05.000000000 +0000\nkeyid=00000000\n"
    );
    let stem = format!("{}_{}", machine.node_id, Utc::now().format("%Y-%m-%dT%H:%M:%S+00:00"));
    Ok(Inventory {
        name: format!("{stem}.ocs.gz"),
        content: gzip(text.as_bytes())?,
        signature_name: format!("{stem}.ocs.sign"),
        signature: signature.into_bytes(),
    })
}
