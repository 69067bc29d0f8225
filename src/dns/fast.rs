//! Answers at once, without a task: a plain query whose answer is kept for those that the client belongs to is answered from there. What `handler`
//! promises holds here, too: strangers, the rate limit and the counts; where the query log is on, nothing is answered from
//! here. Called by `udp` and `tcp`, which give `handler` what is not answered here.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use arc_swap::Guard;
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;

use super::handler::{Handler, Transport, View};
use super::message::{Asked, ClientEdns, Draft, Lasting};
use super::options::{self, Said};
use super::shape;
use super::truth::Truth;
use super::wire::{self, Plain};
use crate::net::ClientAddr;
use crate::resolve::cache::{Audience, Cache, Key, Made};
use crate::resolve::wire::Finished;
use crate::telemetry::queries_wanted;

/// Answers one batch of queries: all by the same view, at the same time. What it counted is told to the metrics when it is
/// dropped.
#[derive(Debug)]
pub(super) struct Fast<'h, T: Truth> {
    handler: &'h Handler<T>,
    transport: Transport,
    view: Guard<Arc<View<T>>>,
    cache: Guard<Arc<Cache>>,
    moment: Moment,
    last: Last,
    tally: Tally,
}

/// The last client and those it belonged to, under which view and after how many changes: who sends many queries sends
/// them together, or one after the other.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Last(Option<(IpAddr, u32, u64, Option<Audience>)>);

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

/// What is counted of an answer whenever it is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Told {
    /// NXDOMAIN; else NOERROR.
    pub(super) denied: bool,
    /// AAAA was taken out.
    pub(super) withheld: bool,
    /// It leads to the gate.
    pub(super) steered: bool,
    /// Addresses inside were taken out of what is outside.
    pub(super) rebound: bool,
    /// It rests on what upstreams said.
    pub(super) cached: bool,
}

impl From<Told> for u8 {
    fn from(told: Told) -> Self {
        let Told {
            denied,
            withheld,
            steered,
            rebound,
            cached,
        } = told;
        let bits = [denied, withheld, steered, rebound, cached];
        bits.into_iter()
            .enumerate()
            .fold(0, |notes, (bit, is)| notes | Self::from(is) << bit)
    }
}

impl From<u8> for Told {
    fn from(notes: u8) -> Self {
        let is = |bit: u8| notes >> bit & 1 == 1;
        Self {
            denied: is(0),
            withheld: is(1),
            steered: is(2),
            rebound: is(3),
            cached: is(4),
        }
    }
}

impl<'h, T: Truth> Fast<'h, T> {
    /// For queries that came this way just now; `None` where each must take the long way.
    pub(super) fn new(handler: &'h Handler<T>, transport: Transport, last: Last) -> Option<Self> {
        if queries_wanted() {
            return None;
        }
        let view = handler.current();
        let cache = view.resolver.kept()?;
        let moment = view.moment();
        Some(Self {
            handler,
            transport,
            view,
            cache,
            moment,
            last,
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
        let audience = self.audience(client)?;
        let limit = shape::limit(self.transport, query.edns());
        let begin = out.len();
        let cookie = self.cookie(&query, client);
        let told = |finished: Finished<'_>, age, notes: u8| {
            wire::tell(finished, &query, cookie.as_deref(), age, limit, out)?;
            Some(Told::from(notes))
        };
        let told = self
            .cache
            .tell(&query.key(), audience, self.moment.now, told)?;
        if !self.handler.grants(&self.view, client) {
            out.truncate(begin);
            return None;
        }
        self.tally.count(query.record_type(), told);
        Some(())
    }
}

impl<T: Truth> Fast<'_, T> {
    /// Those whom a client belongs to.
    pub(super) fn audience(&mut self, client: IpAddr) -> Option<Audience> {
        let (view, changes) = (self.view.audiences.number(), self.moment.changes);
        match self.last.0 {
            Some((last, under, after, audience))
                if last == client && under == view && after == changes =>
            {
                audience
            }
            _ => {
                let audience = self.view.audience_of(client, self.moment);
                self.last = Last(Some((client, view, changes, audience)));
                audience
            }
        }
    }

    /// For the next batch.
    pub(super) fn last(&self) -> Last {
        self.last
    }

    /// The data of the option that answers a query's cookie.
    pub(super) fn cookie(&self, query: &Plain<'_>, client: IpAddr) -> Option<Vec<u8>> {
        let (data, _) = self.handler.cookies().answer(&query.cookie()?, client)?;
        Some(data)
    }

    pub(super) fn view(&self) -> &View<T> {
        &self.view
    }

    pub(super) fn view_arc(&self) -> Arc<View<T>> {
        Arc::clone(&self.view)
    }

    pub(super) fn moment(&self) -> Moment {
        self.moment
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

/// When somebody asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Moment {
    /// The time.
    now: Instant,
    /// How often something was changed that answers depend on.
    changes: u64,
}

impl Moment {
    /// The same answers as far as changes are concerned, at another time.
    pub(super) fn at(self, now: Instant) -> Self {
        Self { now, ..self }
    }
}

impl<T: Truth> View<T> {
    /// Now, and what was changed so far. For an answer that is made, read before all else.
    pub(super) fn moment(&self) -> Moment {
        Moment {
            now: super::handler::now(),
            changes: self.local.changes().wrapping_add(self.resolver.flushes()),
        }
    }

    /// Whether nothing was changed since.
    pub(super) fn is_still(&self, moment: Moment) -> bool {
        self.moment().changes == moment.changes
    }

    /// With whom a client is told the same of everything; `None` for strangers, and where that is too much to remember.
    fn audience_of(&self, client: IpAddr, moment: Moment) -> Option<Audience> {
        if !self.networks.contains(client) {
            return None;
        }
        let policy = self.steering.view_of(client)?;
        self.audiences.of(policy, moment.changes)
    }

    /// Keeps what was made of a question at this moment for those who ask it again.
    pub(super) fn keep(&self, client: IpAddr, asked: &Asked, draft: &Draft, moment: Moment) {
        let life = match draft.lasting {
            Lasting::Not => return,
            Lasting::Always => None,
            Lasting::For(life) => Some(life),
        };
        let (Some(cache), Some(audience)) =
            (self.resolver.kept(), self.audience_of(client, moment))
        else {
            return;
        };
        if !matches!(draft.rcode, ResponseCode::NoError | ResponseCode::NXDomain)
            || !asked.metadata.recursion_desired
        {
            return;
        }
        let told = Told {
            denied: draft.rcode == ResponseCode::NXDomain,
            withheld: draft.withheld,
            steered: draft.steered,
            rebound: draft.rebound,
            cached: life.is_some(),
        };
        let mut reply = shape::shape(&of_nobody(asked), draft.clone());
        let mut message = options::encode(&mut reply, Said::default(), u16::MAX);
        if reply.metadata.response_code != draft.rcode {
            return;
        }
        let capped = if life.is_some() {
            usize::from(draft.capped)
        } else {
            usize::MAX
        };
        let Some(parts) = Finished::prepare(&mut message, capped) else {
            return;
        };
        let question = Finished::new(&message, parts).question();
        let key = Key::of_wire(
            question,
            asked.dnssec_ok(),
            asked.metadata.checking_disabled,
        );
        let made = Made {
            message,
            parts,
            life,
            notes: told.into(),
        };
        cache.keep(&key, audience, made, moment.now);
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
