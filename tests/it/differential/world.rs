//! Zones with names of every kind, made by a generator that always makes the same ones, and the questions about them.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::ops::Range;

use super::client::Question;
use super::kinds::Making;
use super::wire::{AD, ANY, CD, RD, name};

/// The zones, in the form of master files, each with the kind of signature that it has.
#[derive(Debug, Default)]
pub(super) struct World {
    /// Name, text, and the options of `ldns-signzone` where it is signed.
    pub(super) zones: Vec<(String, String, Option<&'static [&'static str]>)>,
    /// Names and the types that they have, or that are worth a question.
    names: Vec<(String, Vec<u16>)>,
}

/// As many names of one's own as a zone gets.
pub(super) const SIZES: &[(&str, usize, Option<&[&str]>)] = &[
    ("one.zz", 1100, None),
    ("two.zz", 400, None),
    ("sub.one.zz", 200, None),
    ("nsec.zz", 200, Some(&[])),
    ("nsec3.zz", 200, Some(&["-n", "-t", "1", "-s", "abcd"])),
];

/// What every zone has, and CNAMEs, exchanges and targets of the others lead to.
pub(super) const TARGETS: [&str; 9] = [
    "both",
    "four",
    "six",
    "none",
    "gone",
    "MiXeD",
    "far",
    "a.tree",
    "inside.ent",
];

const COMMON: &str = "
@          SOA   ns.zz. host.zz. 1 3600 600 86400 900
@          NS    ns.zz.
@          NS    ns2
@          MX    10 both
ns2        A     198.51.100.53
ns2        AAAA  2001:db8::53
both       A     198.51.100.1
both       A     198.51.100.2
both       AAAA  2001:db8::1
both       AAAA  2001:db8::2
both       HTTPS 1 . alpn=h2,h3 ipv4hint=198.51.100.1 ipv6hint=2001:db8::1,2001:db8::2
four       A     198.51.100.4
six        AAAA  2001:db8::6
six        HTTPS 1 . alpn=h2 ipv6hint=2001:db8::6
none       TXT   \"neither\"
mixed      A     198.51.100.5
MIXED      AAAA  2001:db8::5
far        CNAME Both.two.zz.
a.tree     A     198.51.100.6
a.tree     AAAA  2001:db8::a
b.tree     AAAA  2001:db8::b
c.tree     CNAME a.tree
inside.ent A     198.51.100.7
";

/// Types that a name is asked for which it need not have.
const TYPES: [u16; 44] = [
    1, 1, 1, 28, 28, 28, 65, 65, 65, 64, 2, 5, 6, 12, 13, 15, 16, 17, 18, 21, 29, 33, 35, 36, 37,
    39, 42, 43, 44, 48, 50, 51, 52, 53, 55, 59, 61, 62, 99, 108, 256, 257, 32_769, 65_280,
];

/// A generator of numbers (xorshift64*).
#[derive(Debug)]
pub(super) struct Random(u64);

impl Random {
    /// Less than this.
    pub(super) fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let next = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d);
        usize::try_from(next >> 33).unwrap() % bound
    }

    /// One of these.
    pub(super) fn within(&mut self, range: Range<usize>) -> usize {
        range.start + self.below(range.end - range.start)
    }

    /// One of a list.
    pub(super) fn of<'a, T>(&mut self, list: &'a [T]) -> &'a T {
        &list[self.below(list.len())]
    }
}

impl World {
    /// Makes it.
    pub(super) fn new() -> Self {
        let mut world = Self::default();
        let mut random = Random(0x5e15_0d1f_f000_0001);
        let mut top =
            "@ SOA ns.zz. host.zz. 1 3600 600 86400 900\n@ NS ns.zz.\nns.zz. A 127.0.0.1\n"
                .to_owned();
        for (zone, size, signed) in SIZES {
            let mut text = COMMON.to_owned();
            for target in TARGETS {
                let types = vec![1, 28, 65, 5, 16];
                world.names.push((format!("{target}.{zone}"), types));
            }
            for types in ["ns2", "b.tree", "c.tree", "x.none", "tree", "ent"] {
                world
                    .names
                    .push((format!("{types}.{zone}"), vec![1, 28, 65]));
            }
            let apex = (*zone).to_owned();
            world.names.push((apex, vec![6, 2, 15, 1, 28, 43, 48, 51]));
            let mut making = Making {
                random: &mut random,
                zone,
                text: &mut text,
                names: &mut world.names,
            };
            (0..*size).for_each(|number| making.make(number));
            if *zone == "one.zz" {
                text += "sub NS ns.zz.\n";
            }
            world.zones.push(((*zone).to_owned(), text, *signed));
            if zone.matches('.').count() == 1 {
                writeln!(top, "{zone}. NS ns.zz.").unwrap();
            }
        }
        world.zones.push(("zz".to_owned(), top, None));
        let root = "@ SOA ns.zz. host.zz. 1 3600 600 86400 900\n@ NS ns.zz.\nzz NS ns.zz.\nns.zz A 127.0.0.1\n";
        world.zones.push((".".to_owned(), root.to_owned(), None));
        for outside in ["", "zz", "missing", "a.missing.zz", "missing.zz", "ns.zz"] {
            world
                .names
                .push((outside.to_owned(), vec![6, 2, 1, 28, 43, 48]));
        }
        world
    }

    /// So many different questions about it.
    pub(super) fn questions(&self, count: usize) -> Vec<Question> {
        let mut random = Random(0x5e15_0d1f_f000_0002);
        let mut seen = BTreeSet::new();
        let mut questions = Vec::with_capacity(count);
        let mut push = |random: &mut Random, name: &[u8], kind: u16| {
            if questions.len() < count && seen.insert((name.to_vec(), kind)) {
                questions.push(spell(random, name, kind));
            }
        };
        for special in SPECIAL {
            for kind in [1, 28, 65, 16, 6] {
                push(&mut random, &name(special), kind);
            }
        }
        for (owner, types) in &self.names {
            let owner = name(owner);
            for kind in types {
                push(&mut random, &owner, *kind);
            }
        }
        // The rest is left to chance.
        for _ in 0..20 * count {
            let mut owner = name(&random.of(&self.names).0);
            if random.below(12) == 0 {
                owner = [&name("no")[..3], &owner].concat();
            }
            let kind = match random.below(60) {
                0 => ANY,
                1 => 46,
                _ => *random.of(&TYPES),
            };
            push(&mut random, &owner, kind);
        }
        assert_eq!(questions.len(), count);
        questions
    }
}

/// Names that are special to one or both of the servers, or to nobody.
pub(super) const SPECIAL: [&str; 22] = [
    "localhost",
    "a.localhost",
    "invalid",
    "a.test",
    "a.onion",
    "printer.local",
    "home.arpa",
    "nas.home.arpa",
    "ipv4only.arpa",
    "resolver.arpa",
    "use-application-dns.net",
    "mask.icloud.com",
    "mask-h2.icloud.com",
    "wpad",
    "sekisho",
    "1.1.168.192.in-addr.arpa",
    "10.in-addr.arpa",
    "1.0.0.127.in-addr.arpa",
    "d.f.ip6.arpa",
    "1.100.51.198.in-addr.arpa",
    "example",
    "service.arpa",
];

/// A question in some letters, with some flags.
fn spell(random: &mut Random, name: &[u8], kind: u16) -> Question {
    let mut name = name.to_vec();
    if random.below(3) == 0 {
        let mut at = 0;
        while name[at] != 0 {
            let end = at + 1 + usize::from(name[at]);
            for octet in &mut name[at + 1..end] {
                if random.below(2) == 0 {
                    *octet = if octet.is_ascii_lowercase() {
                        octet.to_ascii_uppercase()
                    } else {
                        octet.to_ascii_lowercase()
                    };
                }
            }
            at = end;
        }
    }
    let mut flags = RD;
    if random.below(100) == 0 {
        flags = 0;
    }
    for flag in [AD, CD] {
        if random.below(6) == 0 {
            flags |= flag;
        }
    }
    let edns = match random.below(10) {
        0 | 1 => None,
        2..=4 => Some((1232, true)),
        5 => Some((512, false)),
        6 => Some((4096, true)),
        _ => Some((1232, false)),
    };
    Question {
        name,
        kind,
        flags,
        edns,
    }
}
