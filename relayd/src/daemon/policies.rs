// SPDX-License-Identifier: Apache-2.0
//! What nodes fetch: policies and the shared folder.

use std::sync::Arc;

use super::services::Services;
use crate::{http::ServiceKind, nodes::Nodes, policies::serve::PolicyServer, shared_folder::SharedFolder};

impl Services<'_> {
    /// Adds what serves files of this server, or those of the server above.
    pub(super) fn serve_files(&mut self, nodes: &Nodes) {
        let (files, above) = (self.files.clone(), self.cache.clone());
        let folder = SharedFolder::new(self.config.shared_folder.clone(), files.clone(), above.clone());
        self.called.add(ServiceKind::SharedFolder, Arc::new(folder));
        let own_id = &self.config.general.node_id;
        let policies = PolicyServer::new(&self.config.policies, own_id, nodes.clone(), files, above);
        self.called.add(ServiceKind::Policies, Arc::new(policies));
    }
}
