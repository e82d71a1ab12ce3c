// SPDX-License-Identifier: Apache-2.0
//! Version 1, as existing servers have it (protocol 7.6): a form in, interleaved output out.
//!
//! | asynchronous | keep_output | answer |
//! |---|---|---|
//! | true | true | output as it comes |
//! | true | false | empty, at once; the runs go on |
//! | false | true | output of each target when it ends |
//! | false | false | ends with the runs; only what sub-relays say all the same |

use std::{io, sync::Arc, time::Duration};

use bytes::BytesMut;
use futures_util::{StreamExt, stream};
use hyper::{HeaderMap, Response, header::CONTENT_TYPE};
use protocol::{
    node_id::NodeId,
    node_list::NoRoute,
    remote_run::{Event, FormError, NodeProgress, RunForm, RunRequestId},
};
use tokio::{sync::mpsc, task::JoinSet};
use tracing::{error, info, warn};

use super::{
    Asking, RemoteRun,
    behind::{ALL_OF_VERSION_1, FORM, NODES_OF_VERSION_1},
    external::{External, Running, Told},
    host::HostName,
    local::Task,
    output::{Gone, Sink, When},
    plan::{self, Plan},
    relays::{Post, RelayError},
    streamed,
};
use crate::http::{self, Body, Problem};

/// A relay that says nothing for so long is given up: its front gives up after 300 s.
const SILENCE: Duration = Duration::from_secs(310);
/// A line of a relay that is longer is passed on in pieces, in bytes.
const LONGEST_LINE: usize = 64 * 1024;
/// Lines of standard error that are logged of one invocation.
const MOST_ERRORS: usize = 10;

/// Largest body.
pub const MAX_BODY: usize = 1024 * 1024;

/// Who is asked, by the path.
#[derive(Debug, PartialEq, Eq)]
pub enum Whom {
    /// `all`.
    All,
    /// `nodes`: those that the form names.
    Named,
    /// `nodes/<id>`; `None` when that is no id.
    One(Option<NodeId>),
}

impl Whom {
    /// Reads what follows `remote-run/`, decoded.
    pub fn parse(rest: &str) -> Option<Self> {
        match rest {
            "all" => Some(Self::All),
            "nodes" => Some(Self::Named),
            other => match other.strip_prefix("nodes/")? {
                id if id.is_empty() || id.contains('/') => None,
                id => Some(Self::One(id.parse().ok())),
            },
        }
    }
}

/// Where a request goes.
struct Ways {
    local: Vec<NodeId>,
    /// By relay; `None` stands for `all`.
    relays: Vec<(NodeId, Option<Vec<NodeId>>)>,
}

/// A request under way.
struct Run {
    service: Arc<RemoteRun>,
    form: RunForm,
    task: Task,
    sink: Sink,
    hops: usize,
}

/// Answers a request.
pub async fn answer(
    service: Arc<RemoteRun>,
    asking: Asking,
    whom: Whom,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<Response<Body>, Problem> {
    let form = read(headers, body)?;
    let ways = ways(&service, whom, &form)?;
    let under_way = service.under_way()?;
    let id = RunRequestId::new();
    info!(
        run = %id, client = %asking.client, nodes = ways.local.len(), relays = ways.relays.len(),
        conditions = %asking.shown(&form.conditions), version = 1, "remote run asked for"
    );
    let (frames, output) = mpsc::channel(16);
    let (sink, response) = match (form.asynchronous, form.keep_output) {
        (true, true) => (Sink::new(Some(frames.clone()), When::AsItComes), streamed(output)),
        (true, false) => (Sink::new(None, When::Never), http::empty()),
        (false, true) => (Sink::new(Some(frames.clone()), When::AtTheEnd), streamed(output)),
        (false, false) => (Sink::new(Some(frames.clone()), When::Never), streamed(output)),
    };
    let is_detached = form.asynchronous && !form.keep_output;
    let task = Task::new(form.conditions.clone(), form.keep_output, service.settings.expiry);
    let run = Arc::new(Run { service, form, task, sink, hops: asking.hops + 1 });
    tokio::spawn(async move {
        let _under_way = under_way;
        let sources = run.start(ways);
        // Dropped, what was started ends as well.
        let ended = tokio::select! {
            _ = sources.join_all() => true,
            () = frames.closed(), if !is_detached => false,
            () = asking.stop.cancelled() => {
                run.sink.fail(io::Error::other("the server is stopping")).await;
                false
            }
        };
        info!(run = %id, cancelled = !ended, "remote run ended");
    });
    Ok(Response::new(response))
}

fn read(headers: &HeaderMap, body: &[u8]) -> Result<RunForm, Problem> {
    if let Some(kind) = headers.get(CONTENT_TYPE) {
        let kind = kind.to_str().unwrap_or_default().split(';').next().unwrap_or_default();
        if !kind.trim().eq_ignore_ascii_case("application/x-www-form-urlencoded") {
            warn!(kind = %kind.escape_debug(), "remote run: the body is no form by its Content-Type");
            return Err(Problem::Internal);
        }
    }
    RunForm::parse(body).map_err(|error| match error {
        FormError::Malformed(_) => {
            warn!(%error, "remote run");
            Problem::Internal
        }
        FormError::NotBoolean(_) | FormError::Condition(_) => Problem::BadRequest(error.to_string()),
    })
}

fn ways(service: &RemoteRun, whom: Whom, form: &RunForm) -> Result<Ways, Problem> {
    let table = service.nodes.borrow().clone();
    let (list, here) = (table.list(), &service.own_id);
    let (nodes, bad_ids) = match whom {
        Whom::All => {
            let (local, relays) = plan::all_in_version_1(list, here);
            return Ok(Ways { local, relays: relays.into_iter().map(|relay| (relay, None)).collect() });
        }
        Whom::Named => match &form.nodes {
            Some(nodes) => (nodes.clone(), form.bad_ids),
            None => return Err(Problem::BadRequest("Missing nodes".to_owned())),
        },
        Whom::One(Some(node)) => (vec![node], 0),
        Whom::One(None) => (Vec::new(), 1),
    };
    let plan = Plan::to(list, here, nodes);
    note_astray(&plan.astray, bad_ids);
    let relays = plan.behind.into_iter().map(|(relay, nodes)| (relay, Some(nodes))).collect();
    Ok(Ways { local: plan.local, relays })
}

/// One line for all ids that are skipped.
fn note_astray(astray: &[NoRoute], bad_ids: usize) {
    let skipped = astray.len() + bad_ids;
    if skipped > 0 {
        let first =
            astray.first().map_or_else(|| "a text that is no node id".to_owned(), ToString::to_string);
        warn!(skipped, %first, "remote run: ids are skipped");
    }
    if let Some(why) = astray.iter().find(|why| matches!(why, NoRoute::Astray(_))) {
        error!(error = %why, "remote run: the node list makes no sense");
    }
}

impl Run {
    fn start(self: &Arc<Self>, ways: Ways) -> JoinSet<()> {
        let mut sources = JoinSet::new();
        let local = self.service.local.clone();
        let (asked, by_command): (Vec<_>, Vec<_>) = match local.external() {
            None => (ways.local, Vec::new()),
            Some(_) => ways.local.into_iter().partition(|node| local.is_connected(node)),
        };
        let run = self.clone();
        sources.spawn(async move {
            stream::iter(asked).for_each_concurrent(None, |node| run.ask(node)).await;
        });
        let run = self.clone();
        sources.spawn(async move { run.by_command(by_command).await });
        for (relay, nodes) in ways.relays {
            let run = self.clone();
            sources.spawn(async move {
                if let Err(error) = run.forward(&relay, nodes).await {
                    error!(%relay, %error, "remote run: a relay could not be asked");
                }
            });
        }
        sources
    }

    /// A node over the connection of its agent, or at its next contact.
    async fn ask(&self, node: NodeId) {
        let Ok(_turn) = self.service.local.agent_turn(&node, &self.task).await else { return };
        let mut events = self.service.local.ask(&node, &self.task);
        let mut progress = NodeProgress::new(self.service.settings.max_output);
        let mut output = self.sink.target();
        while let Some(event) = events.recv().await {
            let Some(event) = progress.take(event) else { continue };
            if let Event::Output { line, truncated } = &event {
                let told = output.line(line.as_bytes()).await;
                let mark: &[u8] = b"[output truncated]";
                if told.is_err() || (*truncated && output.line(mark).await.is_err()) {
                    return;
                }
            }
            if event.is_final() {
                break;
            }
        }
        let _ = output.end().await;
    }

    /// One invocation for all, or a few when their names do not fit into one.
    async fn by_command(&self, nodes: Vec<NodeId>) {
        let Some(external) = self.service.local.external() else { return };
        let mut hosts = Vec::with_capacity(nodes.len());
        for (node, host) in self.service.with_hosts(nodes) {
            match HostName::parse(&host) {
                Some(host) => hosts.push(host),
                None => {
                    error!(node_id = %node, "remote run: its host name in the node list is none; skipped")
                }
            }
        }
        for part in External::parts(hosts) {
            let Some(_turn) = self.service.local.turn(&self.task).await else { return };
            match external.start(&part, &self.task.conditions) {
                Err(error) => {
                    error!(command = %external.program.display(), use_sudo = external.use_sudo, %error, "remote run: cannot run the command");
                    return self.sink.fail(error).await;
                }
                Ok(running) => {
                    if self.follow(running).await.is_err() {
                        return;
                    }
                }
            }
        }
    }

    async fn follow(&self, mut running: Running) -> Result<(), Gone> {
        let mut output = self.sink.target();
        let mut errors = 0;
        while let Some(told) = running.next().await {
            match told {
                Told::Output(line) => output.line(&line).await?,
                // Only standard output is the output.
                Told::Error(line) if errors < MOST_ERRORS => {
                    errors += 1;
                    warn!(line = %String::from_utf8_lossy(&line).escape_debug(), "remote run: the command complains");
                }
                Told::Error(_) => {}
                Told::Exit(0) => {}
                Told::Exit(status) => warn!(status, "remote run: the command failed"),
            }
        }
        output.end().await
    }

    async fn forward(&self, relay: &NodeId, nodes: Option<Vec<NodeId>>) -> Result<(), RelayError> {
        let path = if nodes.is_some() { NODES_OF_VERSION_1 } else { ALL_OF_VERSION_1 };
        let form = RunForm { nodes, bad_ids: 0, ..self.form.clone() };
        let body = form.to_body().into();
        let post = Post { path, content_type: FORM, body, hops: self.hops, answer: SILENCE };
        let mut answer = self.service.relays.post(relay, post).await?;
        if !answer.status.is_success() {
            error!(%relay, status = answer.status.as_u16(), "remote run: a relay refuses");
            return Ok(());
        }
        // What is not a whole line waits for its end: lines of others go in between.
        let mut begun = BytesMut::new();
        while let Some(piece) = answer.next(SILENCE).await? {
            begun.extend_from_slice(&piece);
            let whole = memchr::memrchr(b'\n', &begun).map_or(0, |end| end + 1);
            let take = if begun.len() - whole > LONGEST_LINE { begun.len() } else { whole };
            if take > 0 && self.sink.pass(begun.split_to(take).freeze()).await.is_err() {
                return Ok(());
            }
        }
        if !begun.is_empty() {
            let _ = self.sink.pass(begun.freeze()).await;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whom_paths_name() {
        assert_eq!(Whom::parse("all"), Some(Whom::All));
        assert_eq!(Whom::parse("nodes"), Some(Whom::Named));
        assert_eq!(Whom::parse("nodes/root"), Some(Whom::One(Some(NodeId::root()))));
        assert_eq!(Whom::parse("nodes/../x y"), None);
        assert_eq!(Whom::parse("nodes/x y"), Some(Whom::One(None)), "skipped, as unknown ids are");
        for other in ["", "nodes/", "all/x", "node", "nodes/a/b"] {
            assert_eq!(Whom::parse(other), None, "{other}");
        }
    }
}
