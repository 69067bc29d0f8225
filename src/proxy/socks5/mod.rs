//! SOCKS5 (RFC 1928, RFC 1929), and SOCKS4 and 4a: the client says where to before its first byte, and gets an answer.
//!
//! CONNECT is answered after the origin was reached; then the session is carried as one of HTTP's CONNECT. UDP ASSOCIATE
//! is `udp`'s. BIND is not offered. The address in an answer to CONNECT is 0.0.0.0:0: nobody needs ours, and some clients read IPv4 only.

mod peers;
mod reply;
mod udp;
pub mod wire;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use bytes::{Buf, BufMut, BytesMut};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until, timeout};

use self::udp::Association;
use self::wire::{Address, Command, Greeting, Read, Request, Wrong};
use super::farewell::farewell;
use super::respond::{Failure, Kind};
use super::seam::Task;
use super::session::{Reached, Session, unless_gone};
use super::stand_ins::StandIn;
use super::{Admitted, Proxy, State, transparent};
use crate::dial::Dialed;
use crate::net::{ClientAddr, Host, Target, read_once};
use crate::relay::{Carried, Ended};
use crate::telemetry::{Inbound, RefusalLabels, Side};

/// What is read at most before the request is answered: every message fits, and what follows is for the origin.
const ROOM: usize = 2_048;

/// The address that was bound, for who does not need to know.
const UNSPECIFIED: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

/// How far the conversation has come: how a failure is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Nothing is understood yet.
    Greeting,
    /// The name and the password.
    Login,
    /// The request of version 5.
    Request,
    /// That of version 4.
    Request4,
}

impl Stage {
    /// The words for a failure; none where the client would not understand any.
    fn words(self, kind: Kind) -> Vec<u8> {
        match (self, kind) {
            (_, Kind::Gone) | (Self::Greeting, Kind::Version) => Vec::new(),
            (Self::Greeting, _) => wire::method(wire::NO_METHOD).to_vec(),
            (Self::Login, _) => wire::login_reply(false).to_vec(),
            (Self::Request, _) => wire::reply(reply::code(kind), UNSPECIFIED),
            (Self::Request4, _) => wire::reply_4(false).to_vec(),
        }
    }

    fn success(self) -> Vec<u8> {
        match self {
            Self::Request4 => wire::reply_4(true).to_vec(),
            _ => wire::reply(reply::SUCCEEDED, UNSPECIFIED),
        }
    }
}

/// The conversation until there is a request.
struct Conversation<'a> {
    proxy: &'a Proxy,
    state: &'a Arc<State>,
    client: ClientAddr,
    stream: TcpStream,
    bytes: BytesMut,
    stage: Stage,
    heard: bool,
    deadline: Instant,
}

/// Serves one connection.
pub(super) async fn serve(proxy: Arc<Proxy>, admitted: Admitted) {
    let Admitted {
        stream,
        client,
        seat,
        state,
    } = admitted;
    // What is over before the tunnel begins is boxed: a tunnel may stay open for hours and need not keep its room.
    let preparing = Box::pin(prepare(&proxy, &state, client, stream));
    let Some(Some(prepared)) = proxy.cut.run_until_cancelled(preparing).await else {
        return;
    };
    let idle = state.settings.proxy.idle_timeout;
    let tunnel = match prepared {
        Prepared::Tunnel(tunnel) => tunnel,
        Prepared::Association(association, stream) => {
            let idle = state.settings.proxy.association_timeout;
            drop(state);
            return Box::pin(association.run(stream, idle, &proxy.cut)).await;
        }
        Prepared::Here(stand_in, stream, said) => {
            let admitted = Admitted {
                stream,
                client,
                seat,
                state,
            };
            let serving: Task<'_, ()> = match stand_in {
                StandIn::Tls => Box::pin(transparent::tls::serve(proxy, admitted, said)),
                StandIn::Plain(site) => {
                    Box::pin(transparent::http::serve(proxy, admitted, said, site))
                }
            };
            return serving.await;
        }
    };
    // Neither the rules nor the users of its beginning are needed any more, where a reload has replaced them.
    drop(state);
    let Tunnel {
        session,
        target,
        reached,
        client,
        origin,
        first,
    } = *tunnel;
    let mut carried = proxy.carry.carry(client, origin, idle, &proxy.cut).await;
    carried.sent += first;
    session.ended(&target, &reached, &carried);
}

/// What the client was promised.
enum Prepared {
    Tunnel(Box<Tunnel>),
    Association(Box<Association>, TcpStream),
    /// A connection to ourselves, and what was said on it already.
    Here(StandIn, TcpStream, BytesMut),
}

/// A connection that stands.
struct Tunnel {
    session: Session,
    target: Target,
    reached: Reached,
    client: TcpStream,
    origin: TcpStream,
    /// How many bytes the client sent without waiting for the answer.
    first: u64,
}

/// Talks with the client until it has what it wants; `None` where there will be none, and the client has been told.
async fn prepare(
    proxy: &Proxy,
    state: &Arc<State>,
    client: ClientAddr,
    stream: TcpStream,
) -> Option<Prepared> {
    let mut talk = Conversation::begin(proxy, state, client, stream);
    let request = talk.request().await;
    if !talk.heard {
        // Opened in advance, and never used.
        return None;
    }
    if let Ok(request) = &request
        && let Some(stand_in) = talk.stand_in(request)
    {
        let words = talk.stage.success();
        talk.say(&words).await.ok()?;
        return Some(Prepared::Here(stand_in, talk.stream, talk.bytes));
    }
    let inbound = match &request {
        Ok(request) if request.command == Command::UdpAssociate => Inbound::Socks5Udp,
        _ => Inbound::Socks5,
    };
    let session = Session::begin(Arc::clone(&proxy.metrics), client, inbound);
    let request = match request {
        Ok(request) if inbound == Inbound::Socks5Udp && talk.stage == Stage::Request => {
            return talk.associate(session, &request).await;
        }
        request => request,
    };
    let target = request.and_then(|request| wanted(&request));
    let outcome = match &target {
        Ok(target) => talk.dial(target).await,
        Err(failure) => Err(failure.clone()),
    };
    let target = target.ok();
    match (target, outcome) {
        (Some(target), Ok(dialed)) => {
            let tunnel = talk.tunnel(session, target, dialed).await;
            tunnel.map(Prepared::Tunnel)
        }
        (target, Err(failure)) => {
            talk.refuse(session, target.as_ref(), &failure).await;
            None
        }
        (None, Ok(_)) => None,
    }
}

/// The target of a request that we serve.
fn wanted(request: &Request) -> Result<Target, Failure> {
    let not_offered = |what: &str| {
        let text = format!("the client asks for {what}, which is not offered");
        Failure::of_client(Kind::Command, text)
    };
    match request.command {
        Command::Connect => request
            .target()
            .map_err(|error| Failure::of_client(Kind::BadRequest, error.to_string())),
        Command::Bind => Err(not_offered("BIND")),
        // Version 4 has no such command.
        Command::UdpAssociate => Err(not_offered("command 3")),
        Command::Other(number) => Err(not_offered(&format!("command {number}"))),
    }
}

impl<'a> Conversation<'a> {
    fn begin(
        proxy: &'a Proxy,
        state: &'a Arc<State>,
        client: ClientAddr,
        stream: TcpStream,
    ) -> Self {
        Self {
            proxy,
            state,
            client,
            stream,
            bytes: BytesMut::new(),
            stage: Stage::Greeting,
            heard: false,
            deadline: now() + state.settings.proxy.sniff_timeout,
        }
    }

    /// Talks until there is a request.
    async fn request(&mut self) -> Result<Request, Failure> {
        let methods = match self.read(wire::greeting).await? {
            Greeting::V5(methods) => methods,
            Greeting::V4(request) => {
                self.stage = Stage::Request4;
                return match self.state.settings.users {
                    Some(_) => Err(self.proxy.door.nameless()),
                    None => Ok(request),
                };
            }
        };
        let users = self.state.settings.users.as_ref();
        let wanted = match users {
            Some(_) => wire::NAME_AND_PASSWORD,
            None => wire::NO_AUTHENTICATION,
        };
        if !methods.contains(&wanted) {
            return Err(match users {
                Some(_) => self.proxy.door.nameless(),
                None => {
                    let text = "the client wants to authenticate itself, and nobody is asked to";
                    Failure::of_client(Kind::BadRequest, text)
                }
            });
        }
        self.say(&wire::method(wanted)).await?;
        if let Some(users) = users {
            self.stage = Stage::Login;
            let login = self.read(wire::login).await?;
            let client = self.client.ip();
            let checking = self
                .proxy
                .door
                .check(users, client, &login.name, &login.password);
            unless_gone(&self.stream, checking).await??;
            self.say(&wire::login_reply(true)).await?;
            // The wait for others who log in was not this client's.
            self.deadline = now() + self.state.settings.proxy.sniff_timeout;
        }
        self.stage = Stage::Request;
        self.read(wire::request).await
    }

    /// A client that resolves names by itself has our address for those that we steer.
    fn stand_in(&self, request: &Request) -> Option<StandIn> {
        if request.command != Command::Connect {
            return None;
        }
        let target = request.target().ok()?;
        let Host::Addr(ip) = target.host else {
            return None;
        };
        let here = self.stream.local_addr().ok();
        let address = SocketAddr::new(ip, target.port);
        self.proxy
            .stand_ins
            .find(address, here.map(|here| here.ip()))
    }

    /// Reads until `parse` has found something.
    async fn read<T>(&mut self, parse: impl Fn(&[u8]) -> Read<T>) -> Result<T, Failure> {
        loop {
            match parse(&self.bytes) {
                Read::Found(found, length) => {
                    self.bytes.advance(length);
                    return Ok(found);
                }
                Read::Wrong(wrong) => {
                    let kind = match wrong {
                        Wrong::NotSocks => Kind::Version,
                        Wrong::AddressType => Kind::AddressType,
                        _ => Kind::BadRequest,
                    };
                    return Err(Failure::of_client(kind, wrong.to_string()));
                }
                Read::NeedMore => {}
            }
            tokio::select! {
                biased;
                filled = fill(&self.stream, &mut self.bytes) => match filled {
                    Ok(0) => return Err(Failure::of_client(
                        Kind::Gone,
                        "the client ended the connection before it said where to go",
                    )),
                    Ok(_) => self.heard = true,
                    Err(error) => return Err(gone(&error)),
                },
                () = sleep_until(self.deadline) => return Err(Failure::of_client(
                    Kind::HeadTimeout,
                    "the client did not say in time where to go",
                )),
            }
        }
    }

    /// Tells the client why there is nothing for it.
    async fn refuse(self, session: Session, target: Option<&Target>, failure: &Failure) {
        session.failed(target, failure);
        drop(session);
        let words = self.stage.words(failure.kind);
        if !words.is_empty() {
            farewell(self.stream, &words).await;
        }
    }

    /// Opens an association, and tells the client where its datagrams go.
    async fn associate(mut self, session: Session, request: &Request) -> Option<Prepared> {
        let proxy = self.proxy;
        let Ok(seat) = proxy.associations.enter_if_room(self.client.ip()) else {
            let reason = "associations";
            proxy
                .metrics
                .sessions_refused
                .get_or_create(&RefusalLabels { reason })
                .inc();
            let failure = Failure::of_client(Kind::Busy, "there are too many associations");
            self.refuse(session, None, &failure).await;
            return None;
        };
        let opened = Association::open(
            session,
            &proxy.metrics,
            self.state,
            (self.client, seat),
            &self.stream,
            request,
        );
        let (association, bound) = match opened {
            Ok(opened) => opened,
            Err((session, failure)) => {
                self.refuse(session, None, &failure).await;
                return None;
            }
        };
        let words = wire::reply(reply::SUCCEEDED, bound);
        self.say(&words).await.ok()?;
        Some(Prepared::Association(Box::new(association), self.stream))
    }

    async fn dial(&self, target: &Target) -> Result<Dialed, Failure> {
        let here = || self.stream.local_addr().ok();
        let dialing = self.state.dial(self.client, here, target);
        unless_gone(&self.stream, dialing).await?
    }

    /// Tells the client that the origin is reached, and the origin what the client has said already.
    async fn tunnel(
        mut self,
        session: Session,
        target: Target,
        mut dialed: Dialed,
    ) -> Option<Box<Tunnel>> {
        let words = self.stage.success();
        let beginning = async {
            let told = self.stream.write_all(&words).await;
            told.map_err(|error| Ended::Broken(Side::Client, error))?;
            let passed_on = dialed.stream.write_all(&self.bytes).await;
            passed_on.map_err(|error| Ended::Broken(Side::Origin, error))
        };
        let idle = self.state.settings.proxy.idle_timeout;
        let begun = timeout(idle, beginning).await.unwrap_or(Err(Ended::Idle));
        let reached = Reached::from(&dialed);
        match begun {
            Ok(()) => Some(Box::new(Tunnel {
                session,
                target,
                reached,
                client: self.stream,
                origin: dialed.stream,
                first: u64::try_from(self.bytes.len()).unwrap_or(u64::MAX),
            })),
            Err(ended) => {
                let carried = Carried {
                    sent: 0,
                    received: 0,
                    ended,
                };
                session.ended(&target, &reached, &carried);
                None
            }
        }
    }

    async fn say(&mut self, words: &[u8]) -> Result<(), Failure> {
        tokio::select! {
            said = self.stream.write_all(words) => said.map_err(|error| gone(&error)),
            () = sleep_until(self.deadline) => Err(Failure::of_client(
                Kind::Gone,
                "the client does not read",
            )),
        }
    }
}

/// Reads what is there; room is only made when something is.
async fn fill(stream: &TcpStream, bytes: &mut BytesMut) -> io::Result<usize> {
    loop {
        stream.readable().await?;
        let left = ROOM.saturating_sub(bytes.len());
        if bytes.capacity() == bytes.len() {
            bytes.reserve(left);
        }
        let mut room = (&mut *bytes).limit(left);
        match read_once(stream, room.chunk_mut().len(), || {
            stream.try_read_buf(&mut room)
        }) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            read => return read,
        }
    }
}

fn gone(error: &io::Error) -> Failure {
    Failure::of_client(Kind::Gone, format!("the connection broke: {error}"))
}

#[expect(
    clippy::disallowed_methods,
    reason = "the deadline of a conversation; nothing here is decided by it but its end"
)]
fn now() -> Instant {
    Instant::now()
}
