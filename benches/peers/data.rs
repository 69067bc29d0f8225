//! Which names there are, what they have, and what is asked: the same at every run, from one seed.
//!
//! Read by `zones`, which writes the zone files, and by `works`, which asks.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

use crate::message::{self, RecordType};

/// The zones that the names are shared out between, as top-level domains are.
pub(crate) const ZONES: [&str; 5] = ["com", "net", "org", "jp", "io"];
/// The zone in which every name has one address, for sets of names beyond [`Data::sites`].
pub(crate) const ENDLESS: &str = "endless";
/// The zone that servers hold themselves.
pub(crate) const LOCAL: &str = "house.home.arpa";
/// Names in a set that is asked over and over.
const HOT: usize = 1000;
/// Names that do not exist, but are asked for.
const GONE: usize = 20_000;

/// SplitMix64: small, and good enough to draw names with.
#[derive(Debug)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// From 0 to 1, without 1.
    fn share(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Below `bound`, which is not 0.
    fn below(&mut self, bound: usize) -> usize {
        let bound = bound as u64;
        usize::try_from(self.next() % bound).unwrap_or(0)
    }

    fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }

    /// An address that resolvers take for a public one. Nobody connects to it.
    pub(crate) fn ipv4(&mut self) -> Ipv4Addr {
        let [a, b, c, d, ..] = self.next().to_be_bytes();
        Ipv4Addr::new(16 + a % 64, b, c, d)
    }

    /// An address of the documentation's prefix.
    pub(crate) fn ipv6(&mut self) -> Ipv6Addr {
        let [a, b, c, d, ..] = self.next().to_be_bytes();
        let (high, low) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
        Ipv6Addr::new(0x2001, 0xdb8, high, low, 0, 0, 0, 1)
    }
}

/// One name and what it has.
#[derive(Debug)]
pub(crate) struct Site {
    pub(crate) number: usize,
    /// Aliases between the name and its records; 0 where they are its own.
    pub(crate) aliases: usize,
    pub(crate) ipv4: usize,
    pub(crate) ipv6: usize,
    pub(crate) https: bool,
}

impl Site {
    fn new(number: usize, random: &mut Random) -> Self {
        let aliases = match random.share() {
            share if share < 0.03 => 3,
            share if share < 0.20 => 1,
            _ => 0,
        };
        let addresses = [1, 1, 1, 2, 2, 3, 4][random.below(7)];
        let ipv6_only = random.share() < 0.005;
        let both = random.share() < 0.60;
        Self {
            number,
            aliases,
            ipv4: if ipv6_only { 0 } else { addresses },
            ipv6: if ipv6_only || both { addresses } else { 0 },
            https: random.share() < 0.30,
        }
    }

    pub(crate) fn zone(&self) -> &'static str {
        ZONES[self.number % ZONES.len()]
    }

    /// What a resolver that is asked for A has to keep.
    fn records(&self) -> usize {
        self.aliases + self.ipv4.max(1)
    }
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "www.site{}.{}", self.number, self.zone())
    }
}

/// Questions as messages with the ID 0, one after another.
#[derive(Debug, Default)]
pub(crate) struct Questions {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Questions {
    fn push(&mut self, name: &str, record_type: RecordType) {
        message::write_question(&mut self.bytes, name, record_type);
        self.ends.push(self.bytes.len());
    }

    fn of(names: impl IntoIterator<Item = impl AsRef<str>>, record_type: RecordType) -> Self {
        let mut questions = Self::default();
        for name in names {
            questions.push(name.as_ref(), record_type);
        }
        questions
    }

    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// The question with this number, beginning again after the last.
    pub(crate) fn get(&self, number: usize) -> &[u8] {
        let number = number % self.ends.len();
        let begin = number.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.bytes[begin..self.ends[number]]
    }
}

/// Names that show how a server answers, each with AAAA.
#[derive(Debug)]
pub(crate) struct Samples {
    /// With records of its own: A and HTTPS besides.
    pub(crate) plain: String,
    /// For questions of type ANY, another such name, and another without A: an upstream may answer with one of the types.
    pub(crate) any: [String; 2],
    /// Whose A is behind an alias.
    pub(crate) alias: String,
    /// Without A.
    pub(crate) ipv6_only: String,
    /// That does not exist.
    pub(crate) gone: String,
}

/// All names, by how often they are asked for.
#[derive(Debug)]
pub(crate) struct Data {
    pub(crate) sites: Vec<Site>,
    random: u64,
}

impl Data {
    /// As many names.
    pub(crate) fn new(count: usize) -> Self {
        let mut random = Random(4711);
        let mut sites: Vec<Site> = (0..count)
            .map(|number| Site::new(number, &mut random))
            .collect();
        random.shuffle(&mut sites);
        Self {
            sites,
            random: random.next(),
        }
    }

    fn hot(&self, wanted: impl Fn(&Site) -> bool, record_type: RecordType) -> Questions {
        let sites = self.sites.iter().filter(|site| site.ipv4 > 0);
        let sites = sites.filter(|site| wanted(site)).take(HOT);
        Questions::of(sites.map(Site::to_string), record_type)
    }

    /// The names asked for most.
    pub(crate) fn hot_a(&self) -> Questions {
        self.hot(|_| true, RecordType::A)
    }

    /// The most wanted ones that have AAAA, which are not told.
    pub(crate) fn hot_aaaa(&self) -> Questions {
        self.hot(|site| site.ipv6 > 0, RecordType::AAAA)
    }

    /// The most wanted ones that have HTTPS.
    pub(crate) fn hot_https(&self) -> Questions {
        self.hot(|site| site.https, RecordType::HTTPS)
    }

    /// Names of the local zone, far apart in it.
    pub(crate) fn hot_local(&self, names: usize) -> Questions {
        let mut random = Random(self.random);
        let names = (0..HOT).map(|_| local_name(random.below(names)));
        Questions::of(names, RecordType::A)
    }

    /// Every name once.
    pub(crate) fn all(&self) -> Questions {
        Questions::of(self.sites.iter().map(Site::to_string), RecordType::A)
    }

    /// How many records the answers to [`Data::all`] have.
    pub(crate) fn records(&self) -> usize {
        self.sites.iter().map(Site::records).sum()
    }

    /// Names that have one address each, in no order.
    pub(crate) fn endless(&self, count: usize) -> Questions {
        let mut numbers: Vec<usize> = (0..count).collect();
        Random(self.random).shuffle(&mut numbers);
        let names = numbers.iter().map(|n| format!("n{n:07}.{ENDLESS}"));
        Questions::of(names, RecordType::A)
    }

    /// Questions as a house asks them: the name with rank r is asked 1/r times as often as the first; A and AAAA as often
    /// as each other, HTTPS less, and some names that do not exist.
    pub(crate) fn mix(&self, count: usize) -> Questions {
        let mut random = Random(self.random);
        let mut sum = 0.0;
        let until: Vec<f64> = (1..=self.sites.len())
            .map(|rank| {
                sum += 1.0 / rank as f64;
                sum
            })
            .collect();
        let mut questions = Questions::default();
        for _ in 0..count {
            let name = if random.share() < 0.03 {
                // The sum of two draws: some are asked for again, most are not.
                let number = random.below(GONE / 2) + random.below(GONE / 2);
                gone(number)
            } else {
                let drawn = random.share() * sum;
                let rank = until.partition_point(|until| *until <= drawn);
                self.sites[rank.min(self.sites.len() - 1)].to_string()
            };
            let record_type = match random.share() {
                share if share < 0.45 => RecordType::A,
                share if share < 0.90 => RecordType::AAAA,
                _ => RecordType::HTTPS,
            };
            questions.push(&name, record_type);
        }
        questions
    }

    /// Where there are enough names to find all of them.
    pub(crate) fn samples(&self) -> Option<Samples> {
        let find = |wanted: &dyn Fn(&Site) -> bool, skip| {
            let mut found = self
                .sites
                .iter()
                .filter(|site| site.ipv6 > 0 && wanted(site));
            found.nth(skip).map(Site::to_string)
        };
        let plain = |site: &Site| site.aliases == 0 && site.ipv4 > 0 && site.https;
        let ipv6_only = |site: &Site| site.aliases == 0 && site.ipv4 == 0;
        Some(Samples {
            plain: find(&plain, 0)?,
            any: [find(&plain, 1)?, find(&ipv6_only, 1)?],
            alias: find(&|site| site.aliases > 0 && site.ipv4 > 0, 0)?,
            ipv6_only: find(&ipv6_only, 0)?,
            gone: gone(GONE),
        })
    }
}

/// A name that does not exist.
fn gone(number: usize) -> String {
    format!("gone{number}.{}", ZONES[number % ZONES.len()])
}

/// A name of the local zone.
pub(crate) fn local_name(number: usize) -> String {
    format!("n{number:06}.{LOCAL}")
}

/// The address of a name of the local zone.
pub(crate) fn local_address(number: usize) -> Ipv4Addr {
    let low = u32::try_from(number).unwrap_or_default();
    Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 0, 0, 0)) | low)
}
