//! PURE. Connection IDs (RFC 9000 section 5.1), and whose they are. Held by the table of flows above.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;

use super::super::super::super::sniff::quic::packet::LONGEST_ID;
use super::Key;

/// An ID this short is no proof that a datagram from elsewhere is of the same connection.
const SHORTEST_PROOF: usize = 4;

/// A connection ID, with what is not used at zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Id {
    bytes: [u8; LONGEST_ID],
    length: usize,
}

impl Id {
    pub(super) fn new(id: &[u8]) -> Option<Self> {
        let mut bytes = [0; LONGEST_ID];
        bytes.get_mut(..id.len())?.copy_from_slice(id);
        Some(Self {
            bytes,
            length: id.len(),
        })
    }
}

impl Id {
    /// Whether it is one without length, which names nobody.
    pub(super) fn is_empty(&self) -> bool {
        self.length == 0
    }
}

/// Whose the IDs are. They are of one client each: nobody gets at a flow by the IDs of another one's.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Ids {
    flows: HashMap<(IpAddr, Id), Key>,
    /// How many there are of each length.
    lengths: [usize; LONGEST_ID + 1],
}

impl Ids {
    /// How many there are.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.flows.len()
    }

    /// Whose an ID is that a long header names.
    pub(super) fn find(&self, client: IpAddr, id: &[u8]) -> Option<Key> {
        self.flows.get(&(client, Id::new(id)?)).copied()
    }

    /// A short header does not say how long its ID is (RFC 9000 section 17.3.1): the longest that fits.
    pub(super) fn find_by_short_header(&self, client: IpAddr, datagram: &[u8]) -> Option<Key> {
        let behind = datagram.get(1..)?;
        (SHORTEST_PROOF..=LONGEST_ID)
            .rev()
            .filter(|length| self.lengths.get(*length).is_some_and(|count| *count > 0))
            .filter_map(|length| Id::new(behind.get(..length)?))
            .find_map(|id| self.flows.get(&(client, id)).copied())
    }

    /// Gives an ID to a flow, unless another one has it: whether it did.
    pub(super) fn give(&mut self, client: IpAddr, id: Id, key: Key) -> bool {
        let Entry::Vacant(free) = self.flows.entry((client, id)) else {
            return false;
        };
        free.insert(key);
        if let Some(count) = self.lengths.get_mut(id.length) {
            *count += 1;
        }
        true
    }

    /// Takes an ID from the flow that has it.
    pub(super) fn take(&mut self, client: IpAddr, id: Id) -> Option<Key> {
        let key = self.flows.remove(&(client, id))?;
        if let Some(count) = self.lengths.get_mut(id.length) {
            *count -= 1;
        }
        Some(key)
    }
}
