// SPDX-License-Identifier: Apache-2.0
//! From typed to resolved: what goes down to the nodes.

use super::{
    Cache, Policies, RemoteRun, SharedFiles, Triggers, Upstream, main_file::MainFile, problem::Class,
    resolve::Resolver,
};
use std::time::Duration;

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
}

pub(super) fn remote_run(typed: &MainFile) -> Option<RemoteRun> {
    let typed = &typed.remote_run;
    typed.enabled.value.then(|| RemoteRun {
        command: typed.command.value.clone(),
        use_sudo: typed.use_sudo.value,
        max_concurrent: typed.max_concurrent.value.get(),
        max_output: typed.max_output.value.0,
        expiry: typed.expiry.value,
    })
}

pub(super) fn shared_files(typed: &MainFile) -> SharedFiles {
    SharedFiles {
        path: typed.shared_files.path.value.clone(),
        max_body_size: typed.shared_files.max_body_size.value.0,
        clean_every: typed.shared_files_cleanup.frequency.value,
    }
}
