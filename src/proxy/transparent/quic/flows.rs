//! PURE. Which flow a datagram of a client belongs to: the table of all flows of a listener.
//!
//! A flow is one QUIC connection. It is known by the path that its client's datagrams come by, and by the connection IDs
//! that those name as their destination (RFC 9000 section 5.2): the one that the client made up, and those that the server
//! chose in long headers. Later ones are encrypted, so a path is all there is then. Asked by the listener beside it.
//!
//! A client makes its ID up anew for every connection (section 7.2), so an Initial packet that repeats one is sent again, and
//! belongs to the flow that has it, however silent that is. Unless its own ID is another one: that cannot change within a
//! connection, so the client has begun a new one, which the flow of a connection that is over must not swallow.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use super::super::super::sniff::quic::packet::{LONGEST_ID, Long, negotiate};

/// How many IDs of a flow are remembered: its client's, that of a Retry, that of the server, and one to spare.
const MOST_IDS: usize = 4;

/// An ID this short is no proof that a datagram from elsewhere is of the same connection.
const SHORTEST_PROOF: usize = 4;

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

/// A connection ID, with what is not used at zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Id {
    bytes: [u8; LONGEST_ID],
    length: usize,
}

impl Id {
    fn new(id: &[u8]) -> Option<Self> {
        let mut bytes = [0; LONGEST_ID];
        bytes.get_mut(..id.len())?.copy_from_slice(id);
        Some(Self {
            bytes,
            length: id.len(),
        })
    }
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
    /// Of one client each: nobody gets at a flow by the IDs of another one's.
    ids: HashMap<(IpAddr, Id), Key>,
    /// How many IDs there are of each length.
    lengths: [usize; LONGEST_ID + 1],
    next: Key,
}

impl<T> Default for Flows<T> {
    fn default() -> Self {
        Self {
            flows: HashMap::new(),
            paths: HashMap::new(),
            clients: HashMap::new(),
            ids: HashMap::new(),
            lengths: [0; LONGEST_ID + 1],
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
            if let Some(key) = self.by_short_header(client, datagram) {
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
        let known = Id::new(long.destination).and_then(|id| self.ids.get(&(client, id)));
        let begins = long.begins(datagram.len());
        match (known, here) {
            (Some(key), _) if begins && self.is_taken_anew(*key, &long) => Found::New,
            (Some(key), _) => self.go(*key, path),
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
            self.ids.remove(&(client, id));
            if let Some(count) = self.lengths.get_mut(id.length) {
                *count -= 1;
            }
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
        let Some(key) = self.ids.remove(&(client, id)) else {
            return;
        };
        if let Some(flow) = self.flows.get_mut(&key) {
            flow.ids.retain(|other| *other != id);
            flow.made = None;
        }
        if let Some(count) = self.lengths.get_mut(id.length) {
            *count -= 1;
        }
    }

    fn name(&mut self, key: Key, id: &[u8]) {
        let (Some(flow), Some(id)) = (self.flows.get_mut(&key), Id::new(id)) else {
            return;
        };
        if id.length == 0 || flow.ids.len() == MOST_IDS || flow.ids.contains(&id) {
            return;
        }
        let at = (flow.path.client.ip(), id);
        // Whoever has it keeps it.
        if self.ids.contains_key(&at) {
            return;
        }
        self.ids.insert(at, key);
        flow.ids.push(id);
        if let Some(count) = self.lengths.get_mut(id.length) {
            *count += 1;
        }
    }

    /// A short header does not say how long its ID is (RFC 9000 section 17.3.1): the longest that fits.
    fn by_short_header(&self, client: IpAddr, datagram: &[u8]) -> Option<Key> {
        let behind = datagram.get(1..)?;
        (SHORTEST_PROOF..=LONGEST_ID)
            .rev()
            .filter(|length| self.lengths.get(*length).is_some_and(|count| *count > 0))
            .filter_map(|length| Id::new(behind.get(..length)?))
            .find_map(|id| self.ids.get(&(client, id)).copied())
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

#[cfg(test)]
mod tests {
    use super::super::super::super::sniff::quic::client_initial;
    use super::super::super::super::sniff::quic::packet::Version;
    use super::*;

    const LIMITS: (usize, usize) = (5, 3);

    fn path(client: &str) -> Path {
        Path {
            client: client.parse().unwrap(),
            local: Some([192, 168, 1, 2].into()),
        }
    }

    fn initial(made: &[u8]) -> Vec<u8> {
        client_initial(made, Version::V1, made, b"client", 0, &[1], 1200).unwrap()
    }

    /// An answer of a server, or a later packet of a client.
    fn handshake(destination: &[u8], source: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0xe0, 0, 0, 0, 1, u8::try_from(destination.len()).unwrap()];
        bytes.extend(destination);
        bytes.push(u8::try_from(source.len()).unwrap());
        bytes.extend(source);
        bytes.extend([0x40, 20]);
        bytes.extend([0; 20]);
        bytes
    }

    fn short(destination: &[u8]) -> Vec<u8> {
        [&[0x40][..], destination, &[9; 30]].concat()
    }

    fn begun(flows: &mut Flows<Key>, path: Path, made: &[u8]) -> Key {
        let datagram = initial(made);
        assert_eq!(flows.find(path, &datagram), Found::New);
        flows.insert(path, &datagram, LIMITS, |key| key).unwrap()
    }

    #[test]
    fn all_datagrams_of_a_path_with_one_flow_are_its() {
        let mut flows = Flows::default();
        let here = path("192.168.1.9:4000");
        let key = begun(&mut flows, here, b"made by client");
        for datagram in [
            initial(b"made by client"),
            handshake(b"whatever", b"client"),
            short(b"whatever"),
            vec![0x40],
        ] {
            assert_eq!(flows.find(here, &datagram), Found::Flow(key));
        }
        flows.remove(key);
        assert_eq!(flows.find(here, &short(b"whatever")), Found::Stray);
        assert_eq!(flows.find(here, &initial(b"made by client")), Found::New);
    }

    #[test]
    fn a_client_may_have_many_connections_on_one_port() {
        let mut flows = Flows::default();
        let here = path("192.168.1.9:4000");
        let one = begun(&mut flows, here, b"made for one");
        let two = begun(&mut flows, here, b"made for two");
        flows.learn(one, &handshake(b"client", b"server one"));
        flows.learn(two, &handshake(b"client", b"server two, longer"));
        for (datagram, key) in [
            (initial(b"made for one"), one),
            (handshake(b"server one", b"client"), one),
            (short(b"server one"), one),
            (handshake(b"server two, longer", b"client"), two),
            (short(b"server two, longer"), two),
            (short(b"not seen"), two),
        ] {
            assert_eq!(flows.find(here, &datagram), Found::Flow(key));
        }
    }

    #[test]
    fn after_a_retry_the_new_initial_packet_is_of_the_same_flow() {
        let mut flows = Flows::default();
        let here = path("192.168.1.9:4000");
        let key = begun(&mut flows, here, b"made by client");
        let mut retry = handshake(b"client", b"of the retry");
        retry[0] = 0xf0;
        flows.learn(key, &retry);
        assert_eq!(
            flows.find(here, &initial(b"of the retry")),
            Found::Flow(key)
        );
    }

    #[test]
    fn a_flow_follows_its_client_to_another_port_by_its_id() {
        let mut flows = Flows::default();
        let (old, new) = (path("192.168.1.9:4000"), path("192.168.1.9:5000"));
        let key = begun(&mut flows, old, b"made by client");
        begun(&mut flows, path("192.168.1.9:4001"), b"another one");
        flows.learn(key, &handshake(b"client", b"the server"));
        assert_eq!(flows.find(new, &short(b"the server")), Found::Flow(key));
        assert_eq!(flows.path(key), Some(new));
        // Another device does not get at it.
        let other = path("192.168.1.10:4000");
        assert_eq!(flows.find(other, &short(b"the server")), Found::Stray);
        assert_eq!(
            flows.find(other, &handshake(b"the server", b"")),
            Found::Stray
        );
        assert_eq!(flows.path(key), Some(new));
    }

    #[test]
    fn the_only_flow_of_a_client_follows_it_once_it_is_silent_where_it_was() {
        let mut flows = Flows::default();
        let (old, new) = (path("192.168.1.9:4000"), path("192.168.1.9:5000"));
        let key = begun(&mut flows, old, b"made by client");
        // Last words of a flow that is forgotten come between those of the one that lives.
        for _ in 0..3 {
            assert_eq!(flows.find(new, &short(b"unknown")), Found::Flow(key));
            assert_eq!(flows.find(old, &short(b"any")), Found::Flow(key));
            assert_eq!(flows.path(key), Some(old));
        }
        flows.find(new, &short(b"unknown"));
        flows.find(new, &short(b"unknown"));
        assert_eq!(flows.path(key), Some(new));
        // And back.
        flows.find(old, &short(b"unknown"));
        flows.find(old, &short(b"unknown"));
        assert_eq!(flows.path(key), Some(old));
        // With two of them there is no telling.
        begun(&mut flows, path("192.168.1.9:4001"), b"another one");
        assert_eq!(flows.find(new, &short(b"unknown")), Found::Stray);
    }

    #[test]
    fn who_speaks_another_version_is_told_ours_and_one_within_a_flow_is_passed_on() {
        let mut flows = Flows::default();
        let here = path("192.168.1.9:4000");
        let mut other = initial(b"made by client");
        other[4] = 0x1d;
        assert!(matches!(flows.find(here, &other), Found::Negotiate(_)));
        let key = begun(&mut flows, here, b"made by another");
        assert_eq!(flows.find(here, &other), Found::Flow(key));
    }

    #[test]
    fn an_initial_packet_that_repeats_an_id_is_of_its_flow_until_that_is_forgotten() {
        let mut flows = Flows::default();
        let here = path("192.168.1.9:4000");
        let key = begun(&mut flows, here, b"made by client");
        flows.learn(key, &handshake(b"client", b"the server"));
        let again = initial(b"made by client");
        assert_eq!(flows.find(here, &again), Found::Flow(key));
        // Others make up what they like.
        let other = path("192.168.1.10:4000");
        assert_eq!(flows.find(other, &again), Found::New);
        flows.remove(key);
        assert_eq!(flows.find(here, &again), Found::New);
    }

    #[test]
    fn an_id_that_is_made_up_again_for_another_connection_is_its_own() {
        let mut flows = Flows::default();
        let here = path("192.168.1.9:4000");
        let old = begun(&mut flows, here, b"made by client");
        flows.learn(old, &handshake(b"client", b"the server"));
        let made = b"made by client";
        let anew = client_initial(made, Version::V1, made, b"anew", 0, &[1], 1200).unwrap();
        assert_eq!(flows.find(here, &anew), Found::New);
        let new = flows.insert(here, &anew, LIMITS, |key| key).unwrap();
        for _ in 0..2 {
            assert_eq!(flows.find(here, &anew), Found::Flow(new));
            assert_eq!(flows.find(here, &short(b"the server")), Found::Flow(old));
        }
        // A server's ID is not the client's to make up: whatever comes with it is for that server.
        let named = b"the server";
        let odd = client_initial(named, Version::V1, named, b"anew", 0, &[1], 1200).unwrap();
        assert_eq!(flows.find(here, &odd), Found::Flow(old));
        flows.remove(old);
        assert_eq!(flows.find(here, &anew), Found::Flow(new));
        flows.remove(new);
        assert!(flows.paths.is_empty() && flows.clients.is_empty() && flows.ids.is_empty());
        assert_eq!(flows.lengths, [0; LONGEST_ID + 1]);
    }

    #[test]
    fn what_comes_before_the_first_packet_of_a_connection_is_of_no_flow_beside_it() {
        let mut flows = Flows::default();
        let here = path("192.168.1.9:4000");
        let key = begun(&mut flows, here, b"made by client");
        let mut early = handshake(b"of another", b"client");
        early[0] = 0xd0;
        // Shorter than any datagram may be that begins a connection (RFC 9000 section 14.1).
        let made = b"of another";
        let small = client_initial(made, Version::V1, made, b"client", 0, &[1], 1199).unwrap();
        for datagram in [early, small] {
            assert_eq!(flows.find(here, &datagram), Found::Stray);
            let elsewhere = path("192.168.1.9:4001");
            assert_eq!(flows.find(elsewhere, &datagram), Found::Stray);
        }
        let mut early = handshake(b"made by client", b"client");
        early[0] = 0xd0;
        assert_eq!(flows.find(here, &early), Found::Flow(key));
    }

    #[test]
    fn ends_without_an_id_are_told_apart_by_their_path() {
        let mut flows = Flows::default();
        let (here, there) = (path("192.168.1.9:4000"), path("192.168.1.9:4001"));
        let made = b"made by client";
        let first = |made: &[u8]| client_initial(made, Version::V1, made, b"", 0, &[1], 1200);
        let datagram = first(made).unwrap();
        assert_eq!(flows.find(here, &datagram), Found::New);
        let one = flows.insert(here, &datagram, LIMITS, |key| key).unwrap();
        let two = begun(&mut flows, there, b"another one");
        flows.learn(one, &handshake(b"", b""));
        let nameless = client_initial(made, Version::V1, b"", b"", 1, &[1], 1200).unwrap();
        for datagram in [nameless, handshake(b"", b""), short(b"")] {
            assert_eq!(flows.find(here, &datagram), Found::Flow(one));
            assert_eq!(flows.find(there, &datagram), Found::Flow(two));
        }
        // Nothing begins with an ID that is too short to be made up (RFC 9000 section 7.2).
        let third = path("192.168.1.10:4002");
        for made in [&b""[..], b"seven!!"] {
            let datagram = first(made).unwrap();
            assert_eq!(flows.find(third, &datagram), Found::Stray);
        }
    }

    #[test]
    fn at_the_limits_no_flow_is_taken_up_and_one_that_ends_makes_room() {
        let mut flows = Flows::default();
        let here = path("192.168.1.9:4000");
        let made = |n: u8| [n; 8];
        let first = begun(&mut flows, here, &made(1));
        begun(&mut flows, here, &made(2));
        begun(&mut flows, here, &made(3));
        let more = |flows: &mut Flows<Key>, client, n| {
            flows.insert(path(client), &initial(&made(n)), LIMITS, |key| key)
        };
        assert_eq!(more(&mut flows, "192.168.1.9:5000", 4), Err(Full::Client));
        assert!(more(&mut flows, "192.168.1.10:1", 5).is_ok());
        assert!(more(&mut flows, "192.168.1.11:1", 6).is_ok());
        assert_eq!(more(&mut flows, "192.168.1.12:1", 7), Err(Full::All));
        flows.remove(first);
        assert!(more(&mut flows, "192.168.1.9:5000", 8).is_ok());
    }

    #[test]
    fn nothing_is_left_of_flows_that_ended() {
        let mut flows = Flows::default();
        let here = path("192.168.1.9:4000");
        for n in 0..3 {
            let key = begun(&mut flows, here, &[n; 8]);
            for more in 0..10 {
                flows.learn(key, &handshake(b"client", &[n, more, 1, 1, 1]));
            }
            flows.find(path("192.168.1.9:4001"), &short(&[n, 0, 1, 1, 1]));
        }
        assert_eq!(flows.ids.len(), 3 * MOST_IDS);
        for key in 0..3 {
            assert!(flows.remove(key).is_some());
            assert!(flows.remove(key).is_none());
        }
        assert!(flows.paths.is_empty() && flows.clients.is_empty() && flows.ids.is_empty());
        assert_eq!(flows.lengths, [0; LONGEST_ID + 1]);
    }

    #[test]
    fn no_datagram_panics() {
        let mut flows = Flows::default();
        let here = path("192.168.1.9:4000");
        begun(&mut flows, here, b"made by client");
        let datagram = initial(b"made by client");
        for length in 0..60 {
            flows.find(here, &datagram[..length]);
            flows.find(path("192.168.1.9:4001"), &datagram[..length]);
            flows.find(path("192.168.1.10:4001"), &datagram[..length]);
        }
    }
}
