// SPDX-License-Identifier: Apache-2.0
//! A file for a node below: the checks of protocol 7.4 in their order, then the disk.

use hyper::{Response, StatusCode};
use protocol::shared_file::{Address, Metadata, parse_ttl};
use tokio::task::spawn_blocking;

use super::{SharedFiles, parameter, problem::Refused, receive::receive, respond, store::StoreError};
use crate::{
    gateway::disk::Room,
    http::{Body, Call, announced_length},
};

impl SharedFiles {
    /// Stores a file.
    pub(super) async fn put(&self, address: &Address, call: Call) -> Result<Response<Body>, Refused> {
        let length = announced_length(&call.headers, self.settings.max_body_size)?;
        let ttl = parameter(call.query.as_deref(), "ttl").ok_or(Refused::NoParameter("ttl"))?;
        let keys: Vec<_> = {
            let table = self.nodes.borrow();
            let source = address.source.node_id().ok_or(Refused::UnknownSource)?;
            let source = table.list().get(&source).ok_or(Refused::UnknownSource)?;
            source.key_hashes().cloned().collect()
        };
        let _turn = self.at_a_time.try_acquire().map_err(|_| Refused::Busy)?;
        let content = self.new_part(length).await?;
        let counter = &self.metrics.received_bytes;
        let slowest = self.settings.slowest_body;
        let received =
            receive(call.body, slowest, length, &keys, content, |bytes| counter.inc_by(bytes)).await;
        if let Err(Refused::Store(StoreError::Sync(_))) = &received {
            self.store.broken().cancel();
        }
        let received = received?;
        // Last, because it is the last check of the table.
        let ttl = parse_ttl(&ttl)?.as_secs();
        let expires = i64::try_from(ttl).ok().and_then(|ttl| self.now().checked_add(ttl));
        let expires = Some(expires.ok_or(Refused::TooLate)?);
        let metadata = Metadata { expires, ..received.metadata };
        let (store, placed, content) = (self.store.clone(), address.clone(), received.content);
        let placing = spawn_blocking(move || store.place(&content, &metadata, &placed));
        placing.await.map_err(|error| Refused::Failed(error.to_string()))??;
        self.metrics.stored.inc();
        tracing::debug!(%address, caller = ?call.caller, length, "shared file stored");
        Ok(respond(StatusCode::OK))
    }

    async fn new_part(&self, length: u64) -> Result<super::part::Part, Refused> {
        if self.store.broken().is_cancelled() {
            return Err(StoreError::Sync(std::io::Error::other("this server is stopping")).into());
        }
        let (store, high_water) = (self.store.clone(), self.settings.high_water_percent);
        let made = spawn_blocking(move || store.new_part(length, high_water)).await;
        let (part, room) = made.map_err(|error| Refused::Failed(error.to_string()))??;
        match room {
            Room::Enough | Room::Elsewhere => Ok(part),
            Room::Low => Err(Refused::HighWater),
            Room::Full => Err(StoreError::Full.into()),
            Room::ReadOnly => Err(StoreError::ReadOnly.into()),
        }
    }
}
