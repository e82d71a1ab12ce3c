// SPDX-License-Identifier: Apache-2.0
//! Nodes that are not below this server any more leave nothing in its cache.

use std::{convert::Infallible, sync::Arc};

use tokio_util::sync::CancellationToken;

use super::{Cache, fetch::blocking};
use crate::nodes::Nodes;

impl Cache {
    /// Removes what belongs to nodes that are gone from the table, each time it changes, until stopped.
    pub async fn follow_nodes(self, mut nodes: Nodes, stop: CancellationToken) -> Result<(), Infallible> {
        loop {
            let table = nodes.borrow_and_update().clone();
            // With no table at all nobody is let in, and nothing is known of anybody.
            if !table.list().is_empty() {
                let table = Arc::clone(&table);
                let removed =
                    blocking(&self.shared, move |store| store.remove_nodes(|node| table.knows(node))).await;
                match removed {
                    Ok(0) => {}
                    Ok(count) => {
                        tracing::info!(count, "files of nodes that are gone were removed from the cache")
                    }
                    Err(error) => tracing::error!(
                        "cannot remove files of nodes that are gone from the cache: {error}; check policies.cache.directory"
                    ),
                }
            }
            drop(table);
            match stop.run_until_cancelled(nodes.changed()).await {
                Some(Ok(())) => {}
                Some(Err(_)) => {
                    // Whoever made the table has stopped: nothing more will change.
                    stop.cancelled().await;
                    return Ok(());
                }
                None => return Ok(()),
            }
        }
    }
}
