// SPDX-License-Identifier: Apache-2.0
//! Whether a document is one that a server takes in (protocol 6.5), and what it then says for certain.
//!
//! The caller has yet to check the signature, and that the certificate is one that this node may have.

use std::time::Duration;

use chrono::{DateTime, NaiveDateTime, Utc};

use super::model::{Agent, Content, Request, Rudder};
use crate::{
    certificate::{Certificate, CertificateError},
    node_id::NodeId,
};

/// A document in which everything is that a server needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// Who it is from.
    pub node_id: NodeId,
    /// Host name; see [`is_host_name`].
    pub hostname: String,
    /// The policy server of the node.
    pub policy_server: NodeId,
    /// Name of the agent, in lower case.
    pub agent: String,
    /// Its version.
    pub agent_version: String,
    /// Name of the operating system.
    pub os_name: String,
    /// Release of its kernel.
    pub kernel: String,
    /// The certificate, PEM: not looked at yet, see [`certificate`].
    pub certificate: String,
    /// All of it.
    pub content: Content,
}

/// Why a document is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CheckError {
    /// There is none.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// None, or several.
    #[error("not exactly one {0} element")]
    NotOne(&'static str),
    /// Not what it should be.
    #[error("{0} is malformed: {1}")]
    Malformed(&'static str, String),
    /// No usable agent; why the first is none.
    #[error("no usable AGENT: {0}")]
    NoAgent(String),
    /// Only names that every machine has.
    #[error("HOSTNAME is missing, or one that every machine has, and so is FQDN")]
    NoHostName,
    /// Not a certificate of a node.
    #[error("AGENT_CERT: {0}")]
    Certificate(String),
    /// Of another node.
    #[error("the certificate is not that of node {0}")]
    OtherNode(NodeId),
    /// Too old, or from the future.
    #[error("made {0}, which is not within two days before and 12 hours after now")]
    Date(DateTime<Utc>),
}

/// Names of agents that inventories may have.
pub const AGENT_NAMES: [&str; 2] = ["cfengine-community", "dsc"];
/// A custom property with this name says what the host is called.
const HOSTNAME_PROPERTY: &str = "rudder_override_hostname";
const OLDEST: Duration = Duration::from_secs(2 * 86_400);
const EARLIEST: Duration = Duration::from_secs(12 * 3600);

/// Checks what it says, but neither when it was made nor the certificate: see [`date`] and [`certificate`].
pub fn content(request: Request) -> Result<Checked, CheckError> {
    request.device_id.ok_or(CheckError::Missing("DEVICEID"))?;
    let content = only(request.content, "CONTENT")?;
    let [rudder] = &content.rudder[..] else { return Err(CheckError::NotOne("RUDDER")) };
    let uuid = rudder.uuid.as_deref().ok_or(CheckError::Missing("UUID"))?;
    let node_id: NodeId = uuid.parse().map_err(|e| CheckError::Malformed("UUID", format!("{e}")))?;
    let agent = agent(&rudder.agents)?;
    let agent_version = agent_version(rudder, &content).ok_or(CheckError::Missing("AGENT_VERSION"))?;
    let hostname = hostname(rudder, &content)?;
    let system = content.operating_system.as_ref().ok_or(CheckError::Missing("OPERATINGSYSTEM"))?;
    let os_name = system.name.clone().ok_or(CheckError::Missing("OPERATINGSYSTEM/NAME"))?;
    let kernel = system.kernel_version.clone().ok_or(CheckError::Missing("KERNEL_VERSION"))?;
    let Usable { name, policy_server, certificate } = agent;
    Ok(Checked {
        node_id,
        hostname,
        policy_server,
        agent: name,
        agent_version,
        os_name,
        kernel,
        certificate,
        content,
    })
}

/// When it was made. Dates without an offset are local times somewhere: the window is wide enough.
pub fn date(content: &Content, now: DateTime<Utc>) -> Result<DateTime<Utc>, CheckError> {
    let text = content.access_log.as_ref().and_then(|log| log.log_date.as_deref());
    let text = text.ok_or(CheckError::Missing("LOGDATE"))?;
    let naive = |text: &str| NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S").map(|d| d.and_utc());
    let date = DateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S%#z")
        .or_else(|_| DateTime::parse_from_rfc3339(text))
        .map(|date| date.with_timezone(&Utc))
        .or_else(|_| naive(text))
        .map_err(|e| CheckError::Malformed("LOGDATE", e.to_string()))?;
    if date < now - OLDEST || date > now + EARLIEST { Err(CheckError::Date(date)) } else { Ok(date) }
}

/// The certificate in it, which is of this node.
pub fn certificate(checked: &Checked) -> Result<Certificate, CheckError> {
    let certificate = Certificate::from_pem(checked.certificate.as_bytes())
        .map_err(|e: CertificateError| CheckError::Certificate(e.to_string()))?;
    let id = checked.node_id.as_str();
    let is_its = certificate.sole_node_id().is_some_and(|named| named.as_str().eq_ignore_ascii_case(id));
    if is_its { Ok(certificate) } else { Err(CheckError::OtherNode(checked.node_id.clone())) }
}

/// Whether a text can be the name of a host: 1 to 255 letters, digits, `-`, `_`, `.`.
pub fn is_host_name(text: &str) -> bool {
    let is_character = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    (1..=255).contains(&text.len()) && text.chars().all(is_character)
}

fn only<T>(all: Vec<T>, name: &'static str) -> Result<T, CheckError> {
    let [one] = <[T; 1]>::try_from(all).map_err(|_| CheckError::NotOne(name))?;
    Ok(one)
}

/// What is needed of an agent.
struct Usable {
    name: String,
    policy_server: NodeId,
    certificate: String,
}

/// The first usable agent.
fn agent(agents: &[Agent]) -> Result<Usable, CheckError> {
    let mut why = None;
    for agent in agents {
        match usable(agent) {
            Ok(usable) => return Ok(usable),
            Err(error) => why = why.or(Some(error)),
        }
    }
    Err(CheckError::NoAgent(why.unwrap_or_else(|| "there is none".into())))
}

fn usable(agent: &Agent) -> Result<Usable, String> {
    let name = agent.name.as_deref().ok_or("AGENT_NAME is missing")?.to_ascii_lowercase();
    if !AGENT_NAMES.contains(&&*name) {
        return Err(format!("AGENT_NAME is neither {} nor {}", AGENT_NAMES[0], AGENT_NAMES[1]));
    }
    agent.owner.as_ref().ok_or("OWNER is empty")?;
    let policy_server = agent.policy_server.as_deref().ok_or("POLICY_SERVER_UUID is empty")?;
    let policy_server = policy_server.parse().map_err(|e| format!("POLICY_SERVER_UUID is malformed: {e}"))?;
    let certificate = agent.certificate.clone().ok_or("AGENT_CERT is missing")?;
    Ok(Usable { name, policy_server, certificate })
}

/// Older agents do not say their version, but they are packages.
fn agent_version(rudder: &Rudder, content: &Content) -> Option<String> {
    let is_agent = |name: &str| name == "rudder-agent" || name.eq_ignore_ascii_case("Rudder agent (DSC)");
    let mut packages = content.software.iter().filter(|one| one.name.as_deref().is_some_and(is_agent));
    rudder.agent_version.clone().or_else(|| packages.find_map(|package| package.version.clone()))
}

fn hostname(rudder: &Rudder, content: &Content) -> Result<String, CheckError> {
    let properties = rudder.custom_properties.as_ref().and_then(serde_json::Value::as_array);
    let property = properties.into_iter().flatten().find_map(|one| one.get(HOSTNAME_PROPERTY)?.as_str());
    let is_own = |name: &&str| !["localhost", "127.0.0.1", "::1", ""].contains(name);
    let fqdn = content.operating_system.as_ref().and_then(|system| system.fqdn.as_deref());
    let names = [property, rudder.hostname.as_deref(), fqdn];
    let name = names.into_iter().flatten().map(str::trim).find(is_own).ok_or(CheckError::NoHostName)?;
    if !is_host_name(name) {
        let rule = "not 1 to 255 letters, digits, '-', '_', '.'";
        return Err(CheckError::Malformed("HOSTNAME", rule.into()));
    }
    Ok(name.to_owned())
}
