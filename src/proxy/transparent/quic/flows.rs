//! PURE. Which flow a datagram of a client belongs to: the table of all flows of a listener.
//!
//! A flow is one QUIC connection. It is known by the path that its client's datagrams come by, and by the connection IDs
//! that those name as their destination (RFC 9000 section 5.2): the one that the client made up, and those that the server
//! chose in long headers. Later ones are encrypted, so a path is all there is then. Asked by the listener beside it.
//!
//! A client makes its ID up anew for every connection (section 7.2), so an Initial packet that repeats one is sent again, and
//! belongs to the flow that has it, however silent that is. Unless its own ID is another one: that cannot change within a
//! connection, so the client has begun a new one, which the flow of a connection that is over must not swallow.

mod ids;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use self::ids::{Id, Ids};
use super::super::super::sniff::quic::packet::{Long, negotiate};

/// How many IDs of a flow are remembered: its client's, that of a Retry, that of the server, and one to spare.
const MOST_IDS: usize = 4;

/// Where datagrams come from, and where they came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Path {
    /// The client.
    pub(super) client: SocketAddr,
    /// The address that it knows us by, where the system says.
    pub(super) local: Option<IpAddr>,
}

/// The number of a flow; never used twice.
pub(super) type Key = u64;

/// Whose a datagram is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// Of this flow.
    Flow(Key),
    /// Of a flow that it begins.
    New,
    /// Of a client that speaks another version, which is to be told ours by this datagram.
    Negotiate(Vec<u8>),
    /// Of nobody that we know.
    Stray,
}

/// Why there is no room for a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Full {
    /// There are as many as there may be.
    All,
    /// The client has as many as it may have.
    Client,
}

#[derive(Debug)]
struct Flow<T> {
    value: T,
    path: Path,
    /// Where datagrams came from last that are probably its, and nothing from `path` since.
    candidate: Option<Path>,
    ids: Vec<Id>,
    /// What its first packet named: the ID made up for the server, while it is this flow's, and the client's own.
    made: Option<(Id, Id)>,
}

/// The flows of a listener.
#[derive(Debug)]
pub(super) struct Flows<T> {
    flows: HashMap<Key, Flow<T>>,
    /// Not empty, the newest last.
    paths: HashMap<Path, Vec<Key>>,
    clients: HashMap<IpAddr, Vec<Key>>,
    ids: Ids,
    next: Key,
}

impl<T> Default for Flows<T> {
    fn default() -> Self {
        Self {
            flows: HashMap::new(),
            paths: HashMap::new(),
            clients: HashMap::new(),
            ids: Ids::default(),
            next: 0,
        }
    }
}

impl<T> Flows<T> {
    /// Whose this datagram is. A flow whose client goes on from another port moves there.
    pub(super) fn find(&mut self, path: Path, datagram: &[u8]) -> Found {
        let here = self.paths.get(&path).map_or(&[][..], Vec::as_slice);
        let client = path.client.ip();
        let Some(long) = Long::read(datagram) else {
            if let [only] = here {
                return self.stay(*only);
            }
            if let Some(key) = self.ids.find_by_short_header(client, datagram) {
                return self.go(key, path);
            }
            if let Some(newest) = here.last() {
                return self.stay(*newest);
            }
            // A client that leaves a path by its own choice takes an ID that we have not seen (RFC 9000 section 9.5).
            let own = self.clients.get(&client).map_or(&[][..], Vec::as_slice);
            return match own {
                [only] => self.maybe(*only, path),
                _ => Found::Stray,
            };
        };
        let known = self.ids.find(client, long.destination);
        let begins = long.begins(datagram.len());
        match (known, here) {
            (Some(key), _) if begins && self.is_taken_anew(key, &long) => Found::New,
            (Some(key), _) => self.go(key, path),
            (None, _) if begins => Found::New,
            // Of a connection that has not begun: the flow beside it leads to another origin.
            (None, [_, ..]) if long.is_early() => Found::Stray,
            (None, [.., newest]) => self.stay(*newest),
            (None, []) => negotiate(datagram).map_or(Found::Stray, Found::Negotiate),
        }
    }

    /// Takes up a flow that begins with this datagram, for which [`Flows::find`] said [`Found::New`].
    pub(super) fn insert(
        &mut self,
        path: Path,
        datagram: &[u8],
        (most, most_per_client): (usize, usize),
        value: impl FnOnce(Key) -> T,
    ) -> Result<Key, Full> {
        let client = path.client.ip();
        if self.flows.len() >= most {
            return Err(Full::All);
        }
        if self.clients.get(&client).map_or(0, Vec::len) >= most_per_client {
            return Err(Full::Client);
        }
        let key = self.next;
        self.next += 1;
        let flow = Flow {
            value: value(key),
            path,
            candidate: None,
            ids: Vec::with_capacity(MOST_IDS),
            made: Long::read(datagram)
                .and_then(|long| Id::new(long.destination).zip(Id::new(long.source))),
        };
        self.flows.insert(key, flow);
        self.paths.entry(path).or_default().push(key);
        self.clients.entry(client).or_default().push(key);
        if let Some(long) = Long::read(datagram) {
            self.unname(client, long.destination);
            self.name(key, long.destination);
        }
        Ok(key)
    }

    /// Learns from a datagram of the server by which ID the client will name it.
    pub(super) fn learn(&mut self, key: Key, datagram: &[u8]) {
        if let Some(long) = Long::read(datagram) {
            self.name(key, long.source);
        }
    }

    /// Forgets a flow.
    pub(super) fn remove(&mut self, key: Key) -> Option<T> {
        let flow = self.flows.remove(&key)?;
        self.leave(key, flow.path);
        let client = flow.path.client.ip();
        take_out(&mut self.clients, &client, key);
        for id in flow.ids {
            self.ids.take(client, id);
        }
        Some(flow.value)
    }

    /// What was put in for a flow.
    pub(super) fn value(&self, key: Key) -> Option<&T> {
        self.flows.get(&key).map(|flow| &flow.value)
    }

    /// Where a flow's client is now.
    pub(super) fn path(&self, key: Key) -> Option<Path> {
        self.flows.get(&key).map(|flow| flow.path)
    }

    /// Whether the client makes up again the ID by which this flow began, for another connection.
    fn is_taken_anew(&self, key: Key, long: &Long<'_>) -> bool {
        let made = self.flows.get(&key).and_then(|flow| flow.made);
        made.is_some_and(|(destination, source)| {
            Id::new(long.destination) == Some(destination) && Id::new(long.source) != Some(source)
        })
    }

    /// Takes an ID away from whoever has it.
    fn unname(&mut self, client: IpAddr, id: &[u8]) {
        let Some(id) = Id::new(id) else { return };
        let Some(key) = self.ids.take(client, id) else {
            return;
        };
        if let Some(flow) = self.flows.get_mut(&key) {
            flow.ids.retain(|other| *other != id);
            flow.made = None;
        }
    }

    fn name(&mut self, key: Key, id: &[u8]) {
        let (Some(flow), Some(id)) = (self.flows.get_mut(&key), Id::new(id)) else {
            return;
        };
        if id.is_empty() || flow.ids.len() == MOST_IDS || flow.ids.contains(&id) {
            return;
        }
        if self.ids.give(flow.path.client.ip(), id, key) {
            flow.ids.push(id);
        }
    }

    /// A datagram by the path that was known.
    fn stay(&mut self, key: Key) -> Found {
        if let Some(flow) = self.flows.get_mut(&key) {
            flow.candidate = None;
        }
        Found::Flow(key)
    }

    /// A datagram that is surely of this flow, from wherever it comes.
    fn go(&mut self, key: Key, path: Path) -> Found {
        let Some(flow) = self.flows.get_mut(&key) else {
            return Found::Stray;
        };
        flow.candidate = None;
        if flow.path != path {
            let old = std::mem::replace(&mut flow.path, path);
            self.leave(key, old);
            self.paths.entry(path).or_default().push(key);
        }
        Found::Flow(key)
    }

    /// A datagram that may be of this flow: what it says goes to the server, but answers follow only after a second one,
    /// and only if the client is silent where it was. A flow that is alive is thus not led astray by the last words of
    /// one that is forgotten.
    fn maybe(&mut self, key: Key, path: Path) -> Found {
        match self.flows.get_mut(&key) {
            Some(flow) if flow.candidate == Some(path) => self.go(key, path),
            Some(flow) => {
                flow.candidate = Some(path);
                Found::Flow(key)
            }
            None => Found::Stray,
        }
    }

    fn leave(&mut self, key: Key, path: Path) {
        take_out(&mut self.paths, &path, key);
    }
}

fn take_out<K: std::hash::Hash + Eq>(map: &mut HashMap<K, Vec<Key>>, at: &K, key: Key) {
    if let Some(keys) = map.get_mut(at) {
        keys.retain(|other| *other != key);
        if keys.is_empty() {
            map.remove(at);
        }
    }
}
