// SPDX-License-Identifier: Apache-2.0
//! From typed to resolved: what goes down to the nodes.

use std::time::Duration;

use super::{
    Cache, Gateway, IdentityFiles, Policies, RelayAccess, RelayTrust, RemoteRun, SharedFiles, Triggers,
    Upstream, UpstreamTrust, main_file::MainFile, problem::Class, resolve::Resolver,
};

/// A silent connection must be noticed within 30 s: this wait, and the time for an answer.
const LONGEST_WAIT: Duration = Duration::from_secs(20);

impl Resolver<'_> {
    pub(super) fn policies(&self) -> Policies {
        let typed = &self.typed.policies;
        Policies {
            directory: typed.directory.value.clone(),
            published: typed.published.value.clone(),
            key_directory: typed.key_directory.value.clone(),
            lifetime: typed.lifetime.value,
            keep_versions: typed.keep_versions.value.get(),
            groups: typed.groups.value.clone(),
            archives: typed.archives.value.clone(),
            max_archives: typed.max_archives.value.0,
        }
    }

    /// An upstream that does not learn who asks gives nothing.
    pub(super) fn cache(&self, upstream: Option<&Upstream>) -> Option<Cache> {
        let typed = &self.typed.policies_cache;
        upstream?.client_identity.as_ref()?;
        typed
            .enabled
            .value
            .then(|| Cache { directory: typed.directory.value.clone(), max_size: typed.max_size.value.0 })
    }

    pub(super) fn triggers(&mut self) -> Triggers {
        let typed = &self.typed.triggers;
        let wait = &typed.wait;
        if wait.value.is_zero() || wait.value > LONGEST_WAIT {
            let text = "must be between 1s and 20s: a silent connection is to be noticed within 30 s";
            self.document.note(Class::Rule, wait.line, "triggers.wait", text.to_owned());
        }
        Triggers { wait: wait.value, reconnects_per_second: typed.reconnects_per_second.value.get() }
    }

    /// `identity` and `trust` are those that the upstream gets, or would get.
    pub(super) fn remote_run(
        &mut self,
        identity: Option<IdentityFiles>,
        trust: UpstreamTrust,
        gateway: Option<&Gateway>,
    ) -> Option<RemoteRun> {
        let typed = self.typed;
        let typed = &typed.remote_run;
        self.not_zero(&typed.expiry, "remote_run.expiry");
        let command = &typed.command;
        if !command.value.is_empty() && !command.value.contains('/') {
            let text = "must be a path, such as \"/opt/rudder/bin/rudder\", or \"\" for none";
            self.broken(command, "remote_run.command", text);
        }
        let relays = RelayAccess {
            port: self.typed.general.https_port.value,
            trust: match trust {
                UpstreamTrust::Pins(_) | UpstreamTrust::Anchors(_) => RelayTrust::Keys,
                UpstreamTrust::Authorities(file) => RelayTrust::Authorities(file),
                UpstreamTrust::DangerousNone => RelayTrust::DangerousNone,
            },
            // Relays know this server by its key, which the gateway of a root may have as well.
            client_identity: identity.or_else(|| gateway.map(|gateway| gateway.identity.clone())),
            oldest_tls: self.typed.upstream.min_tls_version.value,
            proxy: self.proxy(&typed.proxy),
        };
        typed.enabled.value.then(|| RemoteRun {
            command: Some(command.value.as_str()).filter(|path| !path.is_empty()).map(Into::into),
            use_sudo: typed.use_sudo.value,
            max_concurrent: typed.max_concurrent.value.get(),
            max_agents: typed.max_agents.value.get(),
            max_output: typed.max_output.value.0,
            expiry: typed.expiry.value,
            relays,
        })
    }
}

pub(super) fn shared_files(typed: &MainFile) -> SharedFiles {
    SharedFiles {
        path: typed.shared_files.path.value.clone(),
        max_body_size: typed.shared_files.max_body_size.value.0,
        clean_every: typed.shared_files_cleanup.frequency.value,
    }
}
