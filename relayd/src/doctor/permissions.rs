// SPDX-License-Identifier: Apache-2.0
//! What the user of the daemon may read and write, and what nobody else may (protocol 10.2).

use std::{
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use protocol::urls::UploadKind;

use super::{
    Examined,
    account::{Denied, Want},
};
use crate::{
    config::{
        Config, DatabaseUrl, InventoryOutput, NodesSource, RunLogOutput, UpstreamTrust, name_of_credential,
    },
    finding::Finding,
    spool::directories,
};

pub(super) const NAME: &str = "permissions";

/// A file or directory that the daemon needs.
struct Needed {
    path: PathBuf,
    want: Want,
    /// What it is, for people.
    what: &'static str,
    /// Whether the daemon starts without it, or makes it.
    may_be_missing: bool,
    /// Whether others must not read it.
    is_secret: bool,
}

pub(super) fn check(x: &mut Examined<'_>) -> Vec<Finding> {
    needed(x.directory, x.config).iter().filter_map(|needed| look(x, needed)).collect()
}

fn look(x: &Examined<'_>, needed: &Needed) -> Option<Finding> {
    let Needed { path, what, .. } = needed;
    let place = path.display();
    let user = &x.account.name;
    if let Some(name) = name_of_credential(path) {
        return credential(x, needed, &name);
    }
    let facts = match x.account.may(needed.want, path) {
        Ok(facts) => facts,
        Err(Denied::Missing) if needed.may_be_missing => return makes(x, needed),
        Err(Denied::Missing) => {
            let remedy = format!("make it, readable for {user}, or correct its setting in main.conf");
            return Some(Finding::error(NAME, place, format!("{what} is not there"), remedy));
        }
        Err(Denied::Unknown(error)) => {
            return Some(Finding::unknown(NAME, place, error.to_string(), "run this as root"));
        }
        Err(denied) => {
            let remedy = remedy(needed, user);
            return Some(Finding::error(NAME, place, format!("{what}: {denied}"), remedy));
        }
    };
    let mode = facts.mode() & 0o777;
    if needed.is_secret && mode & 0o007 != 0 {
        let text = format!("{what} has mode {mode:04o}: every user of this machine may use it");
        return Some(Finding::error(NAME, place, text, format!("chmod o-rwx {}", path.display())));
    }
    let is_open = needed.want == Want::Change && mode & 0o002 != 0 && facts.mode() & 0o1000 == 0;
    is_open.then(|| {
        let text = format!("{what} has mode {mode:04o}: every user of this machine may put files there");
        Finding::error(NAME, path.display(), text, format!("chmod o-rwx {}", path.display()))
    })
}

/// Who may read a credential, the service manager sees to; it is there while the service runs.
fn credential(x: &Examined<'_>, needed: &Needed, name: &str) -> Option<Finding> {
    let Needed { path, what, .. } = needed;
    let error = path.metadata().err()?;
    let is_missing = error.kind() == io::ErrorKind::NotFound;
    Some(match (is_missing, x.daemon) {
        (true, Ok(_)) => {
            let text = format!("{what} is the credential {name}, and the service was started without it");
            let remedy =
                format!("add `LoadCredential={name}:FILE` to its unit, `systemctl daemon-reload`, restart");
            Finding::error(NAME, path.display(), text, remedy)
        }
        (true, Err(_)) => {
            let text =
                format!("{what} is the credential {name}, which only the running service has: not looked at");
            let remedy =
                "start it and run this again; `systemctl cat rudder-relayd` has its LoadCredential= lines";
            Finding::unknown(NAME, path.display(), text, remedy)
        }
        (false, _) => Finding::unknown(NAME, path.display(), error.to_string(), "run this as root"),
    })
}

/// What is made when it is needed needs a place where it can be made.
fn makes(x: &Examined<'_>, needed: &Needed) -> Option<Finding> {
    if needed.want != Want::Change {
        return None;
    }
    let above = needed.path.ancestors().skip(1).find(|above| above.exists())?;
    x.account.may(Want::Change, above).err().map(|denied| {
        let text = format!("{} is not there, and cannot be made: {denied}", needed.what);
        let path = needed.path.display();
        let remedy = format!("`install -d -o {} -g rudder -m 0770 {path}`", x.account.name);
        Finding::error(NAME, path, text, remedy)
    })
}

fn remedy(needed: &Needed, user: &str) -> String {
    let path = needed.path.display();
    match needed.want {
        Want::Change => format!("`chgrp rudder {path} && chmod 0770 {path}`, with {user} in group rudder"),
        Want::List => format!("`chgrp rudder {path} && chmod g+rx {path}`, with {user} in group rudder"),
        Want::Write => format!("`chown {user} {path}`"),
        Want::Read => format!("`chgrp rudder {path} && chmod 0640 {path}`, with {user} in group rudder"),
    }
}

fn needed(directory: &Path, config: &Config) -> Vec<Needed> {
    let of = |path: &Path, want, what| Needed {
        path: path.to_owned(),
        want,
        what,
        may_be_missing: false,
        is_secret: false,
    };
    let made = |path: &Path, what| Needed { may_be_missing: true, ..of(path, Want::Change, what) };
    let optional = |path: &Path, want, what| Needed { may_be_missing: true, ..of(path, want, what) };
    let secret = |path: &Path, what| Needed { is_secret: true, ..of(path, Want::Read, what) };

    let mut needed =
        vec![secret(&directory.join("main.conf"), "the configuration, which may have passwords,")];
    needed.push(optional(&directory.join("logging.conf"), Want::Read, "the configuration of logs"));
    let mut spools = Vec::new();
    if config.run_logs.output != RunLogOutput::Disabled {
        spools.push(directories(UploadKind::RunLog, &config.run_logs.spool.directory));
    }
    if config.inventories.output != InventoryOutput::Disabled || config.gateway.is_some() {
        spools.push(directories(UploadKind::NewInventory, &config.inventories.spool.directory));
        spools.push(directories(UploadKind::InventoryUpdate, &config.inventories.spool.directory));
    }
    for spool in spools {
        needed.push(made(&spool.incoming, "the spool"));
        needed.push(made(&spool.failed, "the place of what was refused"));
    }
    needed.dedup_by(|one, other| one.path == other.path);

    let general = &config.general;
    match config.nodes.source {
        NodesSource::Files => {
            needed.push(optional(&general.nodes_list_file, Want::Read, "the node list"));
            needed.push(optional(&general.nodes_certs_file, Want::Read, "the certificates of the nodes"));
        }
        NodesSource::Database | NodesSource::Upstream => {
            let parent = general.nodes_list_file.parent().unwrap_or(Path::new("/"));
            needed.push(made(parent, "the directory of the node list, which this server writes"));
        }
    }
    if let Some(gateway) = &config.gateway {
        needed.push(of(&gateway.identity.certificate, Want::Read, "the certificate of the gateway"));
        needed.push(secret(&gateway.identity.key, "the key of the gateway"));
    }
    if let Some(upstream) = &config.upstream {
        if let Some(identity) = &upstream.client_identity {
            needed.push(of(&identity.certificate, Want::Read, "the certificate for the server above"));
            needed.push(secret(&identity.key, "the key for the server above"));
        }
        if let UpstreamTrust::Anchors(file) = &upstream.trust {
            needed.push(of(file, Want::Read, "the certificate of the server above"));
        }
    }
    needed.push(made(&config.shared_files.path, "the place of shared files"));
    needed.push(optional(&config.shared_folder, Want::List, "the shared folder"));
    needed.push(optional(&config.policies.directory, Want::List, "the directory of policies"));
    needed.extend(config.cache.as_ref().map(|cache| made(&cache.directory, "the cache")));
    if let (true, DatabaseUrl::Sqlite(file)) = (config.uses_database(), &config.database.url) {
        needed.extend(file.parent().map(|parent| made(parent, "the directory of the database")));
        needed.push(Needed { is_secret: true, ..optional(file, Want::Write, "the database") });
    }
    needed
}
