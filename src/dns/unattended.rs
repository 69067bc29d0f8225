//! Questions that nobody waits for in a task: asked upstream by the thread that read them, answered by the one that reads
//! what upstream says (`resolve::Asker`). Only where it is certain before that the answer is told as it is, or as AAAA
//! withheld; whatever turns out otherwise goes the long way. What is told is what `pipeline` and `shape` would tell, which a
//! test and a fuzz target compare. Begun by `udp`.

use std::cell::RefCell;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::sync::Arc;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{Name, RecordType};
use hickory_proto::serialize::binary::{BinDecodable, BinDecoder};
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::fast::{Fast, Moment, Told};
use super::handler::{Transport, View};
use super::in_flight::Place;
use super::policy::{Needs, needs};
use super::truth::Truth;
use super::udp::{self, Listener};
use super::wire::{self, Plain};
use super::{pipeline, shape};
use crate::config::Aaaa;
use crate::net::{self, Family, ReturnPath};
use crate::resolve::cache::{Audience, Made};
use crate::resolve::wire::{Age, Finished, Parts};
use crate::resolve::{Asker, Begun, Binding, Life, Question, Simple};
use crate::steer::When;
use crate::telemetry::Metrics;

/// A query that goes the long way.
#[derive(Debug)]
pub(super) struct LongWay {
    /// Its place among the queries in flight.
    pub(super) place: Place,
    /// The client's rate has been asked for it already.
    pub(super) granted: bool,
}

/// One that waits.
struct Waiting<T: Truth> {
    listener: Arc<Listener<T>>,
    /// Who stops waits for it.
    _open: TaskTrackerToken,
    way_back: ReturnPath,
    place: Place,
    foreseen: Foreseen<T>,
}

/// A query whose answer will be told as it is, or as AAAA withheld, and what decides about that.
pub(super) struct Foreseen<T> {
    view: Arc<View<T>>,
    packet: Box<[u8]>,
    name: Name,
    record_type: RecordType,
    when: When,
    audience: Audience,
    moment: Moment,
    /// The data of the option that answers its cookie.
    cookie: Option<Vec<u8>>,
}

impl<T: Truth> Fast<'_, T> {
    /// Begins to ask for the answer to a query, which is sent with what else has `begun`; given back where it has to go the
    /// long way.
    pub(super) fn begin(
        &mut self,
        listener: &Arc<Listener<T>>,
        packet: &[u8],
        way_back: ReturnPath,
        place: Place,
        begun: &mut Begun,
    ) -> Result<(), LongWay> {
        let client = net::ClientAddr::new(way_back.to).ip();
        let Some((query, foreseen)) = self.foresee(packet, client) else {
            return Err(LongWay {
                place,
                granted: false,
            });
        };
        if !listener.handler.grants(self.view(), client) {
            return Err(LongWay {
                place,
                granted: false,
            });
        }
        let question = Question {
            name: foreseen.name.clone(),
            record_type: foreseen.record_type,
            dnssec_ok: false,
            checking_disabled: false,
        };
        let resolver = Arc::clone(&foreseen.view.resolver);
        let mut place = Some(place);
        let asker = || -> Option<Box<dyn Asker>> {
            Some(Box::new(Waiting {
                listener: Arc::clone(listener),
                _open: listener.open.token(),
                way_back,
                place: place.take()?,
                foreseen,
            }))
        };
        let key = query.key();
        resolver.begin(&question, &key, query.question(), begun, asker);
        match place {
            Some(place) => Err(LongWay {
                place,
                granted: true,
            }),
            None => Ok(()),
        }
    }

    /// What can be said before of a query, where its answer will be told as it is, or as AAAA withheld.
    pub(super) fn foresee<'p>(
        &mut self,
        packet: &'p [u8],
        client: IpAddr,
    ) -> Option<(Plain<'p>, Foreseen<T>)> {
        let query = Plain::read(packet)?;
        let record_type = RecordType::from(query.record_type());
        let known = matches!(
            record_type,
            RecordType::A | RecordType::AAAA | RecordType::HTTPS
        );
        if !known || query.wants_more() {
            return None;
        }
        let audience = self.audience(client)?;
        let mut name = Name::read(&mut BinDecoder::new(query.question())).ok()?;
        name.set_fqdn(true);
        let view = self.view();
        let local = pipeline::special_here(view, &name, record_type).is_some()
            || view.local.owns(&name, record_type);
        if local {
            return None;
        }
        let when = view.steering.when(client, &name);
        let withholds = || view.steering.aaaa(client, &name) == Aaaa::Withhold;
        let plain = match record_type {
            // Below a port and a scheme, it is about another name (RFC 9460 section 2.3).
            RecordType::HTTPS
                if name
                    .iter()
                    .next()
                    .is_some_and(|label| label.starts_with(b"_")) =>
            {
                false
            }
            RecordType::AAAA => withholds(),
            // Their hints are AAAA, too.
            RecordType::HTTPS if !withholds() => false,
            _ => matches!(
                needs(record_type, when),
                Needs::Nothing | Needs::Ipv4ThenIpv6
            ),
        };
        if !plain {
            return None;
        }
        let foreseen = Foreseen {
            view: self.view_arc(),
            packet: packet.into(),
            name,
            record_type,
            when,
            audience,
            moment: self.moment(),
            cookie: self.cookie(&query, client),
        };
        Some((query, foreseen))
    }
}

impl<T: Truth> Asker for Waiting<T> {
    fn told(self: Box<Self>, simple: Option<&Simple>) -> Option<fn()> {
        let mut answer = Vec::new();
        let told = simple.and_then(|simple| self.foreseen.tell(simple, &mut answer));
        let Some(told) = told else {
            let Self {
                listener,
                way_back,
                place,
                foreseen,
                ..
            } = *self;
            let way = LongWay {
                place,
                granted: true,
            };
            let open = listener.open.clone();
            open.spawn(udp::answer(listener, way, foreseen.packet.into(), way_back));
            return None;
        };
        let handler = &self.listener.handler;
        handler.count_queries(self.foreseen.record_type, Transport::Udp, 1);
        let rcode = match told.denied {
            true => ResponseCode::NXDomain,
            false => ResponseCode::NoError,
        };
        handler.count_answers(rcode, 1);
        if told.withheld {
            handler.metrics().dns_withheld.inc();
        }
        OUTBOX.with_borrow_mut(|outbox| outbox.add(&self.listener, &answer, self.way_back));
        Some(send)
    }
}

impl<T: Truth> Foreseen<T> {
    /// Appends the answer, and keeps it for those who ask the same; `None` where it is not as foreseen.
    pub(super) fn tell(&self, simple: &Simple, out: &mut Vec<u8>) -> Option<Told> {
        let query = Plain::read(&self.packet)?;
        let limit = shape::limit(Transport::Udp, query.edns());
        let kept = simple.left > 0 && self.view.is_still(self.moment);
        let cache = self.view.resolver.kept()?;
        let fresh = Age {
            age: 0,
            left: u32::MAX,
        };
        let mut told = Told {
            denied: simple.denied,
            cached: true,
            ..Told::default()
        };
        let (changed, life) = self.changed(simple)?;
        told.withheld = changed.is_some();
        let (message, parts) = match &changed {
            Some((message, parts)) => (message, *parts),
            None => (&simple.message, simple.parts),
        };
        let finished = Finished::new(message, parts);
        let cookie = self.cookie.as_deref();
        wire::tell(finished, &query, cookie, fresh, limit, out)?;
        if !kept {
            return Some(told);
        }
        if changed.is_none() && life == Life::MAX {
            let now = super::handler::now();
            cache.pass(&query.key(), self.audience, &finished, told.into(), now);
            return Some(told);
        }
        let (message, parts) = changed.unwrap_or_else(|| (simple.message.clone(), simple.parts));
        let made = Made {
            message,
            parts,
            life: Some(cache.life_of(simple.left).least(life)),
            notes: told.into(),
        };
        cache.keep(&query.key(), self.audience, made, super::handler::now());
        Some(told)
    }

    /// What is told in place of what upstream said, if not that itself, and how long what else it rests on holds. `None`:
    /// what that is takes a look at more.
    fn changed(&self, simple: &Simple) -> Option<(Option<Remade>, Life)> {
        match self.record_type {
            RecordType::A => self.ipv4_passes(simple).then_some((None, Life::MAX)),
            RecordType::AAAA if self.is_inside(addresses(simple)) => None,
            _ if simple.records == 0 => Some((None, Life::MAX)),
            RecordType::AAAA => {
                let soa = self.view.apexes.soa(&self.view.resolver, simple.zone()?)?;
                Some((Some(wire::withheld(simple, &soa.record)?), soa.life))
            }
            _ if self.is_inside(hints(simple)) => None,
            _ => Some((wire::without_ipv6_hints(simple), self.directness()?)),
        }
    }

    /// Whether these addresses, or that there are none, is told as it is.
    fn ipv4_passes(&self, simple: &Simple) -> bool {
        if self.is_inside(addresses(simple)) {
            return false;
        }
        // Where the name may be steered, an address has to be one; without any, IPv6 decides.
        self.when == When::Never
            || simple.denied
            || addresses(simple).any(|address| self.view.reach.counts(self.when, address))
    }

    /// How long it is known that the name is not steered: it has an address over IPv4, as far as the cache knows.
    fn directness(&self) -> Option<Life> {
        if self.when == When::Never {
            return Some(Life::MAX);
        }
        let resolver = &self.view.resolver;
        let life = resolver.life(&Question {
            name: self.name.clone(),
            record_type: RecordType::A,
            dnssec_ok: false,
            checking_disabled: false,
        })?;
        let counts = |address| self.view.reach.counts(self.when, address);
        let known = |address| counts(address) && !self.is_inside([address].into_iter());
        let mut addresses = resolver.known(&self.name, Family::V4)?.into_iter();
        addresses.any(known).then_some(life)
    }

    /// Whether there is an address that the name must not carry.
    fn is_inside(&self, mut addresses: impl Iterator<Item = IpAddr>) -> bool {
        addresses.any(|address| self.view.rebinding.refusal(&self.name, address).is_some())
    }
}

fn hints(simple: &Simple) -> impl Iterator<Item = IpAddr> {
    simple.data().flat_map(|data| {
        let binding = Binding::read(data).unwrap_or_default();
        binding.hints(data)
    })
}

fn addresses(simple: &Simple) -> impl Iterator<Item = IpAddr> {
    simple.data().filter_map(|data| {
        let v4 = <[u8; 4]>::try_from(data)
            .map(Ipv4Addr::from)
            .map(IpAddr::V4);
        let v6 = <[u8; 16]>::try_from(data)
            .map(Ipv6Addr::from)
            .map(IpAddr::V6);
        v4.or(v6).ok()
    })
}

/// A message made of another one, and how it is divided.
type Remade = (Vec<u8>, Parts);

/// A zone's SOA for a negative answer.
#[derive(Clone, Debug)]
pub(super) struct Soa {
    /// The record on the wire, not compressed.
    pub(super) record: Arc<[u8]>,
    /// How long it holds.
    pub(super) life: Life,
}

thread_local! {
    static OUTBOX: RefCell<Outbox> = RefCell::default();
}

/// Answers that are to be sent together.
#[derive(Default)]
struct Outbox {
    /// For each socket.
    boxes: Vec<Letters>,
}

/// Answers one after another, where each ends, and which way it goes.
struct Letters {
    socket: Arc<UdpSocket>,
    metrics: Arc<Metrics>,
    out: Vec<u8>,
    answers: Vec<(usize, ReturnPath)>,
}

impl Outbox {
    fn add<T: Truth>(&mut self, listener: &Listener<T>, answer: &[u8], way_back: ReturnPath) {
        let (socket, metrics) = (&listener.socket, listener.handler.metrics());
        let same = |held: &&mut Letters| Arc::ptr_eq(&held.socket, socket);
        let letters = match self.boxes.iter_mut().find(same) {
            Some(letters) => letters,
            None => {
                let letters = Letters {
                    socket: Arc::clone(socket),
                    metrics: Arc::clone(metrics),
                    out: Vec::new(),
                    answers: Vec::new(),
                };
                self.boxes.push(letters);
                match self.boxes.last_mut() {
                    Some(letters) => letters,
                    None => return,
                }
            }
        };
        letters.out.extend_from_slice(answer);
        letters.answers.push((letters.out.len(), way_back));
    }
}

/// Sends what was told on this thread.
fn send() {
    let boxes = OUTBOX.with_borrow_mut(|outbox| std::mem::take(&mut outbox.boxes));
    for letters in boxes {
        let unsent = net::send(&letters.socket, &letters.out, &letters.answers);
        if unsent > 0 {
            tracing::debug!(unsent, "no room for answers");
            let lost = u64::try_from(unsent).unwrap_or(u64::MAX);
            letters.metrics.dns_overload.inc_by(lost);
        }
    }
}
