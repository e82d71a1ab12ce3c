// SPDX-License-Identifier: Apache-2.0
//! What version 1 passes on to its client: output of many targets in one body.

use std::io;

use bytes::Bytes;
use tokio::sync::mpsc::Sender;

/// Output of one target that is kept until its end; more is passed on as it comes.
const MOST_KEPT: usize = 1 << 20;

/// Where output goes.
#[derive(Debug, Clone)]
pub struct Sink {
    /// `None` when the client does not wait.
    frames: Option<Sender<io::Result<Bytes>>>,
    when: When,
}

/// When output of nodes of this server is passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// Line by line.
    AsItComes,
    /// All of a target when it ends.
    AtTheEnd,
    /// Never.
    Never,
}

/// Output of one target.
#[derive(Debug)]
pub struct TargetOutput {
    sink: Sink,
    kept: Vec<u8>,
}

/// The client is gone.
#[derive(Debug)]
pub struct Gone;

impl Sink {
    /// To this client, if it waits.
    pub fn new(frames: Option<Sender<io::Result<Bytes>>>, when: When) -> Self {
        Self { frames, when }
    }

    /// Output of one target.
    pub fn target(&self) -> TargetOutput {
        TargetOutput { sink: self.clone(), kept: Vec::new() }
    }

    /// Passes bytes on as they are.
    pub async fn pass(&self, bytes: impl Into<Bytes>) -> Result<(), Gone> {
        match &self.frames {
            Some(frames) => frames.send(Ok(bytes.into())).await.map_err(|_| Gone),
            None => Ok(()),
        }
    }

    /// Cuts the body off: the client must not take it for whole.
    pub async fn fail(&self, error: io::Error) {
        if let Some(frames) = &self.frames {
            let _ = frames.send(Err(error)).await;
        }
    }
}

impl TargetOutput {
    /// A line, without its end.
    pub async fn line(&mut self, line: &[u8]) -> Result<(), Gone> {
        if self.sink.when == When::Never {
            return Ok(());
        }
        self.kept.extend_from_slice(line);
        self.kept.push(b'\n');
        if self.sink.when == When::AtTheEnd && self.kept.len() < MOST_KEPT {
            return Ok(());
        }
        self.end().await
    }

    /// Passes on what is left.
    pub async fn end(&mut self) -> Result<(), Gone> {
        match std::mem::take(&mut self.kept) {
            kept if kept.is_empty() => Ok(()),
            kept => self.sink.pass(kept).await,
        }
    }
}
