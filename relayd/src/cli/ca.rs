// SPDX-License-Identifier: Apache-2.0
//! `relayd ca`: the built-in certification authority of a root.

use std::{
    fs::File,
    io::{self, Read, Write},
    net::IpAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::{Args, Subcommand};
use openssl::{
    nid::Nid,
    pkey::{PKey, Public},
    x509::X509Req,
};
use protocol::{certificate::Certificate, node_id::NodeId, private_key};
use serde_json::json;

use super::{
    CliError,
    output::{KeyArg, date},
};
use crate::{
    ca::{
        self, Authority, CaError, NewAuthority,
        issue::{MAX_COMMON_NAME, Subject},
        name::HostName,
    },
    config::Ca,
    durable::{self, Access, PRIVATE, PUBLIC},
    spool::disposition::printable,
};

/// Commands about the built-in authority.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make the authority: its key and its certificate. Never overwrites one.
    #[command(after_help = "Examples:
  relayd ca init
  relayd ca init --name 'Example Ltd nodes' --key p256 --days 7300

Whoever has ca.key can make certificates for everything: keep the backup of it offline.")]
    Init {
        /// Common name of the authority. By default \"relayd CA\" and the name of this host.
        #[arg(long, value_parser = common_name)]
        name: Option<String>,
        /// Which key it gets.
        #[arg(long, value_enum, default_value_t)]
        key: KeyArg,
        /// How many days its certificate is valid.
        #[arg(long, default_value_t = 3650, value_parser = clap::value_parser!(u32).range(1..=36_500))]
        days: u32,
    },
    /// Issue a certificate for a service.
    #[command(after_help = "Examples:
  relayd ca issue --host db.example.org --key-out db.key --out db.pem
  relayd ca issue --host www.example.org --dns example.org --csr www.csr --out www.pem
  relayd ca issue --host r1.example.org --node ID --key-out r1.key --out r1.pem

The file holds the certificate and then that of the authority. Nodes need none of this: they
fetch and renew their own certificates, and `agent cert export` copies those for services.")]
    Issue(Issue),
    /// Make the certificate of the authority valid for longer. Key and name stay, and all that was issued.
    #[command(after_help = "Example:
  relayd ca renew && relayd ca export --out /srv/www/ca.pem

Whoever checks certificates of the authority needs the new one before the old one expires.")]
    Renew {
        /// How many days from now it is valid.
        #[arg(long, default_value_t = 3650, value_parser = clap::value_parser!(u32).range(1..=36_500))]
        days: u32,
    },
    /// Print the certificate of the authority, PEM, for those who shall trust it.
    #[command(after_help = "Example:
  relayd ca export --out /usr/local/share/ca-certificates/relayd.crt")]
    Export {
        /// Write it to this file.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Say what authority there is and until when its certificate is valid.
    #[command(after_help = "Example:
  relayd ca show --json | jq -r .not_after")]
    Show {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

/// What certificate shall be issued.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("whose").required(true).args(["csr", "key_out"]))]
pub struct Issue {
    /// Host name that the service answers to.
    #[arg(long, value_name = "NAME")]
    host: HostName,
    /// One more DNS name; may be repeated.
    #[arg(long, value_name = "NAME")]
    dns: Vec<HostName>,
    /// One more address; may be repeated.
    #[arg(long, value_name = "ADDRESS")]
    ip: Vec<IpAddr>,
    /// Take the key from this certificate request (PKCS#10, PEM). Only the key: the names are those given here.
    #[arg(long, value_name = "FILE")]
    csr: Option<PathBuf>,
    /// Make a key and write it to this file, which must not be there yet.
    #[arg(long, value_name = "FILE")]
    key_out: Option<PathBuf>,
    /// Which key is made.
    #[arg(long, value_enum, default_value_t, requires = "key_out")]
    key: KeyArg,
    /// Where the certificate goes, then that of the authority, PEM. Replaced when it is there.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// How many days it is valid. By default as long as those of nodes (ca.node_certificate_lifetime).
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=36_500))]
    days: Option<u32>,
    /// Make it name this node, for use as its identity towards servers that check certificates.
    #[arg(long, value_name = "ID")]
    node: Option<NodeId>,
}

/// Largest certificate request read, in bytes.
const MAX_REQUEST: u64 = 64 * 1024;

/// Runs a command.
pub fn run(command: &Command, settings: &Ca) -> Result<(), CliError> {
    let mut out = io::stdout().lock();
    match command {
        Command::Init { name, key, days } => {
            let name = name.clone().unwrap_or_else(default_name);
            let new = NewAuthority { name: &name, key: (*key).into(), days: *days };
            let made = Authority::init(&settings.directory, &new).map_err(CliError::failed)?;
            show(&mut out, made.certificate(), settings, false)?;
            writeln!(
                out,
                "Nodes get certificates from it from now on. Keep a backup of the directory offline."
            )?;
        }
        Command::Issue(wanted) => issue(wanted, settings, &mut out)?,
        Command::Renew { days } => {
            let old = Authority::required(settings).map_err(CliError::failed)?;
            let renewed = old.renew(settings, *days).map_err(CliError::failed)?;
            show(&mut out, renewed.certificate(), settings, false)?;
            writeln!(out, "It is handed out from now on.")?;
        }
        Command::Export { out: file } => {
            let pem = certificate(settings)?.to_pem();
            match file {
                None => out.write_all(&pem)?,
                Some(file) => write_public(file, &pem)?,
            }
        }
        Command::Show { json } => show(&mut out, &certificate(settings)?, settings, *json)?,
    }
    Ok(())
}

fn certificate(settings: &Ca) -> Result<Certificate, CliError> {
    let missing = || CliError::nothing(CaError::Missing(settings.directory.clone()));
    ca::certificate(settings).map_err(CliError::failed)?.ok_or_else(missing)
}

fn issue(wanted: &Issue, settings: &Ca, out: &mut impl Write) -> Result<(), CliError> {
    let authority = Authority::required(settings).map_err(CliError::failed)?;
    let mut names = vec![wanted.host.clone()];
    names.extend(wanted.dns.iter().cloned());
    names.extend(wanted.ip.iter().map(|ip| HostName::Ip(*ip)));
    let key = match (&wanted.csr, &wanted.key_out) {
        (Some(request), _) => requested_key(request, wanted.node.as_ref())?,
        (None, Some(file)) => new_key(file, wanted.key)?,
        (None, None) => return Err(CliError::failed("give --csr FILE or --key-out FILE")),
    };
    let days = |days| Duration::from_secs(86_400).saturating_mul(days);
    let subject = Subject {
        key: &key,
        node_id: wanted.node.as_ref(),
        names: &names,
        lifetime: wanted.days.map_or(settings.node_certificate_lifetime, days),
    };
    let issued = authority.issue(&subject).map_err(CliError::failed)?;
    write_public(&wanted.out, &[issued.to_pem(), authority.certificate().to_pem()].concat())?;
    let until = date(issued.not_after());
    Ok(writeln!(out, "{}: certificate for {}, valid until {until}", wanted.out.display(), wanted.host)?)
}

/// The key of a request, whose owner has proved to have it.
fn requested_key(path: &Path, node: Option<&NodeId>) -> Result<PKey<Public>, CliError> {
    let unusable = |why: &dyn std::fmt::Display| CliError::failed(format!("{}: {why}", path.display()));
    let mut pem = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAX_REQUEST).read_to_end(&mut pem))
        .map_err(|error| unusable(&error))?;
    let request = X509Req::from_pem(&pem)
        .map_err(|_| unusable(&"not a certificate request; make one with `openssl req -new -key KEY`"))?;
    let key = request.public_key().map_err(|error| unusable(&error))?;
    if !request.verify(&key).unwrap_or(false) {
        return Err(unusable(&"the request is not signed by its own key"));
    }
    // A request that names a node is for that node and no other.
    let named: Vec<_> = request.subject_name().entries_by_nid(Nid::USERID).collect();
    let is_theirs = |id: &NodeId| named.iter().all(|uid| uid.data().as_slice() == id.as_str().as_bytes());
    match node {
        Some(node) if !is_theirs(node) => Err(unusable(&format!("it is for another node than {node}"))),
        None if !named.is_empty() => {
            Err(unusable(&"it is for a node; give its id with --node, or leave the UID out of the request"))
        }
        _ => Ok(key),
    }
}

fn new_key(path: &Path, kind: KeyArg) -> Result<PKey<Public>, CliError> {
    let key = private_key::generate(kind.into()).map_err(CliError::failed)?;
    let pem = private_key::to_pem(&key).map_err(CliError::failed)?;
    durable::create(path, &pem, Access::own(PRIVATE)).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => CliError::failed(format!(
            "{} is there already and is not overwritten; to keep that key give a request for it with --csr",
            path.display()
        )),
        _ => CliError::failed(format!("cannot write {}: {error}", path.display())),
    })?;
    key.public_key_to_der().and_then(|der| PKey::public_key_from_der(&der)).map_err(CliError::failed)
}

fn write_public(path: &Path, pem: &[u8]) -> Result<(), CliError> {
    durable::replace(path, pem, Access::own(PUBLIC))
        .map_err(|error| CliError::failed(format!("cannot write {}: {error}", path.display())))
}

fn show(out: &mut impl Write, certificate: &Certificate, settings: &Ca, json: bool) -> Result<(), CliError> {
    let x509 = certificate.to_x509().map_err(CliError::failed)?;
    let name = x509.subject_name().entries_by_nid(Nid::COMMONNAME).next();
    let name =
        name.map(|name| printable(&String::from_utf8_lossy(name.data().as_slice()))).unwrap_or_default();
    let (begins, ends) = (date(certificate.not_before()), date(certificate.not_after()));
    let (pin, fingerprint) = (certificate.key_hash().to_string(), hex::encode(certificate.fingerprint()));
    let directory = settings.directory.display();
    let written = match json {
        true => writeln!(
            out,
            "{}",
            json!({
                "name": name,
                "directory": settings.directory,
                "key_hash": pin,
                "fingerprint": fingerprint,
                "not_before": begins,
                "not_after": ends,
            })
        ),
        false => writeln!(
            out,
            "name         {name}\ndirectory    {directory}\nkey hash     {pin}\nfingerprint  {fingerprint}\n\
             valid        {begins} to {ends}"
        ),
    };
    Ok(written?)
}

fn default_name() -> String {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    format!("relayd CA {host}").chars().take(MAX_COMMON_NAME).collect()
}

fn common_name(text: &str) -> Result<String, String> {
    match text.chars().count() {
        1..=MAX_COMMON_NAME if !text.chars().any(char::is_control) => Ok(text.to_owned()),
        _ => Err(format!("write 1 to {MAX_COMMON_NAME} characters")),
    }
}
