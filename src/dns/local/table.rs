//! PURE. The names and the records of one zone, packed into a few long vectors. A zone may have a hundred thousand
//! names: with small allocations for each, their making and their freeing would be most of the time of a start and of a
//! reload, and ten times the memory.
//!
//! Names are keys (see [`Key`](super::key::Key)), data is in wire form. Whoever asks gets records made of them.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::mem;

use hashbrown::HashTable;
use hickory_proto::rr::{Name, RData, Record, RecordType};
use hickory_proto::serialize::binary::{BinDecoder, DecodeError, Restrict};

use super::key;

/// Of how many records of one set each is compared with each.
const FEW: usize = 16;

/// The names and the records of one zone; found only once it is [sealed](Self::seal).
#[derive(Clone, Debug, Default)]
pub(super) struct Table {
    nodes: Vec<Node>,
    /// The places of the nodes by their keys.
    places: HashTable<u32>,
    hasher: RandomState,
    /// The keys of the nodes. That of a name above another one is a part of that one's.
    keys: Vec<u8>,
    /// Once sealed, in the order of the nodes, and of the types' numbers within each.
    held: Vec<Held>,
    data: Vec<u8>,
    cuts: bool,
}

/// One name of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place(u32);

#[derive(Clone, Copy, Debug)]
struct Node {
    key: u32,
    length: u8,
    alias: bool,
    filled: bool,
    cut: bool,
    /// Where its records begin, once sealed; they end where those of the next node begin.
    first: u32,
}

/// One record.
#[derive(Clone, Copy, Debug)]
struct Held {
    node: u32,
    record_type: u16,
    length: u16,
    data: u32,
    ttl: u32,
}

/// More names or data than a table has places for.
#[derive(Debug)]
pub(super) struct Full;

impl Table {
    /// The place of a name.
    pub(super) fn place(&self, key: &[u8]) -> Option<Place> {
        let hash = self.hasher.hash_one(key);
        let same = |&place: &u32| key_of(&self.nodes, &self.keys, place) == key;
        self.places.find(hash, same).copied().map(Place)
    }

    /// The place of a name, which is made if need be, with those of all names up to the apex: they exist, even without
    /// data (RFC 4592 section 2.2.2). `apex` is the length of the apex's key.
    pub(super) fn make(&mut self, key: &[u8], apex: usize) -> Result<Place, Full> {
        if let Some(place) = self.place(key) {
            return Ok(place);
        }
        let place = index(self.nodes.len())?;
        let start = self.keys.len();
        self.keys.extend_from_slice(key);
        self.put(key, start)?;
        let mut above = key;
        while let Some((&length, rest)) = above.split_first() {
            above = rest.get(usize::from(length)..).unwrap_or_default();
            if above.len() < apex || self.place(above).is_some() {
                break;
            }
            self.put(above, start + key.len() - above.len())?;
        }
        Ok(Place(place))
    }

    fn put(&mut self, key: &[u8], start: usize) -> Result<(), Full> {
        let place = index(self.nodes.len())?;
        self.nodes.push(Node {
            key: index(start)?,
            length: u8::try_from(key.len()).map_err(|_| Full)?,
            alias: false,
            filled: false,
            cut: false,
            first: 0,
        });
        let (nodes, keys, hasher) = (&self.nodes, &self.keys, &self.hasher);
        self.places
            .insert_unique(hasher.hash_one(key), place, |&place| {
                hasher.hash_one(key_of(nodes, keys, place))
            });
        Ok(())
    }

    /// Adds a record, with its data in wire form.
    pub(super) fn add(
        &mut self,
        place: Place,
        record_type: RecordType,
        ttl: u32,
        data: &[u8],
    ) -> Result<(), Full> {
        let start = index(self.data.len())?;
        self.held.push(Held {
            node: place.0,
            record_type: record_type.into(),
            length: u16::try_from(data.len()).map_err(|_| Full)?,
            data: start,
            ttl,
        });
        self.data.extend_from_slice(data);
        if let Some(node) = self.nodes.get_mut(widen(place.0)) {
            node.filled = true;
            node.alias |= record_type == RecordType::CNAME;
        }
        Ok(())
    }

    /// Delegates a name and all below it.
    pub(super) fn cut(&mut self, place: Place) {
        if let Some(node) = self.nodes.get_mut(widen(place.0)) {
            node.cut = true;
            self.cuts = true;
        }
    }

    /// Whether there is a CNAME at the name, also before the table is sealed.
    pub(super) fn is_alias(&self, place: Place) -> bool {
        self.node(place).is_some_and(|node| node.alias)
    }

    /// Whether there is any record at the name, also before the table is sealed.
    pub(super) fn is_filled(&self, place: Place) -> bool {
        self.node(place).is_some_and(|node| node.filled)
    }

    /// Whether the name and all below it are delegated.
    pub(super) fn is_cut(&self, place: Place) -> bool {
        self.node(place).is_some_and(|node| node.cut)
    }

    /// Whether any name is delegated.
    pub(super) fn has_cuts(&self) -> bool {
        self.cuts
    }

    /// Puts the records in order: one that is there already is dropped, and a set has its lowest TTL (RFC 2181 section
    /// 5).
    pub(super) fn seal(&mut self) {
        self.held.sort_by_key(|held| (held.node, held.record_type));
        let all = mem::take(&mut self.held);
        let mut kept: Vec<Held> = Vec::with_capacity(all.len());
        for set in all
            .chunk_by(|one, other| (one.node, one.record_type) == (other.node, other.record_type))
        {
            let ttl = set.iter().map(|held| held.ttl).min().unwrap_or_default();
            if set.len() <= FEW {
                let first = kept.len();
                for held in set {
                    let before = kept.get(first..).unwrap_or_default();
                    if !before.iter().any(|other| self.same(held, other)) {
                        kept.push(Held { ttl, ..*held });
                    }
                }
            } else {
                let mut alike: HashMap<Vec<u8>, Vec<&Held>> = HashMap::with_capacity(set.len());
                for held in set {
                    let before = alike
                        .entry(self.bytes(held).to_ascii_lowercase())
                        .or_default();
                    if !before.iter().any(|other| self.same(held, other)) {
                        kept.push(Held { ttl, ..*held });
                        before.push(held);
                    }
                }
            }
        }
        let mut records = kept.iter().zip(0_u32..).peekable();
        for (node, place) in self.nodes.iter_mut().zip(0_u32..) {
            let end = u32::try_from(kept.len()).unwrap_or(u32::MAX);
            node.first = records.peek().map_or(end, |&(_, at)| at);
            while records.next_if(|(held, _)| held.node == place).is_some() {}
        }
        self.held = kept;
        self.held.shrink_to_fit();
        self.nodes.shrink_to_fit();
        self.keys.shrink_to_fit();
        self.data.shrink_to_fit();
    }

    /// Whether two records of one type say the same; names in them are compared without regard to case.
    fn same(&self, one: &Held, other: &Held) -> bool {
        let (left, right) = (self.bytes(one), self.bytes(other));
        left == right
            || (left.eq_ignore_ascii_case(right)
                && matches!(
                    (self.read(one), self.read(other)),
                    (Some(left), Some(right)) if left == right
                ))
    }

    /// The records of one type at a name.
    pub(super) fn set(&self, place: Place, record_type: RecordType) -> Set<'_> {
        let code = u16::from(record_type);
        let all = self.at(place);
        let start = all.partition_point(|held| held.record_type < code);
        let end = all.partition_point(|held| held.record_type <= code);
        Set {
            table: self,
            held: all.get(start..end).unwrap_or_default(),
        }
    }

    /// The records of any one type at a name.
    pub(super) fn any_set(&self, place: Place) -> Set<'_> {
        let all = self.at(place);
        Set {
            table: self,
            held: all
                .chunk_by(|one, other| one.record_type == other.record_type)
                .next()
                .unwrap_or_default(),
        }
    }

    /// The name of a place.
    pub(super) fn name(&self, place: Place) -> Name {
        key::name(self.key(place))
    }

    /// The key of a place.
    pub(super) fn key(&self, place: Place) -> &[u8] {
        key_of(&self.nodes, &self.keys, place.0)
    }

    fn node(&self, place: Place) -> Option<&Node> {
        self.nodes.get(widen(place.0))
    }

    fn at(&self, place: Place) -> &[Held] {
        let first = |node: &Node| widen(node.first);
        let start = self.node(place).map_or(self.held.len(), first);
        let next = self.nodes.get(widen(place.0) + 1);
        let end = next.map_or(self.held.len(), first);
        self.held.get(start..end).unwrap_or_default()
    }

    fn bytes(&self, held: &Held) -> &[u8] {
        let start = widen(held.data);
        self.data
            .get(start..start + usize::from(held.length))
            .unwrap_or_default()
    }

    fn read(&self, held: &Held) -> Option<RData> {
        read(held.record_type.into(), self.bytes(held)).ok()
    }
}

/// The records of one type at one name.
#[derive(Clone, Copy, Debug)]
pub(super) struct Set<'a> {
    table: &'a Table,
    held: &'a [Held],
}

impl Set<'_> {
    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// The records, with this owner.
    pub(super) fn records(&self, owner: &Name) -> impl Iterator<Item = Record> {
        self.held.iter().filter_map(|held| {
            let data = self.table.read(held)?;
            Some(Record::from_rdata(owner.clone(), held.ttl, data))
        })
    }
}

/// Data in wire form, as a table holds it.
pub(super) fn read(record_type: RecordType, bytes: &[u8]) -> Result<RData, DecodeError> {
    let length = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
    RData::read(
        &mut BinDecoder::new(bytes),
        record_type,
        Restrict::new(length),
    )
}

fn key_of<'a>(nodes: &[Node], keys: &'a [u8], place: u32) -> &'a [u8] {
    let Some(node) = nodes.get(widen(place)) else {
        return &[];
    };
    let start = widen(node.key);
    keys.get(start..start + usize::from(node.length))
        .unwrap_or_default()
}

/// Places are kept in half a word: there are some of them for each name.
fn index(place: usize) -> Result<u32, Full> {
    u32::try_from(place).map_err(|_| Full)
}

fn widen(place: u32) -> usize {
    usize::try_from(place).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests;
