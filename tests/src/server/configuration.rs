// SPDX-License-Identifier: Apache-2.0
//! What a server's configuration says: everything below its own directory.

use std::{fs, path::Path};

use super::{DatabaseUrl, Output, Server};
use crate::Result;

/// Settings of places, and where below the server's directory they lead.
const PLACES: [(&str, &str); 12] = [
    ("general.nodes_list_file", "nodeslist.json"),
    ("general.nodes_certs_file", "allnodescerts.pem"),
    ("processing.reporting.directory", "reports"),
    ("processing.inventory.directory", "inventories"),
    ("policies.directory", "share"),
    ("policies.published", "policies"),
    ("policies.key_directory", "policy-key"),
    ("policies.groups", "policy-groups"),
    ("policies.archives", "archives"),
    ("policies.cache.directory", "cache"),
    ("shared_files.path", "shared-files"),
    ("shared_folder.path", "shared-folder"),
];

impl Server {
    /// Writes the configuration, for a daemon that somebody else starts.
    pub fn write_configuration(&self) -> Result<()> {
        fs::write(self.directory.join("etc/main.conf"), self.configuration())?;
        let logging = format!("[general]\nlevel = {:?}\n", self.log_level);
        fs::write(self.directory.join("etc/logging.conf"), logging)?;
        Ok(())
    }

    /// `main.conf`: dotted keys, so that a later one can simply replace an earlier one.
    fn configuration(&self) -> String {
        let text = |path: &Path| format!("{:?}", path.display().to_string());
        let mut keys: Vec<(&str, String)> = vec![
            ("general.node_id", format!("{:?}", self.node_id.as_str())),
            ("general.listen", format!("{:?}", self.api.to_string())),
            ("processing.reporting.catchup.frequency", "1".to_owned()),
            ("gateway.listen", format!("{:?}", self.gateway.to_string())),
            ("gateway.certificate", text(&self.identity.certificate)),
            ("gateway.key", text(&self.identity.key)),
        ];
        keys.extend(PLACES.map(|(key, place)| (key, text(&self.directory.join(place)))));
        match &self.output {
            Output::Database(url) => {
                keys.push(("processing.reporting.output", "\"database\"".to_owned()));
                match url {
                    DatabaseUrl::Postgres(url) => {
                        keys.push(("output.database.url", format!("{url:?}")));
                        keys.push(("output.database.password", "\"not-checked\"".to_owned()));
                    }
                    DatabaseUrl::Sqlite(file) => {
                        keys.push(("output.database.url", format!("\"sqlite:{}\"", file.display())));
                    }
                }
            }
            Output::Upstream(port, key_hash) => keys.extend([
                ("processing.reporting.output", "\"upstream\"".to_owned()),
                ("processing.inventory.output", "\"upstream\"".to_owned()),
                ("output.upstream.host", "\"127.0.0.1\"".to_owned()),
                ("output.upstream.port", port.to_string()),
                ("output.upstream.password", "\"unused\"".to_owned()),
                ("output.upstream.server_key_hashes", format!("[\"{key_hash}\"]")),
                ("output.upstream.client_certificate", text(&self.identity.certificate)),
                ("output.upstream.client_key", text(&self.identity.key)),
            ]),
        }
        for (key, value) in &self.settings {
            keys.retain(|(k, _)| k != key);
            keys.push((key, value.clone()));
        }
        keys.iter().map(|(key, value)| format!("{key} = {value}\n")).collect()
    }
}
