//! Answers at once, without a task: a plain query whose answer is in the `store` is answered from there. What `handler`
//! promises holds here, too: strangers, the rate limit and the counts; where the query log is on, nothing is answered from
//! here. Called by `udp` and `tcp`, which give `handler` what is not answered here.

use std::net::IpAddr;
use std::sync::Arc;

use arc_swap::Guard;
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;

use super::handler::{Handler, Transport, View};
use super::message::{Asked, ClientEdns, Draft, Lasting};
use super::options::{self, Said};
use super::shape;
use super::store::{Moment, Told};
use super::truth::Truth;
use super::wire::{Finished, Plain};
use crate::net::ClientAddr;
use crate::telemetry::queries_wanted;

/// Answers one batch of queries: all by the same view, at the same time. What it counted is told to the metrics when it is
/// dropped.
#[derive(Debug)]
pub(super) struct Fast<'h, T: Truth> {
    handler: &'h Handler<T>,
    transport: Transport,
    view: Guard<Arc<View<T>>>,
    moment: Moment,
    /// The last client and its view of the policy; who sends many queries sends them together.
    last: Option<(IpAddr, Option<u64>)>,
    tally: Tally,
}

/// What happened in a batch.
#[derive(Debug, Default)]
struct Tally {
    /// By type, in the order of [`TYPES`].
    queries: [u64; TYPES.len()],
    answers: u64,
    denied: u64,
    withheld: u64,
    steered: u64,
    rebound: u64,
    cached: u64,
}

/// The types that are counted by name; the last stands for the others, too.
const TYPES: [RecordType; 5] = [
    RecordType::A,
    RecordType::AAAA,
    RecordType::HTTPS,
    RecordType::SVCB,
    RecordType::ZERO,
];

impl<'h, T: Truth> Fast<'h, T> {
    /// For queries that came this way just now; `None` where each must take the long way.
    pub(super) fn new(handler: &'h Handler<T>, transport: Transport) -> Option<Self> {
        if queries_wanted() {
            return None;
        }
        let view = handler.current();
        let moment = view.moment();
        Some(Self {
            handler,
            transport,
            view,
            moment,
            last: None,
            tally: Tally::default(),
        })
    }

    /// Appends the answer to a query, if it is at hand.
    pub(super) fn answer(
        &mut self,
        packet: &[u8],
        client: ClientAddr,
        out: &mut Vec<u8>,
    ) -> Option<()> {
        let query = Plain::read(packet)?;
        let client = client.ip();
        let policy = match self.last {
            Some((last, policy)) if last == client => policy,
            _ => {
                let policy = self.view.policy_of(client);
                self.last = Some((client, policy));
                policy
            }
        }?;
        let limit = shape::limit(self.transport, query.edns());
        let begin = out.len();
        let told = self
            .view
            .store
            .tell(&query.key(policy), &query, self.moment, limit, out)?;
        if !self.handler.grants(&self.view, client) {
            out.truncate(begin);
            return None;
        }
        self.tally.count(query.record_type(), told);
        Some(())
    }
}

impl<T: Truth> Drop for Fast<'_, T> {
    fn drop(&mut self) {
        let Tally {
            queries,
            answers,
            denied,
            withheld,
            steered,
            rebound,
            cached,
        } = self.tally;
        for (record_type, count) in TYPES.into_iter().zip(queries) {
            self.handler
                .count_queries(record_type, self.transport, count);
        }
        self.handler.count_answers(ResponseCode::NoError, answers);
        self.handler.count_answers(ResponseCode::NXDomain, denied);
        let metrics = self.handler.metrics();
        for (counter, count) in [
            (&metrics.dns_withheld, withheld),
            (&metrics.dns_steered, steered),
            (&metrics.dns_rebound, rebound),
            (&metrics.cache_hits, cached),
        ] {
            if count > 0 {
                counter.inc_by(count);
            }
        }
    }
}

impl Tally {
    fn count(&mut self, record_type: u16, told: Told) {
        let record_type = RecordType::from(record_type);
        let known = TYPES.iter().position(|held| *held == record_type);
        if let Some(count) = self.queries.get_mut(known.unwrap_or(TYPES.len() - 1)) {
            *count += 1;
        }
        let Told {
            denied,
            withheld,
            steered,
            rebound,
            cached,
        } = told;
        self.answers += u64::from(!denied);
        self.denied += u64::from(denied);
        self.withheld += u64::from(withheld);
        self.steered += u64::from(steered);
        self.rebound += u64::from(rebound);
        self.cached += u64::from(cached);
    }
}

impl<T: Truth> View<T> {
    /// Now, and what was changed so far.
    pub(super) fn moment(&self) -> Moment {
        Moment {
            now: super::handler::now(),
            changes: self.local.changes().wrapping_add(self.resolver.flushes()),
        }
    }

    /// What a client is told by; `None` for strangers, and where that is too much to remember.
    fn policy_of(&self, client: IpAddr) -> Option<u64> {
        self.networks
            .contains(client)
            .then(|| self.steering.view_of(client))
            .flatten()
    }

    /// Keeps what was made of a question at this moment for those who ask it again.
    pub(super) fn keep(&self, client: IpAddr, asked: &Asked, draft: &Draft, moment: Moment) {
        let worth_it = matches!(draft.rcode, ResponseCode::NoError | ResponseCode::NXDomain)
            && draft.lasting != Lasting::Not
            && asked.metadata.recursion_desired;
        if !worth_it {
            return;
        }
        let Some(policy) = self.policy_of(client) else {
            return;
        };
        let told = Told {
            denied: draft.rcode == ResponseCode::NXDomain,
            withheld: draft.withheld,
            steered: draft.steered,
            rebound: draft.rebound,
            cached: matches!(draft.lasting, Lasting::For(_)),
        };
        let of_nobody = of_nobody(asked);
        let mut reply = shape::shape(&of_nobody, draft.clone());
        let mut message = options::encode(&mut reply, Said::default(), u16::MAX);
        let capped = match draft.lasting {
            Lasting::Always => usize::MAX,
            _ => usize::from(draft.capped),
        };
        let Some(parts) = Finished::prepare(&mut message, capped) else {
            return;
        };
        if reply.metadata.response_code != draft.rcode {
            return;
        }
        if let Some(question) = Finished::new(&message, parts).question() {
            let key = Plain::of(question, &of_nobody).key(policy);
            self.store
                .keep(&key, &message, parts, told, moment, draft.lasting);
        }
    }
}

/// A question that leaves nothing out of its answer that depends on the client, and nothing of the client in it.
fn of_nobody(asked: &Asked) -> Asked {
    let mut of_nobody = asked.clone();
    of_nobody.metadata.id = 0;
    of_nobody.metadata.authentic_data = true;
    of_nobody.query.name = asked.query.name.to_lowercase();
    of_nobody.edns = Some(ClientEdns {
        payload: u16::MAX,
        dnssec_ok: asked.dnssec_ok(),
    });
    of_nobody
}
