// SPDX-License-Identifier: Apache-2.0
//! Forwarding to the upstream policy server.
use crate::{config::Upstream, metrics::CompatibleMetrics, spool::{Sink, SpoolFile, disposition::{Disposition, Release}}};
use protocol::urls::UploadKind;
/// x
pub struct Forward;
impl Forward {
    /// x
    pub fn new(_: &Upstream, _: UploadKind, _: CompatibleMetrics) -> Result<Self, String> { Ok(Self) }
    /// x
    pub fn reload(&self) -> Result<(), String> { Ok(()) }
}
impl Sink for Forward {
    async fn deliver(&self, _: &SpoolFile) -> Disposition { Disposition::Released(Release { outlet_down: true, detail: String::new(), retry_after: None }) }
}
