// SPDX-License-Identifier: Apache-2.0
//! `relayd reload`.

use std::{path::Path, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{Request, header::HOST};
use serde_json::Value;
use tokio::time::timeout;

use super::CliError;
use crate::{
    api::client,
    config::{LocalAddress, listen},
    upstream::with_causes,
};

/// Longest answer that is read.
const LONGEST_ANSWER: usize = 64 * 1024;
/// A node list of 100,000 nodes takes a second.
const PATIENCE: Duration = Duration::from_secs(60);

/// Have the running daemon read again what can change while it runs: logging.conf, node list and certificates.
///
/// The first mistake ends the reload, and what was loaded before stays in use. main.conf applies after a restart.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Exit codes: 0 reloaded, 1 a mistake, which is printed and logged, 3 the daemon could not be asked.

Examples:
  relayd reload
  systemctl reload rudder-relayd      the same, as the user of the daemon")]
pub struct Args {}

/// Runs the command.
///
/// The daemon does not read main.conf again, so a mistake in there is none here.
pub fn run(directory: &Path) -> Result<(), CliError> {
    let (listen, mistake) = listen(directory);
    let asked = reload(&listen);
    // It may say why nobody was found there.
    let told = |error: CliError| match mistake.filter(|_| error.code == 3) {
        Some(mistake) => CliError { text: format!("{}\n{mistake}", error.text), ..error },
        None => error,
    };
    asked.map_err(told)
}

fn reload(listen: &LocalAddress) -> Result<(), CliError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match runtime.block_on(async { timeout(PATIENCE, ask(listen)).await }) {
        Ok(answer) => answer,
        Err(_) => Err(CliError::unasked(format!("the daemon did not answer within {PATIENCE:?}"))),
    }
}

async fn ask(listen: &LocalAddress) -> Result<(), CliError> {
    let mut sender = client::connect(listen).await.map_err(CliError::unasked)?;
    let lost = |error: hyper::Error| CliError::unasked(with_causes(&error));
    let request = Request::post("/rudder/relay-api/1/system/reload").header(HOST, "localhost");
    let request = request.body(Full::<Bytes>::default()).map_err(CliError::failed)?;
    let answer = sender.send_request(request).await.map_err(lost)?;
    let status = answer.status();
    let body = Limited::new(answer.into_body(), LONGEST_ANSWER).collect().await.map_err(CliError::unasked)?;
    if status.is_success() {
        return Ok(());
    }
    let said: Value = serde_json::from_slice(&body.to_bytes()).unwrap_or_default();
    match said["errorDetails"].as_str() {
        Some(details) => Err(CliError::failed(details)),
        None => Err(CliError::unasked(format!("it answers {status}; is that relayd?"))),
    }
}
