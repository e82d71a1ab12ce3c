// SPDX-License-Identifier: Apache-2.0
//! The inventory as a whole: what was collected, who it is from, and the checks of servers.

use std::{path::Path, time::Instant};

use chrono::{DateTime, Local, Utc};
use openssl::sha::sha256;
use protocol::{
    inventory::{
        self, Content, ReadError, Rudder,
        check::{self, CheckError},
        model::{AccessLog, Agent, Capabilities},
    },
    node_id::NodeId,
};
use tokio_util::sync::CancellationToken;

use super::{
    collect::{self, Arguments},
    machine::Machine,
};
use crate::{identity::Identity, settings::Settings, state::State};

/// What existing servers take agents for that they can work with.
const AGENT_NAME: &str = "cfengine-community";

/// An inventory that a server would take.
#[derive(Debug)]
pub struct Document {
    /// When it was made.
    pub made: DateTime<Utc>,
    /// The XML.
    pub xml: String,
    /// SHA-256 of what is not different each time, hexadecimal.
    pub digest: String,
}

impl Document {
    /// Collects, writes, and checks.
    pub async fn make(
        root: &Path,
        settings: &Settings,
        identity: &Identity,
        policy_server: &NodeId,
        state: &State,
        stop: &CancellationToken,
    ) -> Result<Self, DocumentError> {
        let start = Instant::now();
        let machine = Machine::new(root, stop);
        let arguments = if settings.inventory_arguments { Arguments::Told } else { Arguments::LeftOut };
        let mut content = collect::collect(&machine, state, arguments).await;
        let properties = collect::custom_properties(&machine, &settings.paths.hooks).await;
        content.rudder = vec![Rudder {
            agents: vec![agent(settings, identity, policy_server)],
            capabilities: Some(Capabilities {
                names: collect::capabilities(&machine).into_iter().map(str::to_owned).collect(),
            }),
            agent_version: Some(env!("CARGO_PKG_VERSION").to_owned()),
            custom_properties: properties,
            hostname: Some(collect::host_name(&machine)),
            server_roles: None,
            uuid: Some(identity.node_id.to_string()),
        }];
        content.client = Some(concat!("relayd-agent_", env!("CARGO_PKG_VERSION")).to_owned());
        let made = Utc::now();
        // With the offset: local times alone are ambiguous, and servers read both.
        let date = made.with_timezone(&Local).format("%Y-%m-%d %H:%M:%S%:z").to_string();
        content.access_log = Some(AccessLog { log_date: Some(date) });
        if let Some(hardware) = &mut content.hardware {
            hardware.duration = Some(start.elapsed().as_secs());
        }
        Self::of(content, made)
    }

    fn of(content: Content, made: DateTime<Utc>) -> Result<Self, DocumentError> {
        let name = content.hardware.as_ref().and_then(|hardware| hardware.name.as_deref()).unwrap_or("node");
        let xml = inventory::write(&content, &format!("{name}-{}", made.format("%Y-%m-%d-%H-%M-%S")));
        let mut read = check::content(inventory::read(xml.as_bytes())?)?;
        check::date(&read.content, made)?;
        check::certificate(&read)?;
        read.content.take_momentary();
        let stable = serde_json::to_vec(&read.content).unwrap_or_default();
        Ok(Self { made, digest: hex::encode(sha256(&stable)), xml })
    }
}

fn agent(settings: &Settings, identity: &Identity, policy_server: &NodeId) -> Agent {
    let key = std::fs::read_to_string(&settings.paths.public_key).ok();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap_or_default();
    Agent {
        certificate: Some(text(identity.certificate.to_pem())),
        name: Some(AGENT_NAME.to_owned()),
        key,
        owner: Some(owner()),
        policy_server_hostname: settings.server.as_ref().map(|server| server.host.clone()),
        policy_server: Some(policy_server.to_string()),
    }
}

/// The account that the agent runs as.
fn owner() -> String {
    let id = rustix::process::geteuid().as_raw();
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let named = passwd.lines().find_map(|line| {
        let mut parts = line.split(':');
        let name = parts.next()?;
        (parts.nth(1)?.parse() == Ok(id)).then(|| name.to_owned())
    });
    named.unwrap_or_else(|| id.to_string())
}

/// Why an inventory would be refused by every server.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    /// Something needed is not in it.
    #[error(
        "what was collected makes no inventory that a server takes: {0}\n    `agent inventory --print` shows what there is; a host name other than localhost and /etc/os-release are needed"
    )]
    Check(#[from] CheckError),
    /// It is beyond what servers read.
    #[error("what was collected is more than a server reads: {0}")]
    Read(#[from] ReadError),
}
