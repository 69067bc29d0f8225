//! One server asked once, and what this says about its health. An attempt outlives the question if another server was
//! faster: only a server that keeps its time to the end can be told to be dead, not slow. Spawned by `group`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::sleep;
use tracing::{debug, info, warn};

use super::super::upstream::{AskError, Overload};
use super::super::{Answer, Question, now};
use super::servers::{Given, Servers};
use crate::telemetry::UpstreamLabels;

/// Asks the server at `index`; `given` is what has come of it already, where it has been asked.
pub(super) async fn attempt(
    servers: Arc<Servers>,
    index: usize,
    question: Question,
    given: Option<Given>,
) -> (usize, Result<Answer, AskError>) {
    let outcome = ask(&servers, index, &question, given).await;
    let label = match &outcome {
        Ok(_) => "answered",
        Err(AskError::Failed { rcode, .. }) => match u16::from(*rcode) {
            2 => "servfail",
            5 => "refused",
            _ => "error",
        },
        Err(AskError::Timeout) => "timeout",
        Err(AskError::Network(_) | AskError::Malformed(_)) => "error",
        Err(AskError::Overload(_)) => "overload",
    };
    servers
        .metrics
        .upstream_queries
        .get_or_create(&UpstreamLabels { outcome: label })
        .inc();
    (index, outcome)
}

async fn ask(
    servers: &Arc<Servers>,
    index: usize,
    question: &Question,
    given: Option<Given>,
) -> Result<Answer, AskError> {
    // Counted with those that nobody waits for any more: else a silent server could gather any number of them.
    let Some(member) = servers.members.get(index) else {
        return Err(Overload::Queries.into());
    };
    let room = member.room.try_acquire().ok();
    let _room = room.ok_or(Overload::Queries)?;
    let asked = match &given {
        Some(given) => given.asked,
        None => {
            let asked = now();
            servers.health().begun(index, asked);
            asked
        }
    };
    let mut answer = std::pin::pin!(member.client.ask(question, given));
    let outcome = tokio::select! {
        biased;
        outcome = &mut answer => outcome,
        () = sleep(servers.config.timeout / 2) => {
            let doubt = servers.health().doubt(index, asked, now());
            if doubt {
                servers.call_prober();
            }
            answer.await
        }
    };
    if let Err(error) = &outcome {
        let server = member.client.address();
        debug!(%server, name = %question.name, kind = %question.record_type, %error, "upstream failed");
    }
    judge(servers, index, asked, &outcome);
    outcome
}

fn judge(servers: &Arc<Servers>, index: usize, asked: Instant, outcome: &Result<Answer, AskError>) {
    let ended = now();
    match outcome {
        Err(AskError::Overload(_)) => {}
        Ok(_) => answered(servers, index, asked, ended),
        Err(AskError::Failed { .. } | AskError::Malformed(_)) => {
            let is_back = servers.health().failed(index, ended);
            if is_back {
                up(servers, index);
            }
        }
        Err(error @ (AskError::Timeout | AskError::Network(_))) => {
            let is_gone = servers.health().lost(index, asked, ended);
            if is_gone {
                down(servers, index, error);
            }
        }
    }
}

/// A server has given a good answer.
pub(super) fn answered(servers: &Servers, index: usize, asked: Instant, ended: Instant) {
    let taken: Duration = ended.saturating_duration_since(asked);
    servers
        .metrics
        .upstream_seconds
        .observe(taken.as_secs_f64());
    let is_back = servers.health().answered(index, asked, ended);
    if is_back {
        up(servers, index);
    }
}

/// A server that was down answers.
pub(super) fn up(servers: &Servers, index: usize) {
    servers.metrics.upstreams_down.dec();
    if let Some(member) = servers.members.get(index) {
        info!(server = %member.client.address(), "upstream up");
    }
}

/// A server that was up is silent or out of reach.
pub(super) fn down(servers: &Arc<Servers>, index: usize, error: &AskError) {
    servers.metrics.upstreams_down.inc();
    if let Some(member) = servers.members.get(index) {
        warn!(server = %member.client.address(), %error, "upstream down");
    }
    servers.call_prober();
}
