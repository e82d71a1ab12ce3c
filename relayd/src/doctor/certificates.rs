// SPDX-License-Identifier: Apache-2.0
//! Certificates of this server, the keys that belong to them, and until when they are valid.

use std::{fs, path::Path};

use chrono::Utc;
use protocol::{certificate::Certificate, private_key};

use super::Examined;
use crate::{
    config::IdentityFiles,
    expiry::watched,
    finding::{Finding, split},
    gateway::authorities,
};

pub(super) const NAME: &str = "certificates";

pub(super) fn check(x: &mut Examined<'_>) -> Vec<Finding> {
    let config = x.config;
    let gateway = config.gateway.as_ref().map(|gateway| &gateway.identity);
    let upstream = config.upstream.as_ref().and_then(|upstream| upstream.client_identity.as_ref());
    let mut found: Vec<Finding> = gateway.into_iter().chain(upstream).filter_map(pair).collect();
    if let Some(gateway) = &config.gateway
        && let Err(error) = authorities::check(&gateway.clients, &config.ca)
    {
        let (cause, remedy) = split(&error, "have it written again, or correct gateway.client_ca_path");
        found.push(Finding::error(NAME, "gateway.client_ca_path", cause, remedy));
    }
    let now = Utc::now();
    for watched in watched::of(config) {
        let warning = watched.not_after().and_then(|end| watched.warning(end, now));
        let Some(warning) = warning else { continue };
        let (cause, remedy) = split(&warning.text, "renew it");
        let place = watched.file().display();
        found.push(match warning.urgent {
            true => Finding::error(NAME, place, cause, remedy),
            false => Finding::warning(NAME, place, cause, remedy),
        });
    }
    found
}

/// Whether both files can be read and belong together. What is missing, `permissions` says.
fn pair(files: &IdentityFiles) -> Option<Finding> {
    let pem = fs::read(&files.certificate).ok()?;
    let certificate = match Certificate::from_pem(&pem) {
        Ok(certificate) => certificate,
        Err(error) => return Some(damaged(&files.certificate, &error)),
    };
    let key = match private_key::from_pem(&fs::read(&files.key).ok()?) {
        Ok(key) => key,
        Err(error) => return Some(damaged(&files.key, &error)),
    };
    let belongs = certificate.public_key().is_ok_and(|public| public.public_eq(&key));
    (!belongs).then(|| {
        let text = format!("it does not belong to the key in {}", files.key.display());
        let remedy = "put the certificate of this key in its place, or the key of this certificate";
        Finding::error(NAME, files.certificate.display(), text, remedy)
    })
}

fn damaged(path: &Path, error: &dyn std::fmt::Display) -> Finding {
    let (cause, remedy) = split(error, "put a PEM file in its place");
    Finding::error(NAME, path.display(), cause, remedy)
}
