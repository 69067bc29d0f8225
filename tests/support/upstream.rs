//! A DNS server that says what the test wants, over UDP and TCP on one port, and remembers what it was asked.

use std::collections::HashMap;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use hickory_proto::op::{Edns, Message, MessageType, ResponseCode};
use hickory_proto::rr::rdata::opt::EdnsOption;
use hickory_proto::rr::{Name, Record, RecordType};

use super::octets::octets;
use super::{PATIENCE, name, soa};

/// What the server says to one question.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reply {
    code: ResponseCode,
    answers: Vec<Record>,
    authorities: Vec<Record>,
    additionals: Vec<Record>,
    extended_error: Option<u16>,
    authentic: bool,
    truncated: bool,
    silent: bool,
    held: bool,
    delay: Duration,
    raw: Option<Vec<u8>>,
}

impl Reply {
    /// These answers.
    pub(crate) fn of(answers: impl IntoIterator<Item = Record>) -> Self {
        Self {
            answers: answers.into_iter().collect(),
            ..Self::default()
        }
    }

    /// No answer but this code.
    pub(crate) fn code(code: ResponseCode) -> Self {
        Self {
            code,
            ..Self::default()
        }
    }

    /// Nothing, ever.
    pub(crate) fn silence() -> Self {
        Self {
            silent: true,
            ..Self::default()
        }
    }

    /// These bytes after the ID of the question.
    pub(crate) fn garbage(bytes: &[u8]) -> Self {
        Self {
            raw: Some(bytes.to_vec()),
            ..Self::default()
        }
    }

    /// Adds a record to the authority section.
    pub(crate) fn authority(mut self, record: Record) -> Self {
        self.authorities.push(record);
        self
    }

    /// Adds a record to the additional section.
    pub(crate) fn additional(mut self, record: Record) -> Self {
        self.additionals.push(record);
        self
    }

    /// Adds an Extended DNS Error.
    pub(crate) fn extended_error(mut self, code: u16) -> Self {
        self.extended_error = Some(code);
        self
    }

    /// Sets AD.
    pub(crate) fn authentic(mut self) -> Self {
        self.authentic = true;
        self
    }

    /// Says TC and nothing else over UDP; the whole over TCP.
    pub(crate) fn truncated(mut self) -> Self {
        self.truncated = true;
        self
    }

    /// Comes this much later.
    pub(crate) fn late(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// Comes only after [`Upstream::release`].
    pub(crate) fn held(mut self) -> Self {
        self.held = true;
        self
    }
}

/// A question that the server saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    /// The name, as it was written.
    pub(crate) name: Name,
    /// The type.
    pub(crate) record_type: RecordType,
    /// Whether it came over TCP.
    pub(crate) tcp: bool,
}

/// The server; ends when dropped.
#[derive(Debug)]
pub(crate) struct Upstream {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    script: HashMap<(Name, RecordType), Reply>,
    otherwise: Option<Reply>,
    seen: Vec<Seen>,
    released: bool,
    stopped: bool,
}

impl Upstream {
    /// A server that knows nothing yet: NXDOMAIN, with the SOA of `example.` (TTL and MINIMUM 900 s).
    pub(crate) fn start() -> Self {
        let (udp, tcp) = bind();
        let address = udp.local_addr().expect("bound");
        let shared = Arc::new(Shared::default());
        let server = Arc::clone(&shared);
        thread::spawn(move || serve_udp(&server, &Arc::new(udp)));
        let server = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in tcp.incoming().flatten() {
                if server.lock().stopped {
                    break;
                }
                let server = Arc::clone(&server);
                thread::spawn(move || serve_tcp(&server, stream));
            }
        });
        Self { address, shared }
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Says this to that question from now on.
    pub(crate) fn say(&self, owner: &str, record_type: RecordType, reply: Reply) -> &Self {
        let key = (name(owner).to_lowercase(), record_type);
        self.shared.lock().script.insert(key, reply);
        self
    }

    /// Gives a name these addresses; their families follow from how they are written.
    pub(crate) fn addresses(&self, owner: &str, addresses: &[&str]) -> &Self {
        let (ipv6, ipv4): (Vec<&str>, Vec<&str>) = addresses.iter().partition(|a| a.contains(':'));
        for (record_type, records) in [
            (
                RecordType::A,
                ipv4.iter().map(|x| super::a(owner, x)).collect::<Vec<_>>(),
            ),
            (
                RecordType::AAAA,
                ipv6.iter().map(|x| super::aaaa(owner, x)).collect(),
            ),
        ] {
            let reply = match records.is_empty() {
                true => Reply::of([]).authority(soa("example", 900)),
                false => Reply::of(records),
            };
            self.say(owner, record_type, reply);
        }
        self
    }

    /// Says this to every question that was not scripted.
    pub(crate) fn otherwise(&self, reply: Reply) -> &Self {
        self.shared.lock().otherwise = Some(reply);
        self
    }

    /// Lets the held replies go, and everything after them.
    pub(crate) fn release(&self) {
        self.shared.lock().released = true;
        self.shared.changed.notify_all();
    }

    /// Every question until now.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.shared.lock().seen.clone()
    }

    /// How often this was asked until now.
    pub(crate) fn count(&self, owner: &str, record_type: RecordType) -> usize {
        let owner = name(owner);
        let state = self.shared.lock();
        let same = |seen: &&Seen| seen.name == owner && seen.record_type == record_type;
        state.seen.iter().filter(same).count()
    }

    /// Waits until this was asked.
    pub(crate) fn wait_for(&self, owner: &str, record_type: RecordType) {
        let owner = name(owner);
        let missing = |state: &mut State| {
            !state
                .seen
                .iter()
                .any(|seen| seen.name == owner && seen.record_type == record_type)
        };
        let (state, waited) = self
            .shared
            .changed
            .wait_timeout_while(self.shared.lock(), PATIENCE, missing)
            .expect("the server is whole");
        drop(state);
        assert!(
            !waited.timed_out(),
            "nobody asked for {owner} {record_type}"
        );
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        if let Ok(mut state) = self.shared.state.lock() {
            state.stopped = true;
        }
        self.shared.changed.notify_all();
        // Both loops look at `stopped` after whatever comes next.
        if let Ok(socket) = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)) {
            socket.send_to(&[0], self.address).ok();
        }
        TcpStream::connect(self.address).ok();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("the server is whole")
    }

    /// The bytes to send, once it is time to; `None` for silence.
    fn answer(&self, packet: &[u8], tcp: bool) -> Option<Vec<u8>> {
        let question = Message::from_vec(packet).ok()?;
        let query = question.queries.first()?.clone();
        let (asked, record_type) = (query.name().to_lowercase(), query.query_type());
        let mut state = self.lock();
        state.seen.push(Seen {
            name: query.name().clone(),
            record_type,
            tcp,
        });
        self.changed.notify_all();
        let known = state.script.keys().any(|(name, _)| *name == asked);
        let reply = match state.script.get(&(asked, record_type)) {
            Some(reply) => reply.clone(),
            None => state.otherwise.clone().unwrap_or_else(|| {
                Reply::code(match known {
                    true => ResponseCode::NoError,
                    false => ResponseCode::NXDomain,
                })
                .authority(soa("example", 900))
            }),
        };
        let state = match reply.held {
            true => self
                .changed
                .wait_while(state, |state| !state.released && !state.stopped)
                .expect("the server is whole"),
            false => state,
        };
        if !reply.delay.is_zero() {
            drop(
                self.changed
                    .wait_timeout_while(state, reply.delay, |state| !state.stopped)
                    .expect("the server is whole"),
            );
        } else {
            drop(state);
        }
        if reply.silent {
            return None;
        }
        if let Some(raw) = &reply.raw {
            let mut bytes = packet.get(..2)?.to_vec();
            bytes.extend(raw);
            return Some(bytes);
        }
        message(&question, &reply, tcp)
    }
}

/// The message, cut to nothing but TC where it is too long for UDP.
fn message(question: &Message, reply: &Reply, tcp: bool) -> Option<Vec<u8>> {
    let mut message = Message::response(question.metadata.id, question.metadata.op_code);
    message.metadata.message_type = MessageType::Response;
    message.metadata.response_code = reply.code;
    message.metadata.recursion_desired = question.metadata.recursion_desired;
    message.metadata.recursion_available = true;
    message.metadata.checking_disabled = question.metadata.checking_disabled;
    message.metadata.authentic_data = reply.authentic;
    message.queries = question.queries.clone();
    message.answers = reply.answers.clone();
    message.authorities = reply.authorities.clone();
    message.additionals = reply.additionals.clone();
    if let Some(asked) = &question.edns {
        let mut edns = Edns::new();
        edns.set_max_payload(1232);
        edns.set_dnssec_ok(asked.flags().dnssec_ok);
        if let Some(code) = reply.extended_error {
            edns.options_mut()
                .insert(EdnsOption::Unknown(15, code.to_be_bytes().to_vec()));
        }
        message.set_edns(edns);
    }
    let limit = question
        .edns
        .as_ref()
        .map_or(512, Edns::max_payload)
        .max(512);
    let bytes = octets(message.clone())?;
    if !tcp && (reply.truncated || bytes.len() > usize::from(limit)) {
        message.answers.clear();
        message.authorities.clear();
        message.additionals.clear();
        message.metadata.truncation = true;
        return octets(message);
    }
    Some(bytes)
}

pub(super) fn bind() -> (UdpSocket, TcpListener) {
    for _ in 0..100 {
        let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        match UdpSocket::bind(tcp.local_addr().expect("bound")) {
            Ok(udp) => return (udp, tcp),
            Err(error) => assert_eq!(error.kind(), ErrorKind::AddrInUse, "{error}"),
        }
    }
    panic!("no port is free for both UDP and TCP");
}

fn serve_udp(shared: &Arc<Shared>, socket: &Arc<UdpSocket>) {
    let mut packet = [0; 65_535];
    while let Ok((length, client)) = socket.recv_from(&mut packet) {
        if shared.lock().stopped {
            break;
        }
        let packet = packet[..length].to_vec();
        let (shared, socket) = (Arc::clone(shared), Arc::clone(socket));
        thread::spawn(move || {
            if let Some(answer) = shared.answer(&packet, false) {
                socket.send_to(&answer, client).ok();
            }
        });
    }
}

fn serve_tcp(shared: &Arc<Shared>, mut stream: TcpStream) {
    let mut length = [0; 2];
    while stream.read_exact(&mut length).is_ok() {
        let mut packet = vec![0; usize::from(u16::from_be_bytes(length))];
        if stream.read_exact(&mut packet).is_err() {
            break;
        }
        let Ok(mut stream) = stream.try_clone() else {
            break;
        };
        let shared = Arc::clone(shared);
        thread::spawn(move || {
            if let Some(answer) = shared.answer(&packet, true) {
                let length = u16::try_from(answer.len()).expect("a message");
                let framed = [&length.to_be_bytes()[..], &answer].concat();
                stream.write_all(&framed).ok();
            }
        });
    }
}
