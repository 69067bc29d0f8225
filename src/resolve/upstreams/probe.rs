//! Asks servers that are down, or slow, something they know, so that no client has to wait to find out. One task for a
//! group, begun when it is first needed, ended with its group; when is up to [`Health`](super::health::Health).

use std::sync::Arc;

use hickory_proto::rr::{Name, RecordType};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tracing::debug;

use super::super::upstream::AskError;
use super::super::{Question, now};
use super::attempt::{down, up};
use super::servers::Servers;

/// Probes until it is dropped.
pub(super) async fn run(servers: Arc<Servers>) {
    let mut probes = JoinSet::new();
    loop {
        let due = servers.health().due(now());
        for index in due {
            probes.spawn(probe(Arc::clone(&servers), index));
        }
        let next = servers.health().next_probe().map(Instant::from_std);
        let tick = async {
            match next {
                Some(next) => sleep_until(next).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = servers.news.notified() => {}
            Some(_) = probes.join_next() => {}
            () = tick => {}
        }
    }
}

/// Something that a server of the group answers from memory.
fn question(domain: Option<&Name>) -> Question {
    let (name, record_type) = match domain {
        Some(domain) => (domain.clone(), RecordType::SOA),
        None => (Name::root(), RecordType::NS),
    };
    Question {
        name,
        record_type,
        dnssec_ok: false,
        checking_disabled: false,
    }
}

async fn probe(servers: Arc<Servers>, index: usize) {
    let Some(member) = servers.members.get(index) else {
        return;
    };
    let outcome = member
        .client
        .ask(&question(servers.domain.as_ref()), None)
        .await
        .map(drop);
    servers.metrics.upstream_probes.inc();
    debug!(server = %member.client.address(), ?outcome, "upstream probed");
    // The bound of ours that `Overload` is says nothing about the server, but many queries to it that hang do.
    let heard = matches!(
        outcome,
        Ok(()) | Err(AskError::Failed { .. } | AskError::Malformed(_))
    );
    let changed = servers.health().probed(index, heard, now());
    match outcome {
        _ if !changed => {}
        Err(error) if !heard => down(&servers, index, &error),
        Ok(()) | Err(_) => up(&servers, index),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_general_servers_are_asked_for_the_root_and_others_for_their_domain() {
        let general = question(None);
        assert_eq!(
            (general.name, general.record_type),
            (Name::root(), RecordType::NS)
        );
        let domain = Name::from_ascii("corp.example.").unwrap();
        let own = question(Some(&domain));
        assert_eq!((own.name, own.record_type), (domain, RecordType::SOA));
    }
}
