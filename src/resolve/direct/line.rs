//! The sockets that servers are asked on over UDP when nobody waits in a task: connected, on ports that the kernel picks at
//! random, each for a second and so many queries, after which a new one is opened; IDs and the case of names are random
//! (RFC 5452). What comes back is matched to what was sent, and told to `direct`. They belong to one thread, which waits for
//! them together with what it listens on.

use std::cmp::Reverse;
use std::collections::hash_map::Entry;
use std::collections::{BinaryHeap, HashMap};
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::sync::oneshot;

use super::{Row, now};
use crate::net::{LONGEST_DATAGRAM, connect_udp, receive, send_connected};
use crate::resolve::upstream::Random;
use crate::resolve::wire::{HEADER, TYPE_AND_CLASS};

/// How long queries are sent on one socket.
const IN_USE: Duration = Duration::from_secs(1);
/// How many.
const QUERIES: usize = 4096;
/// How many answers are waited for on one socket, some more where a batch goes beyond it: as many as the kernel keeps for
/// it while this thread is not looking.
const PENDING: usize = 256;
/// After how much that is no answer to any query on a socket, no more is asked on it: somebody may be guessing.
const STRAYS: usize = 64;
/// Sockets of one thread. Where more would be wanted, since servers leave much unanswered, the long way is gone.
const MAX_LINES: usize = 64;
/// How long a late answer is listened for, at least.
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

/// A server that is asked so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::resolve) struct Peer {
    /// Where it is.
    pub(in crate::resolve) server: SocketAddr,
    /// Whether the case of names is random.
    pub(in crate::resolve) disguise: bool,
}

/// The sockets of one thread.
#[derive(Debug, Default)]
pub struct Lines(Vec<Line>);

#[derive(Debug)]
struct Line {
    peer: Peer,
    socket: UdpSocket,
    opened: Instant,
    table: Table,
}

/// What is waited for on one socket.
#[derive(Debug, Default)]
struct Table {
    pending: HashMap<u16, Pending>,
    /// When they have had their time, the soonest first: not all have as long. Those that are answered may be in it still.
    due: BinaryHeap<Reverse<(Instant, u16)>>,
    sent: usize,
    /// What came that was no answer to any of them.
    strays: usize,
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
    /// Whether no answer is waited for.
    pub fn is_idle(&self) -> bool {
        self.0.iter().all(|line| line.table.pending.is_empty())
    }

    /// Whether an answer is waited for that is not late yet.
    pub fn are_in_time(&self) -> bool {
        let mut pending = self.0.iter().flat_map(|line| line.table.pending.values());
        pending.any(|it| it.late.is_none())
    }

    /// Waits until answers have come, or something has had its time, or `listener` has something to read, but no longer than
    /// this, and tells those who wait. Says whether `listener` has something.
    ///
    /// # Errors
    ///
    /// What the system says where it cannot wait.
    pub fn attend(&mut self, listener: Option<&UdpSocket>, longest: Duration) -> io::Result<bool> {
        let before = now();
        let next = self.0.iter_mut().filter_map(|line| line.table.next()).min();
        let left = next.map_or(longest, |(next, _)| next.saturating_duration_since(before));
        let ready = self.ready(listener, left.min(longest))?;
        let lines = ready.iter().skip(usize::from(listener.is_some()));
        for (line, flags) in self.0.iter_mut().zip(lines) {
            if !flags.is_empty() {
                line.receive(flags.contains(PollFlags::ERR));
            }
        }
        let now = now();
        for line in &mut self.0 {
            for (row, said) in line.table.late(now) {
                row.told(Outcome::Silence(said));
            }
        }
        self.close_old(now);
        super::flush();
        let come = listener.and_then(|_| ready.first());
        Ok(come.is_some_and(|flags| !flags.is_empty()))
    }

    /// What has come: on the listener, and on each socket.
    fn ready(&self, listener: Option<&UdpSocket>, longest: Duration) -> io::Result<Vec<PollFlags>> {
        let mut places: Vec<PollFd<'_>> = listener
            .into_iter()
            .chain(self.0.iter().map(|line| &line.socket))
            .map(|socket| PollFd::new(socket, PollFlags::IN))
            .collect();
        let longest = Timespec::try_from(longest).ok();
        poll(&mut places, longest.as_ref())?;
        Ok(places.iter().map(PollFd::revents).collect())
    }

    /// Sends the questions of these rows, each to be answered in its time. Those that cannot be sent are told so.
    pub(super) fn send(&mut self, peer: Peer, rows: &[Arc<Row>]) {
        for rows in rows.chunks(PENDING / 4) {
            match self.line(peer) {
                Ok(line) => line.send(rows),
                Err(error) => {
                    tracing::debug!(server = %peer.server, %error, "no socket for a query");
                    rows.iter().for_each(|row| row.told(Outcome::Lost));
                }
            }
        }
    }

    /// The socket in use, or a new one.
    fn line(&mut self, peer: Peer) -> io::Result<&mut Line> {
        let now = now();
        let in_use = |line: &Line| {
            line.peer == peer && line.is_in_use(now) && line.table.pending.len() < PENDING
        };
        if let Some(at) = self.0.iter().position(in_use) {
            return self.0.get_mut(at).ok_or_else(too_many);
        }
        self.close_old(now);
        if self.0.len() >= MAX_LINES {
            return Err(too_many());
        }
        self.0.push(Line {
            peer,
            socket: connect_udp(peer.server)?,
            opened: now,
            table: Table::default(),
        });
        self.0.last_mut().ok_or_else(too_many)
    }

    /// Closes what is out of use and has nothing to wait for.
    fn close_old(&mut self, now: Instant) {
        self.0
            .retain(|line| line.is_in_use(now) || !line.table.pending.is_empty());
    }
}

fn too_many() -> io::Error {
    io::Error::other("too many sockets wait for answers")
}

impl Line {
    fn is_in_use(&self, now: Instant) -> bool {
        now < self.opened + IN_USE && self.table.sent < QUERIES && self.table.strays < STRAYS
    }

    fn send(&mut self, rows: &[Arc<Row>]) {
        let mut out = Vec::with_capacity(rows.len() * 64);
        let mut sent: Vec<(u16, usize)> = Vec::with_capacity(rows.len());
        let mut refused = Vec::new();
        let mut random = vec![0; RANDOM * rows.len()];
        let filled = Random.fill(&mut random).is_ok();
        for (row, random) in rows.iter().zip(random.chunks_exact(RANDOM)) {
            let begin = out.len();
            let placed = filled
                .then(|| self.table.place(row, random, self.peer.disguise, &mut out))
                .flatten();
            match placed {
                Some(id) => sent.push((id, out.len())),
                None => {
                    out.truncate(begin);
                    refused.push(row);
                }
            }
        }
        self.table.sent += sent.len();
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
        for (id, _) in sent.iter().skip(count) {
            if let Some(lost) = self.table.pending.remove(id) {
                lost.row.told(Outcome::Lost);
            }
        }
        refused.iter().for_each(|row| row.told(Outcome::Lost));
    }

    /// Reads what has come; where that is an error, nobody listens there, and all that is waited for and did not come before
    /// is told so.
    fn receive(&mut self, error: bool) {
        let Self {
            peer,
            socket,
            table,
            ..
        } = self;
        let mut read = || {
            receive(socket, |reply| {
                if table.take(reply, peer.disguise).is_none() {
                    table.strays += 1;
                }
            })
        };
        let failed = read().is_err_and(|error| error.kind() != io::ErrorKind::WouldBlock);
        // What the network says of a datagram makes no socket readable, and is told before what has come.
        if failed || error && matches!(socket.take_error(), Ok(Some(_))) {
            let _more: io::Result<bool> = read();
            table.lose();
        }
    }
}

impl Table {
    /// Takes a datagram for what it is; `None` where it is nothing to any query.
    fn take(&mut self, reply: &[u8], disguise: bool) -> Option<()> {
        let [id0, id1, ..] = reply.first_chunk::<HEADER>()?;
        let id = u16::from_be_bytes([*id0, *id1]);
        let Entry::Occupied(pending) = self.pending.entry(id) else {
            return None;
        };
        let judged = judge(&pending.get().sent, reply, disguise)?;
        let Pending { row, late, .. } = pending.remove();
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
        Some(())
    }

    /// Tells all who wait that nothing will come.
    fn lose(&mut self) {
        for (_, lost) in self.pending.drain() {
            lost.row.told(Outcome::Lost);
        }
    }

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
        self.due.push(Reverse((pending.until, id)));
        self.pending.insert(id, pending);
        Some(id)
    }

    /// When the next one has had its time, and its ID.
    fn next(&mut self) -> Option<(Instant, u16)> {
        while let Some(&Reverse((until, id))) = self.due.peek() {
            if self.pending.get(&id).is_some_and(|it| it.until == until) {
                return Some((until, id));
            }
            self.due.pop();
        }
        None
    }

    /// Those that have had theirs, each with what may be said to it still: it is listened for as long as the long way takes.
    fn late(&mut self, now: Instant) -> Vec<(Arc<Row>, oneshot::Receiver<Said>)> {
        let mut late = Vec::new();
        while let Some((_, id)) = self.next().filter(|(until, _)| *until <= now) {
            self.due.pop();
            let Entry::Occupied(mut pending) = self.pending.entry(id) else {
                continue;
            };
            if pending.get().late.is_some() {
                pending.remove();
                continue;
            }
            let (teller, said) = oneshot::channel();
            let pending = pending.get_mut();
            pending.late = Some(teller);
            pending.until = pending.row.end().max(now + TICK);
            self.due.push(Reverse((pending.until, id)));
            late.push((Arc::clone(&pending.row), said));
        }
        late
    }
}

/// Whoever still waits is told.
impl Drop for Lines {
    fn drop(&mut self) {
        for line in &mut self.0 {
            line.table.lose();
        }
        super::flush();
    }
}

enum Judged {
    /// NOERROR or NXDOMAIN to this very question.
    Answer,
    /// Another code to it.
    Said,
    /// That the query could not be read, and no question.
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
    let code = low & 0x0f;
    let failed = !matches!(code, 0 | 3);
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
        // A server that could not read the query, such as one older than EDNS, repeats nothing of it (FORMERR, NOTIMP).
        // Nothing else is taken by its ID alone on a port that many queries share.
        0 if matches!(code, 1 | 4) && high & 0x02 == 0 => return Some(Judged::Bare),
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
