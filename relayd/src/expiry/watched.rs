// SPDX-License-Identifier: Apache-2.0
//! Which certificates of this server are watched, and what their end means.

use std::{
    fs,
    path::{Path, PathBuf},
};

use chrono::{DateTime, SecondsFormat, Utc};
use protocol::certificate::Certificate;

use super::{EARLY, LATE, Shown, Warning};
use crate::{
    ca,
    config::{ClientTrust, Config},
    server_key::next_files,
};

/// A certificate in a file.
pub struct Watched {
    /// In metrics.
    pub label: &'static str,
    /// In texts.
    name: &'static str,
    /// Whether the daemon takes up a new one by itself, not only at a reload.
    pub is_read_when_used: bool,
    file: PathBuf,
    consequence: &'static str,
    remedy: &'static str,
}

impl Watched {
    /// Until when the certificate is valid that is there now.
    pub fn not_after(&self) -> Option<DateTime<Utc>> {
        Some(Certificate::from_pem(&fs::read(&self.file).ok()?).ok()?.not_after())
    }

    /// Where it is.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// What people are told of a certificate that is valid until then.
    pub fn shown(&self, end: DateTime<Utc>, now: DateTime<Utc>) -> Shown {
        let warning = self.warning(end, now);
        Shown { label: self.label, file: self.file.clone(), not_after: end, warning }
    }

    /// What to say about a certificate that is valid until then.
    pub fn warning(&self, end: DateTime<Utc>, now: DateTime<Utc>) -> Option<Warning> {
        if end > now + EARLY {
            return None;
        }
        let at = end.to_rfc3339_opts(SecondsFormat::Secs, true);
        let when = match (end - now).num_days() {
            _ if end <= now => format!("has expired on {at}"),
            0 => format!("expires within a day, on {at}"),
            days => format!("expires in {days} days, on {at}"),
        };
        let Self { name, file, consequence, remedy, .. } = self;
        let text = format!("{name} ({}) {when}: {consequence}; {remedy}", file.display());
        Some(Warning { urgent: end <= now + LATE, text })
    }
}

/// The certificates that a server with this configuration uses.
pub fn of(config: &Config) -> Vec<Watched> {
    let mut watched = Vec::new();
    if let Some(gateway) = &config.gateway {
        let by_authority = matches!(gateway.clients, ClientTrust::Authority { .. });
        let consequence = match by_authority {
            true => "agents that check certificates will refuse this server",
            false => {
                "nothing stops for agents that know this server by its key; those that check certificates \
                      will refuse it"
            }
        };
        watched.push(Watched {
            label: "gateway",
            name: "the certificate of the gateway",
            is_read_when_used: false,
            file: gateway.identity.certificate.clone(),
            consequence,
            remedy: match by_authority {
                true => "put a new one from your authority in its place and reload",
                false => {
                    "change the key with `relayd server-key next` and, some days later, `relayd server-key \
                          activate`; or put a new certificate for the same key in its place and reload"
                }
            },
        });
        watched.push(Watched {
            label: "next",
            name: "the certificate of the next key of the gateway",
            is_read_when_used: false,
            file: next_files(&gateway.identity).certificate,
            consequence,
            remedy: "use it with `relayd server-key activate`, or give it up with `relayd server-key cancel`",
        });
    }
    if let Some(identity) = config.upstream.as_ref().and_then(|upstream| upstream.client_identity.as_ref()) {
        watched.push(Watched {
            label: "upstream_client",
            name: "the certificate that is shown to the upstream server",
            is_read_when_used: true,
            file: identity.certificate.clone(),
            consequence: "nothing stops when that server knows this one by its key; a server that checks \
                          certificates will refuse it",
            remedy: "renew it with `agent cert renew` or `agent key roll`, or with your authority",
        });
    }
    if config.general.node_id.is_root() {
        watched.push(Watched {
            label: "ca",
            name: "the certificate of the built-in authority",
            is_read_when_used: true,
            file: ca::certificate_file(&config.ca),
            consequence: "all certificates that it issued will be refused by whoever checks them, and it issues \
                          no more",
            remedy: "run `relayd ca renew` and give the new one (`relayd ca export`) to whoever trusts \
                     the old one",
        });
    }
    watched
}
