// SPDX-License-Identifier: Apache-2.0
//! `agent enroll`.

use std::{fs, io::Read, path::Path, path::PathBuf, process::ExitCode, time::Duration};

use protocol::enrolment::{Answer, State as Standing};
use serde_json::json;
use tracing::{error, info, warn};
use zeroize::Zeroizing;

use super::{
    CliError,
    init::{self, Key},
    print, runtime, stop_on_signals,
};
use crate::{
    enrol::{self, Ended, EnrolError, TOKEN_VARIABLE, words},
    identity::InitOptions,
    server::{
        succession,
        trust::{self, TrustError},
        whoami,
    },
    settings::{Secret, Settings},
    state::State,
    upkeep,
};

/// How long it may take from the root's decision until the policy server knows it.
const UNTIL_KNOWN: Duration = Duration::from_secs(20);

/// Longest token file.
const MAX_TOKEN_FILE: u64 = 4096;

/// Ask to be taken in: make this node's id and key where missing, send a certificate request to the
/// policy server, and go on asking until it is decided.
///
/// The operator sees this node's id and the fingerprint of its key, compares it, and accepts. With a
/// one-time token it is accepted at once. The first key that claims an id keeps it. The server's key is pinned: the one given by --pin,
/// or the one met first. Asking again is harmless: stop at any time, and run it again.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Exit status: 0 accepted, 4 not decided when told to wait no longer, 5 rejected, revoked, refused or in
conflict, 1 no answer or another failure, 2 bad configuration or usage.

A token on the command line can be seen by other users of this machine: prefer --token-file, or the
variable AGENT_ENROLMENT_TOKEN.

Examples:
  agent enroll --server relay.example.org --pin sha256//I8utFWGj+OpqpbiAIZ/s8qRC4fQXxQ8IRVjFe0X1Lug=
  agent enroll --server relay.example.org --token-file /run/secrets/token --wait 10m
  agent enroll --no-wait                      ask once more, with what is configured
  agent enroll --server root.example.org --as-relay")]
pub(super) struct Args {
    /// Policy server, as HOST or HOST:PORT; written to agent.conf.
    #[arg(long, value_name = "HOST[:PORT]")]
    server: Option<String>,
    /// Pin of the policy server's key, several separated by `;`. Replaces what was pinned.
    #[arg(long, value_name = "sha256//…")]
    pin: Option<String>,
    /// One-time token. Better: --token-file.
    #[arg(long, value_name = "TOKEN", conflicts_with = "token_file", value_parser = secret)]
    token: Option<Secret>,
    /// File with the one-time token; `-` for standard input.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Ask to be a relay; an operator must accept that, token or not.
    #[arg(long)]
    as_relay: bool,
    /// Name of this machine, to which tokens are bound.
    #[arg(long, value_name = "NAME")]
    hostname: Option<String>,
    /// Id of this node; a random UUID when it has none.
    #[arg(long, value_name = "ID")]
    node_id: Option<protocol::node_id::NodeId>,
    /// Kind of key to make when there is none.
    #[arg(long, value_enum, default_value_t = Key::Rsa4096)]
    key: Key,
    /// How long to wait for the decision, such as 10m; by default for ever.
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration, conflicts_with = "no_wait")]
    wait: Option<Duration>,
    /// Ask once only.
    #[arg(long)]
    no_wait: bool,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(root: &Path, mut args: Args) -> Result<ExitCode, CliError> {
    let token = token(&mut args)?;
    let server = args.server.as_deref().map(init::server).transpose()?;
    let pins = args.pin.as_deref().map(init::pins).transpose()?;
    let (settings, _) = Settings::load(root)?;
    let options = InitOptions { key: args.key.into(), node_id: args.node_id };
    let identity = init::complete(&settings, &options)?.identity;
    if let Some((host, port)) = server {
        init::write_server(&settings, &host, port)?;
    }
    if let Some(pins) = pins {
        succession::pin(&settings, &pins)?;
    }
    let (settings, _) = Settings::load(root)?;
    let state = State::open(&settings.paths.state)?;
    let _lock = state.lock_enrolment().map_err(super::locked)?;

    print_unless(args.json, &format!("id           {}\n", identity.node_id))?;
    print_unless(args.json, &format!("fingerprint  {}\n", identity.certificate.key_hash()))?;
    let options = enrol::Options {
        hostname: args.hostname.unwrap_or_else(enrol::hostname),
        as_relay: args.as_relay,
        token,
        wait: if args.no_wait { Some(Duration::ZERO) } else { args.wait },
    };
    let (ended, problems) = runtime()?.block_on(async {
        let stop = stop_on_signals()?;
        let say = |text: &str| info!("{text}");
        let ended = enrol::enrol(&settings, &identity, &options, say, &stop).await?;
        let mut problems = vec![];
        if let Ended::Decided(Answer { state: Standing::Accepted, .. }) = &ended {
            // So that what comes next can send at once.
            if !trust::has_https_pair(&settings)
                && let Err(problem) = whoami::wait_until_known(&settings, &identity, UNTIL_KNOWN).await
            {
                problems.push(format!("the policy server is not ready for this node: {problem}"));
            }
            // Whatever the answer says of an authority: it may be a moment older than that.
            problems.extend(upkeep::certificates(&settings, &state, &identity, false).await?);
        }
        Ok::<_, CliError>((ended, problems))
    })?;
    for problem in problems {
        warn!("{problem}");
    }
    upkeep::wake(&state)?;
    let (answer, code) = match &ended {
        Ended::Decided(answer) if answer.state == Standing::Accepted => (answer, 0),
        Ended::Decided(answer) => (answer, 5),
        Ended::Undecided(answer) => (answer, 4),
    };
    if args.json {
        let value = json!({
            "node_id": answer.node_id,
            "fingerprint": answer.key_hash.to_string(),
            "state": answer.state.as_str(),
            "detail": answer.detail,
            "server": settings.server.as_ref().map(ToString::to_string),
        });
        print(&format!("{value:#}\n"))?;
    } else {
        print(&format!("state        {}\n", answer.state.as_str()))?;
        if code == 5 {
            error!("{}", words::decided(answer));
        } else if code == 0 && !answer.detail.is_empty() {
            info!("{}", answer.detail);
        }
        if let (true, 0, Some(server)) = (args.as_relay, code, &settings.server) {
            let pins = if settings.cert_validation { vec![] } else { trust::pins(&settings)?.pins };
            print(&format!("\n{}", words::relay_conf(server, &pins)))?;
        }
    }
    Ok(ExitCode::from(code))
}

fn print_unless(not: bool, text: &str) -> Result<(), CliError> {
    if not { Ok(()) } else { print(text) }
}

fn secret(text: &str) -> Result<Secret, std::convert::Infallible> {
    Ok(Secret::new(text.to_owned()))
}

/// The token, from where it is shown to nobody, if possible.
fn token(args: &mut Args) -> Result<Option<Zeroizing<String>>, CliError> {
    if let Some(Secret(token)) = args.token.take() {
        return Ok(Some(token));
    }
    let Some(file) = &args.token_file else {
        let variable = std::env::var(TOKEN_VARIABLE).ok().filter(|token| !token.is_empty());
        return Ok(variable.map(Zeroizing::new));
    };
    let mut text = Zeroizing::new(String::new());
    let read = match file.as_os_str() == "-" {
        true => std::io::stdin().take(MAX_TOKEN_FILE).read_to_string(&mut text),
        false => fs::File::open(file).and_then(|open| open.take(MAX_TOKEN_FILE).read_to_string(&mut text)),
    };
    // Why only: the system's text never holds what was read.
    read.map_err(|e| CliError::Configuration(format!("--token-file {}: {}", file.display(), e.kind())))?;
    match text.trim() {
        "" => Err(CliError::Configuration(format!("--token-file {}: it is empty", file.display()))),
        token => Ok(Some(Zeroizing::new(token.to_owned()))),
    }
}

impl From<TrustError> for CliError {
    fn from(e: TrustError) -> Self {
        Self::Configuration(e.to_string())
    }
}

impl From<EnrolError> for CliError {
    fn from(e: EnrolError) -> Self {
        match &e {
            EnrolError::Target(target) if target.is_configuration() => Self::Configuration(e.to_string()),
            EnrolError::Request(_) => Self::Configuration(e.to_string()),
            _ => Self::Failure(e.to_string()),
        }
    }
}
