//! The sockets that one server is asked on over UDP when nobody waits in a task: connected, on ports that the kernel picks at
//! random, each for a second and so many queries, after which a new one is opened; IDs and the case of names are random
//! (RFC 5452). What comes back is matched to what was sent, and told to `direct`.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::sync::oneshot;
use tokio::time::sleep_until;

use super::{Row, now};
use crate::net::{LONGEST_DATAGRAM, receive, send_connected};
use crate::resolve::upstream::Random;
use crate::resolve::wire::{HEADER, TYPE_AND_CLASS};

/// How long queries are sent on one socket.
const IN_USE: Duration = Duration::from_secs(1);
/// How many.
const QUERIES: usize = 4096;
/// Queries of one socket that have no answer yet.
const MAX_PENDING: usize = 8192;
/// How often it is looked whether something has had its time, at least.
const TICK: Duration = Duration::from_millis(20);
/// How often it is tried to find an ID that is free.
const TRIES: usize = 8;
/// Octets of randomness that a query takes at most: an ID, and a bit for each octet of its name.
const RANDOM: usize = 2 + 256 / 8;

/// What a server said to a query that cannot be used as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::resolve) enum Said {
    /// This, its question in lower case.
    Message(Vec<u8>),
    /// That it is too long for UDP.
    Truncated,
    /// Something with the name in another case.
    OtherCase,
}

/// What has become of a query.
pub(super) enum Outcome<'m> {
    /// NOERROR or NXDOMAIN, whole, its question in lower case.
    Answer(&'m [u8]),
    /// Something else.
    Said(Said),
    /// Nothing in time; what comes still comes here.
    Silence(oneshot::Receiver<Said>),
    /// It could not be sent, or nobody listens.
    Lost,
}

/// The sockets of one server.
#[derive(Debug)]
pub(in crate::resolve) struct Lines {
    server: SocketAddr,
    disguise: bool,
    current: Mutex<Option<Arc<Line>>>,
}

#[derive(Debug)]
struct Line {
    socket: UdpSocket,
    opened: Instant,
    disguise: bool,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    pending: HashMap<u16, Pending>,
    /// In the order in which they were sent, and have their time.
    order: VecDeque<(u16, Instant)>,
    /// Likewise those that have gone the long way.
    late: VecDeque<(u16, Instant)>,
    sent: usize,
    /// Nobody listens any more.
    closed: bool,
}

#[derive(Debug)]
struct Pending {
    /// Header and question as they went out.
    sent: Box<[u8]>,
    row: Arc<Row>,
    until: Instant,
    /// Who has gone on with it the long way.
    late: Option<oneshot::Sender<Said>>,
}

impl Lines {
    /// No socket yet.
    pub(in crate::resolve) fn new(server: SocketAddr, disguise: bool) -> Self {
        Self {
            server,
            disguise,
            current: Mutex::new(None),
        }
    }

    /// Sends the questions of these rows, each to be answered in its time. Those that cannot be sent are told so.
    pub(super) fn send(&self, rows: &[Arc<Row>]) {
        for rows in rows.chunks(QUERIES / 8) {
            let line = match self.line() {
                Ok(line) => line,
                Err(error) => {
                    tracing::debug!(server = %self.server, %error, "no socket for a query");
                    rows.iter().for_each(|row| row.told(Outcome::Lost));
                    continue;
                }
            };
            line.send(rows);
        }
    }

    /// The socket in use, or a new one.
    fn line(&self) -> io::Result<Arc<Line>> {
        let mut current = lock(&self.current);
        let now = now();
        if let Some(line) = current.as_ref()
            && now < line.opened + IN_USE
            && lock(&line.table).sent < QUERIES
        {
            return Ok(Arc::clone(line));
        }
        let local = match self.server {
            SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
        let socket = std::net::UdpSocket::bind(SocketAddr::new(local, 0))?;
        socket.connect(self.server)?;
        socket.set_nonblocking(true)?;
        let line = Arc::new(Line {
            socket: UdpSocket::from_std(socket)?,
            opened: now,
            disguise: self.disguise,
            table: Mutex::default(),
        });
        tokio::spawn(Arc::clone(&line).listen());
        *current = Some(Arc::clone(&line));
        Ok(line)
    }
}

impl Line {
    fn send(&self, rows: &[Arc<Row>]) {
        let mut out = Vec::with_capacity(rows.len() * 64);
        let mut sent: Vec<(u16, usize)> = Vec::with_capacity(rows.len());
        let mut refused = Vec::new();
        let mut random = vec![0; RANDOM * rows.len()];
        let filled = Random.fill(&mut random).is_ok();
        let mut table = lock(&self.table);
        for (row, random) in rows.iter().zip(random.chunks_exact(RANDOM)) {
            let begin = out.len();
            let wanted = filled && !table.closed && table.pending.len() < MAX_PENDING;
            let placed = wanted
                .then(|| table.place(row, random, self.disguise, &mut out))
                .flatten();
            match placed {
                Some(id) => sent.push((id, out.len())),
                None => {
                    out.truncate(begin);
                    refused.push(row);
                }
            }
        }
        table.sent += sent.len();
        drop(table);
        let mut begin = 0;
        let messages: Vec<&[u8]> = sent
            .iter()
            .map(|(_, end)| {
                let message = out.get(begin..*end).unwrap_or_default();
                begin = *end;
                message
            })
            .collect();
        let count = send_connected(&self.socket, &messages).unwrap_or(0);
        if count < sent.len() {
            let mut table = lock(&self.table);
            let lost: Vec<Pending> = sent
                .iter()
                .skip(count)
                .filter_map(|(id, _)| table.pending.remove(id))
                .collect();
            drop(table);
            lost.iter().for_each(|lost| lost.row.told(Outcome::Lost));
        }
        refused.iter().for_each(|row| row.told(Outcome::Lost));
    }

    /// Reads what comes, until the socket has been out of use for as long as anything is waited for.
    async fn listen(self: Arc<Self>) {
        let mut end = self.opened + IN_USE;
        loop {
            // What is sent meanwhile may have to be given up sooner, and does not wake this.
            let look = now() + TICK;
            let wake = lock(&self.table).next().unwrap_or(end).min(look);
            let ready = tokio::select! {
                biased;
                ready = self.socket.ready(Interest::READABLE | Interest::ERROR) => Some(ready),
                () = sleep_until(wake.into()) => None,
            };
            match ready {
                Some(Ok(ready)) => self.receive(ready.is_error()),
                Some(Err(_)) => break,
                None => {}
            }
            let now = now();
            let late = lock(&self.table).late(now);
            for (row, said) in late {
                row.told(Outcome::Silence(said));
            }
            super::flush();
            if now >= end {
                let mut table = lock(&self.table);
                match table.next() {
                    Some(next) => end = next,
                    None => {
                        table.closed = true;
                        return;
                    }
                }
            }
        }
        self.lose_all(true);
        super::flush();
    }

    /// Tells all that is waited for that it will not come.
    fn lose_all(&self, closed: bool) {
        let mut table = lock(&self.table);
        table.closed |= closed;
        let all: Vec<Pending> = table.pending.drain().map(|(_, it)| it).collect();
        drop(table);
        all.iter().for_each(|lost| lost.row.told(Outcome::Lost));
    }

    fn receive(&self, error: bool) {
        let mut broken = false;
        let received = self.socket.try_io(Interest::READABLE, || {
            let more = receive(&self.socket, |reply| self.take(reply))?;
            more.then_some(())
                .ok_or_else(|| io::ErrorKind::WouldBlock.into())
        });
        if let Err(error) = received
            && error.kind() != io::ErrorKind::WouldBlock
        {
            broken = true;
        }
        // What the network says of a datagram makes no socket readable.
        if error && let Ok(Some(_)) = self.socket.take_error() {
            broken = true;
        }
        if error {
            // Taken note of, so that it wakes us only once.
            let _seen: io::Result<()> = self
                .socket
                .try_io(Interest::ERROR, || Err(io::ErrorKind::WouldBlock.into()));
        }
        if broken {
            self.lose_all(false);
        }
    }

    /// Takes a datagram for what it is.
    fn take(&self, reply: &[u8]) {
        let Some([id0, id1, ..]) = reply.first_chunk::<HEADER>() else {
            return;
        };
        let id = u16::from_be_bytes([*id0, *id1]);
        let mut table = lock(&self.table);
        let Entry::Occupied(pending) = table.pending.entry(id) else {
            return;
        };
        let Some(judged) = judge(&pending.get().sent, reply, self.disguise) else {
            return;
        };
        let Pending { row, late, .. } = pending.remove();
        drop(table);
        let mut octets = reply.to_vec();
        if matches!(judged, Judged::Answer | Judged::Said) {
            undisguise(&mut octets, row.question());
        }
        let said = match judged {
            Judged::Truncated => Said::Truncated,
            Judged::OtherCase => Said::OtherCase,
            Judged::Answer | Judged::Said | Judged::Bare => Said::Message(octets),
        };
        match (late, judged, said) {
            (Some(late), _, said) => {
                // It may have its answer from elsewhere.
                late.send(said).ok();
            }
            (None, Judged::Answer, Said::Message(octets)) => row.told(Outcome::Answer(&octets)),
            (None, _, said) => row.told(Outcome::Said(said)),
        }
    }
}

impl Table {
    /// Writes the query of a row and notes that it is asked; `None` where no ID is free.
    fn place(
        &mut self,
        row: &Arc<Row>,
        random: &[u8],
        disguise: bool,
        out: &mut Vec<u8>,
    ) -> Option<u16> {
        let ([id0, id1], bits) = random.split_first_chunk::<2>()?;
        let mut id = u16::from_be_bytes([*id0, *id1]);
        // The next free one: who watches the network sees them anyway, and nobody else knows which are taken.
        let free = (0..TRIES).find(|_| {
            let free = !self.pending.contains_key(&id);
            id = if free { id } else { id.wrapping_add(1) };
            free
        });
        free?;
        let begin = out.len();
        out.extend(id.to_be_bytes());
        out.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 1]);
        let question = row.question();
        out.extend_from_slice(question);
        let name = question.len().checked_sub(TYPE_AND_CLASS)?;
        if disguise {
            let name = out.get_mut(begin + HEADER..begin + HEADER + name)?;
            for (at, octet) in name.iter_mut().enumerate() {
                // The octets of length are below any letter.
                let bit = bits
                    .get(at / 8)
                    .is_some_and(|bits| bits >> (at % 8) & 1 == 1);
                if bit && octet.is_ascii_alphabetic() {
                    octet.make_ascii_uppercase();
                }
            }
        }
        let sent = out.get(begin..)?.into();
        let [size0, size1] = super::UDP_PAYLOAD.to_be_bytes();
        out.extend([0, 0, 41, size0, size1, 0, 0, 0, 0, 0, 0]);
        let pending = Pending {
            sent,
            row: Arc::clone(row),
            until: row.until(),
            late: None,
        };
        self.order.push_back((id, pending.until));
        self.pending.insert(id, pending);
        Some(id)
    }

    /// When the next one has had its time.
    fn next(&mut self) -> Option<Instant> {
        let one = first(&mut self.order, &self.pending).map(|(_, until)| until);
        let other = first(&mut self.late, &self.pending).map(|(_, until)| until);
        match (one, other) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        }
    }

    /// Those that have had theirs, each with what may be said to it still: it is listened for as long as the long way takes.
    fn late(&mut self, now: Instant) -> Vec<(Arc<Row>, oneshot::Receiver<Said>)> {
        let due = |it: &(u16, Instant)| it.1 <= now;
        while let Some((id, _)) = first(&mut self.late, &self.pending).filter(due) {
            self.pending.remove(&id);
        }
        let mut late = Vec::new();
        while let Some((id, _)) = first(&mut self.order, &self.pending).filter(due) {
            self.order.pop_front();
            let Some(pending) = self.pending.get_mut(&id) else {
                continue;
            };
            let (teller, said) = oneshot::channel();
            pending.late = Some(teller);
            pending.until = pending.row.end().max(now + TICK);
            self.late.push_back((id, pending.until));
            late.push((Arc::clone(&pending.row), said));
        }
        late
    }
}

/// The first of a queue that is waited for still.
fn first(
    queue: &mut VecDeque<(u16, Instant)>,
    pending: &HashMap<u16, Pending>,
) -> Option<(u16, Instant)> {
    while let Some(&(id, until)) = queue.front() {
        if pending.get(&id).is_some_and(|it| it.until == until) {
            return Some((id, until));
        }
        queue.pop_front();
    }
    None
}

enum Judged {
    /// NOERROR or NXDOMAIN to this very question.
    Answer,
    /// Another code to it.
    Said,
    /// Another code, and no question.
    Bare,
    Truncated,
    OtherCase,
}

/// What a datagram is to the query of its ID; `None`: nothing (RFC 5452 section 9).
fn judge(sent: &[u8], reply: &[u8], disguise: bool) -> Option<Judged> {
    let [_, _, high, low, count0, count1, ..] = *reply.first_chunk::<HEADER>()?;
    // A response, to a query.
    if high & 0xf8 != 0x80 {
        return None;
    }
    let failed = !matches!(low & 0x0f, 0 | 3);
    let asked = sent.get(HEADER..)?;
    let told = reply.get(HEADER..HEADER + asked.len());
    let is_name = asked.len().checked_sub(TYPE_AND_CLASS)?;
    let other_case = || {
        told.is_some_and(|told| {
            let (asked, told) = (asked.split_at(is_name), told.split_at(is_name));
            asked.1 == told.1 && asked.0.eq_ignore_ascii_case(told.0)
        })
    };
    match u16::from_be_bytes([count0, count1]) {
        // A server that could not read the query, such as one older than EDNS, repeats nothing of it.
        0 if failed && high & 0x02 == 0 => return Some(Judged::Bare),
        1 if told == Some(asked) => {}
        1 if other_case() && disguise => return Some(Judged::OtherCase),
        1 if other_case() => {}
        _ => return None,
    }
    // What has the longest length was longer.
    let cut = high & 0x02 != 0 || reply.len() >= LONGEST_DATAGRAM;
    Some(match (cut, failed) {
        (true, _) => Judged::Truncated,
        (false, true) => Judged::Said,
        (false, false) => Judged::Answer,
    })
}

/// Puts the question in lower case: names in the records that are compressed point into it.
fn undisguise(reply: &mut [u8], question: &[u8]) {
    if let Some(told) = reply.get_mut(HEADER..HEADER + question.len()) {
        told.copy_from_slice(question);
    }
}

/// Every change is complete before anything can panic.
fn lock<T>(held: &Mutex<T>) -> MutexGuard<'_, T> {
    held.lock().unwrap_or_else(PoisonError::into_inner)
}
