//! A scripted server: UDP and TCP on one loopback port, answers from its script and its zone, and a list of what it was
//! asked. Its delays are those of the paused clock.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hickory_proto::op::{Message, Query, ResponseCode};
use hickory_proto::rr::Record;
use hickory_proto::rr::rdata::opt::EdnsOption;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::time::sleep;

use super::format::{Says, Transport, Upstream, duration};
use super::records;
use super::reply::{blank, covers, encode, spoil};
use super::zone::{Found, Zone};

/// What all servers of a replay share.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    phase: String,
    asked: Vec<String>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on.
    pub(crate) fn phase(&self, phase: &str) {
        phase.clone_into(&mut self.lock().phase);
    }

    /// Everything that any server was asked so far.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.lock().asked.clone()
    }
}

/// One server, ready to answer.
#[derive(Debug)]
pub(crate) struct Server {
    name: String,
    zone: Zone,
    no_edns: bool,
    script: Vec<Line>,
    shared: Arc<Shared>,
}

/// One scripted answer, read.
#[derive(Debug)]
struct Line {
    says: Says,
    answer: Vec<Record>,
    authority: Vec<Record>,
    additional: Vec<Record>,
    rcode: ResponseCode,
    delay: Duration,
    left: Mutex<Option<usize>>,
}

/// What a server does with a query.
struct Plan {
    delay: Duration,
    packets: Vec<(Vec<u8>, bool)>,
}

/// The sockets of a server.
pub(crate) struct Bound {
    udp: UdpSocket,
    tcp: Option<TcpListener>,
    /// Keeps the port where nothing listens.
    _closed: Option<socket2::Socket>,
    pub(crate) address: SocketAddr,
}

/// One port for UDP and TCP.
pub(crate) async fn bind(script: &Upstream) -> Result<Bound, String> {
    let fail = |error: std::io::Error| format!("upstream `{}`: {error}", script.name);
    for _ in 0..50 {
        let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .map_err(fail)?;
        let address = udp.local_addr().map_err(fail)?;
        let (tcp, closed) = if script.no_tcp {
            let kind = socket2::Type::STREAM;
            let socket = socket2::Socket::new(socket2::Domain::IPV4, kind, None).map_err(fail)?;
            if socket.bind(&address.into()).is_err() {
                continue;
            }
            (None, Some(socket))
        } else {
            let Ok(tcp) = TcpListener::bind(address).await else {
                continue;
            };
            (Some(tcp), None)
        };
        return Ok(Bound {
            udp,
            tcp,
            _closed: closed,
            address,
        });
    }
    Err(format!("upstream `{}`: no port is free", script.name))
}

impl Server {
    /// Reads the script.
    pub(crate) fn new(script: &Upstream, shared: &Arc<Shared>) -> Result<Self, String> {
        let fail = |error: String| format!("upstream `{}`: {error}", script.name);
        let line = |says: &Says| {
            Ok(Line {
                answer: records::records(&says.answer)?,
                authority: records::records(&says.authority)?,
                additional: records::records(&says.additional)?,
                rcode: records::rcode(says.rcode.as_deref().unwrap_or("NOERROR"))?,
                delay: says.delay.as_deref().map_or(Ok(Duration::ZERO), duration)?,
                left: Mutex::new(says.times),
                says: says.clone(),
            })
        };
        let signed = script.signed.iter().map(|apex| records::name(apex));
        let signed = signed.collect::<Result<Vec<_>, _>>().map_err(fail)?;
        let records = records::records(&script.zone).map_err(fail)?;
        Ok(Self {
            name: script.name.clone(),
            zone: Zone::new(records, &signed).map_err(fail)?,
            no_edns: script.no_edns,
            script: script
                .says
                .iter()
                .map(line)
                .collect::<Result<_, String>>()
                .map_err(fail)?,
            shared: Arc::clone(shared),
        })
    }

    /// The trust anchor of what is signed.
    pub(crate) fn anchor(&self) -> &str {
        self.zone.anchor()
    }

    /// Answers for ever.
    pub(crate) fn serve(self, bound: Bound) {
        let server = Arc::new(self);
        let Bound {
            udp, tcp, _closed, ..
        } = bound;
        let over_udp = Arc::clone(&server);
        tokio::spawn(async move {
            let socket = Arc::new(udp);
            let mut packet = vec![0; 65_535];
            let _closed = _closed;
            while let Ok((length, client)) = socket.recv_from(&mut packet).await {
                let query = packet.get(..length).unwrap_or_default().to_vec();
                let (server, socket) = (Arc::clone(&over_udp), Arc::clone(&socket));
                tokio::spawn(async move {
                    let Some(plan) = server.plan(&query, false) else {
                        return;
                    };
                    if !plan.delay.is_zero() {
                        sleep(plan.delay).await;
                    }
                    for (packet, elsewhere) in plan.packets {
                        if elsewhere {
                            let other = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await;
                            if let Ok(other) = other {
                                other.send_to(&packet, client).await.ok();
                            }
                        } else {
                            socket.send_to(&packet, client).await.ok();
                        }
                    }
                });
            }
        });
        let Some(tcp) = tcp else { return };
        tokio::spawn(async move {
            while let Ok((stream, _)) = tcp.accept().await {
                tokio::spawn(Arc::clone(&server).connection(stream));
            }
        });
    }

    async fn connection(self: Arc<Self>, stream: TcpStream) {
        let (mut reader, writer) = stream.into_split();
        let writer = Arc::new(tokio::sync::Mutex::new(writer));
        while let Ok(length) = reader.read_u16().await {
            let mut query = vec![0; usize::from(length)];
            if reader.read_exact(&mut query).await.is_err() {
                return;
            }
            let (server, writer) = (Arc::clone(&self), Arc::clone(&writer));
            tokio::spawn(async move {
                let Some(plan) = server.plan(&query, true) else {
                    return;
                };
                if !plan.delay.is_zero() {
                    sleep(plan.delay).await;
                }
                for (packet, _) in plan.packets {
                    let Ok(length) = u16::try_from(packet.len()) else {
                        return;
                    };
                    let framed = [&length.to_be_bytes()[..], &packet].concat();
                    writer.lock().await.write_all(&framed).await.ok();
                }
            });
        }
    }

    fn plan(&self, packet: &[u8], tcp: bool) -> Option<Plan> {
        let question = Message::from_vec(packet).ok()?;
        let query = question.queries.first()?;
        let phase = self.note(&question, query, tcp);
        let over = if tcp { Transport::Tcp } else { Transport::Udp };
        let line = self.script.iter().find(|line| {
            let says = &line.says;
            let here = covers(&says.to, query.name(), query.query_type())
                && says.during.as_ref().is_none_or(|during| *during == phase)
                && says.over.is_none_or(|only| only == over);
            here && line.take()
        });
        if self.no_edns && question.edns.is_some() {
            let mut reply = blank(&question, ResponseCode::FormErr);
            reply.edns = None;
            return Some(Plan::of(reply.to_vec().ok()?));
        }
        let Some(line) = line else {
            let reply = self.zone_reply(&question, query);
            return Some(Plan::of(encode(reply, &question, tcp)?));
        };
        if line.says.silence {
            return None;
        }
        let reply = if line.says.from_zone {
            self.zone_reply(&question, query)
        } else {
            line.reply(&question)
        };
        let right = encode(reply, &question, tcp)?;
        let mut packets = Vec::new();
        if let Some(wrong) = line.says.wrong_first {
            packets.push(spoil(&right, &question, wrong)?);
        }
        packets.push(match line.says.wrong {
            Some(wrong) => spoil(&right, &question, wrong)?,
            None => (right, false),
        });
        Some(Plan {
            delay: line.delay,
            packets,
        })
    }

    /// Writes down what was asked; returns the phase.
    fn note(&self, question: &Message, query: &Query, tcp: bool) -> String {
        let dnssec_ok = question
            .edns
            .as_ref()
            .is_some_and(|edns| edns.flags().dnssec_ok);
        let mut text = format!(
            "{} {} {}",
            self.name,
            query.name().to_lowercase(),
            query.query_type()
        );
        for (so, word) in [
            (dnssec_ok, " do"),
            (question.metadata.checking_disabled, " cd"),
            (tcp, " tcp"),
            (question.edns.is_none(), " no-edns"),
        ] {
            if so {
                text.push_str(word);
            }
        }
        let mut state = self.shared.lock();
        state.asked.push(text);
        state.phase.clone()
    }

    fn zone_reply(&self, question: &Message, query: &Query) -> Message {
        let dnssec_ok = question
            .edns
            .as_ref()
            .is_some_and(|edns| edns.flags().dnssec_ok);
        let Found {
            rcode,
            answers,
            authorities,
        } = self
            .zone
            .answer(query.name(), query.query_type(), dnssec_ok);
        let mut reply = blank(question, rcode);
        reply.answers = answers;
        reply.authorities = authorities;
        reply
    }
}

impl Line {
    /// Whether it may be said once more.
    fn take(&self) -> bool {
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *left {
            Some(0) => false,
            Some(left) => {
                *left -= 1;
                true
            }
            None => true,
        }
    }

    fn reply(&self, question: &Message) -> Message {
        let mut reply = blank(question, self.rcode);
        let flags = self.says.flags.as_deref().unwrap_or("ra");
        let has = |flag| flags.split_whitespace().any(|word| word == flag);
        reply.metadata.recursion_available = has("ra");
        reply.metadata.authoritative = has("aa");
        reply.metadata.authentic_data = has("ad");
        reply.metadata.truncation = has("tc");
        reply.answers.clone_from(&self.answer);
        reply.authorities.clone_from(&self.authority);
        reply.additionals.clone_from(&self.additional);
        if let Some(edns) = &mut reply.edns {
            for error in &self.says.ede {
                let (code, text) = error.split_once(' ').unwrap_or((error, ""));
                let mut data = code.parse().unwrap_or(0_u16).to_be_bytes().to_vec();
                data.extend(text.bytes());
                edns.options_mut().insert(EdnsOption::Unknown(15, data));
            }
        }
        reply
    }
}

impl Plan {
    fn of(packet: Vec<u8>) -> Self {
        Self {
            delay: Duration::ZERO,
            packets: vec![(packet, false)],
        }
    }
}
