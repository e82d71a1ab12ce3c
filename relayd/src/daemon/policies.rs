// SPDX-License-Identifier: Apache-2.0
//! What nodes fetch: policies and the shared folder.

use std::sync::Arc;

use super::services::Services;
use crate::{http::ServiceKind, shared_folder::SharedFolder};

impl Services<'_> {
    /// Adds what serves files of this server.
    pub(super) fn serve_files(&mut self) {
        let folder = SharedFolder::new(self.config.shared_folder.clone(), self.files.clone());
        self.called.add(ServiceKind::SharedFolder, Arc::new(folder));
    }
}
