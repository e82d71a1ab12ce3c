// SPDX-License-Identifier: Apache-2.0
//! From what is typed to what applies: `[nodes]`, `[enrolment]`, `[ca]`, and how clients are known.

use super::{
    Ca, ClientTrust, Enrolment, General, InventoryOutput, Nodes, NodesSource, RunLogOutput, Upstream,
    choice::ClientAuthentication, problem::Class, resolve::Resolver,
};

impl Resolver<'_> {
    pub(super) fn nodes(&mut self, general: Option<&General>, upstream: Option<&Upstream>) -> Nodes {
        let typed = self.typed;
        let section = &typed.nodes;
        let source = section.source.value;
        let key = "nodes.source";
        match (source, general) {
            (NodesSource::Database, Some(general)) if !general.node_id.is_root() => {
                let text = format!(
                    "only a root has the registry, and this is node {}; write \"upstream\" or \"files\"",
                    general.node_id
                );
                self.broken(&section.source, key, text);
            }
            (NodesSource::Upstream, Some(general)) if general.node_id.is_root() => {
                let text = "a root has no server above it; write \"database\" or \"files\"";
                self.broken(&section.source, key, text);
            }
            (NodesSource::Upstream, _)
                if upstream.is_some_and(|upstream| upstream.client_identity.is_none()) =>
            {
                let text = "\"upstream\" needs a client certificate, because the server above tells each \
                            relay only of the nodes below it; set client_certificate and client_key, or \
                            run `agent enroll`";
                self.document.note(
                    Class::Rule,
                    section.source.line,
                    "output.upstream.client_certificate",
                    text.to_owned(),
                );
            }
            _ => {}
        }
        let run_logs = &typed.reporting.output;
        if run_logs.value == RunLogOutput::Database && source == NodesSource::Upstream {
            let text = "\"database\" is for a server that has the certificates with which run logs are \
                        signed, and nodes.source = \"upstream\" does not bring them; write \"upstream\" or \
                        \"disabled\"";
            self.broken(run_logs, "processing.reporting.output", text);
        }
        let inventories = &typed.inventory.output;
        if inventories.value == InventoryOutput::Registry && source != NodesSource::Database {
            let text = "\"registry\" is for a root with nodes.source = \"database\"; write \"upstream\" or \
                        \"disabled\"";
            self.broken(inventories, "processing.inventory.output", text);
        }
        if inventories.value == InventoryOutput::Database && source == NodesSource::Upstream {
            let text = "\"database\" is for a root; write \"upstream\" or \"disabled\"";
            self.broken(inventories, "processing.inventory.output", text);
        }
        Nodes { source, key_overlap: section.key_overlap.value }
    }

    pub(super) fn enrolment(&mut self) -> Option<Enrolment> {
        let section = &self.typed.enrolment;
        if section.requests_per_minute.value == 0 {
            let text = "0 would refuse every request; write how many there may be, or enabled = false";
            self.broken(&section.requests_per_minute, "enrolment.requests_per_minute", text);
        }
        self.not_zero(&section.program_timeout, "enrolment.program_timeout");
        if let Some(program) = section.program.value.first()
            && !program.starts_with('/')
        {
            let text = "the first text is not an absolute path; write [\"/path/to/program\"]";
            self.broken(&section.program, "enrolment.program", text);
        }
        let is_on = section.enabled.value && self.typed.nodes.source.value != NodesSource::Files;
        is_on.then(|| Enrolment {
            requests_per_minute: section.requests_per_minute.value,
            max_pending: section.max_pending.value.get(),
            program: section.program.value.clone(),
            program_timeout: section.program_timeout.value,
        })
    }

    pub(super) fn ca(&mut self) -> Ca {
        let section = &self.typed.ca;
        self.not_zero(&section.node_certificate_lifetime, "ca.node_certificate_lifetime");
        Ca {
            directory: section.directory.value.clone(),
            node_certificate_lifetime: section.node_certificate_lifetime.value,
        }
    }

    pub(super) fn client_trust(&mut self) -> Option<ClientTrust> {
        let section = &self.typed.gateway;
        match (section.client_authentication.value, &section.client_ca_path.value) {
            (ClientAuthentication::Key, _) => Some(ClientTrust::Key),
            (ClientAuthentication::Authority, Some(path)) => Some(ClientTrust::Authority {
                authorities: path.clone(),
                node_id: section.client_node_id.value.clone(),
            }),
            (ClientAuthentication::Authority, None) => {
                let text = "missing, but client_authentication is \"authority\"; name the file with the \
                            certificates of your authority";
                self.broken(&section.client_authentication, "gateway.client_ca_path", text);
                None
            }
        }
    }
}
