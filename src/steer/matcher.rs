//! PURE. A set of domain suffixes: `example.com` holds `example.com` and everything below it.
//!
//! Made for a million of them: one piece of memory with the keys in order, and where each ends. A key is the labels
//! from the last to the first, each with its length, in lower case; so the keys of the names above a name are the
//! prefixes of its own.

use std::cmp::Ordering;

use hickory_proto::rr::Name;

/// Domain suffixes, matched label by label and without regard to case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SuffixSet {
    keys: Vec<u8>,
    ends: Vec<usize>,
    /// The labels of the longest suffix.
    longest: usize,
}

impl SuffixSet {
    /// Whether a suffix of the set is the name or stands above it.
    pub fn contains(&self, name: &Name) -> bool {
        !self.is_empty() && self.place(name).is_some()
    }

    /// The longest suffix of the set that is the name or stands above it.
    pub fn closest(&self, name: &Name) -> Option<Name> {
        self.place(name).and_then(|place| named(self.key(place)?))
    }

    /// The suffixes, in no order that means anything.
    pub fn iter(&self) -> impl Iterator<Item = Name> + '_ {
        (0..self.ends.len()).filter_map(|place| named(self.key(place)?))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    fn place(&self, name: &Name) -> Option<usize> {
        let mut wanted = Vec::with_capacity(name.len());
        // Where the keys of the names above end, the root first.
        let mut ends = vec![0];
        let labels: Vec<&[u8]> = name.iter().collect();
        for label in labels.into_iter().rev().take(self.longest) {
            put(&mut wanted, label);
            ends.push(wanted.len());
        }
        ends.into_iter()
            .rev()
            .find_map(|end| self.exactly(wanted.get(..end)?))
    }

    fn exactly(&self, wanted: &[u8]) -> Option<usize> {
        let (mut low, mut high) = (0, self.ends.len());
        while low < high {
            let middle = low + (high - low) / 2;
            match self.key(middle)?.cmp(wanted) {
                Ordering::Less => low = middle + 1,
                Ordering::Greater => high = middle,
                Ordering::Equal => return Some(middle),
            }
        }
        None
    }

    fn key(&self, place: usize) -> Option<&[u8]> {
        let start = match place.checked_sub(1) {
            Some(before) => *self.ends.get(before)?,
            None => 0,
        };
        self.keys.get(start..*self.ends.get(place)?)
    }
}

impl FromIterator<Name> for SuffixSet {
    fn from_iter<I: IntoIterator<Item = Name>>(names: I) -> Self {
        let mut builder = Builder::default();
        for name in names {
            builder.push(&name);
        }
        builder.finish()
    }
}

/// A set in the making.
#[derive(Debug, Default)]
pub(super) struct Builder(SuffixSet);

impl Builder {
    /// Adds a suffix.
    pub(super) fn push(&mut self, name: &Name) {
        let labels: Vec<&[u8]> = name.iter().collect();
        self.push_labels(labels.into_iter().rev());
    }

    /// Adds a suffix that is written in the plainest way, as nearly all lines of a list are; `false` where it is not
    /// and whoever knows all ways must read it.
    pub(super) fn push_plain(&mut self, text: &str) -> bool {
        let text = text.as_bytes();
        let is_label = |label: &[u8]| {
            (1..=63).contains(&label.len())
                && label
                    .iter()
                    .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
        };
        let labels = || text.rsplit(|byte| *byte == b'.');
        // A number, in whatever base, may be meant as an address.
        let is_name = labels()
            .next()
            .is_some_and(|last| last.first().is_some_and(u8::is_ascii_alphabetic));
        let plain = is_name && text.len() <= 253 && labels().all(is_label);
        if plain {
            self.push_labels(labels());
        }
        plain
    }

    fn push_labels<'l>(&mut self, labels: impl Iterator<Item = &'l [u8]>) {
        let set = &mut self.0;
        let mut count = 0;
        for label in labels {
            put(&mut set.keys, label);
            count += 1;
        }
        set.longest = set.longest.max(count);
        set.ends.push(set.keys.len());
    }

    /// The set.
    pub(super) fn finish(self) -> SuffixSet {
        let unsorted = self.0;
        let mut order: Vec<usize> = (0..unsorted.ends.len()).collect();
        order.sort_unstable_by_key(|place| unsorted.key(*place));
        let mut set = SuffixSet {
            keys: Vec::with_capacity(unsorted.keys.len()),
            ends: Vec::with_capacity(unsorted.ends.len()),
            longest: unsorted.longest,
        };
        let mut last = None;
        for key in order.into_iter().filter_map(|place| unsorted.key(place)) {
            if last != Some(key) {
                set.keys.extend_from_slice(key);
                set.ends.push(set.keys.len());
                last = Some(key);
            }
        }
        set.keys.shrink_to_fit();
        set.ends.shrink_to_fit();
        set
    }
}

fn put(key: &mut Vec<u8>, label: &[u8]) {
    key.push(u8::try_from(label.len()).unwrap_or(u8::MAX));
    key.extend(label.iter().map(u8::to_ascii_lowercase));
}

/// The name that has this key.
fn named(mut key: &[u8]) -> Option<Name> {
    let mut labels = Vec::new();
    while let Some((&length, rest)) = key.split_first() {
        let (label, behind) = rest.split_at_checked(usize::from(length))?;
        labels.push(label);
        key = behind;
    }
    let mut name = Name::from_labels(labels.into_iter().rev()).ok()?;
    name.set_fqdn(true);
    Some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::from_ascii(text).unwrap()
    }

    fn set(names: &[&str]) -> SuffixSet {
        names.iter().map(|text| name(text)).collect()
    }

    #[test]
    fn a_suffix_matches_itself_and_what_is_below_by_whole_labels() {
        let set = set(&[
            "example.com",
            "POOL.ntp.org.",
            "www.example.net",
            "net.example",
        ]);
        for (hit, by) in [
            ("example.com.", "example.com."),
            ("www.example.com.", "example.com."),
            ("a.b.EXAMPLE.com.", "example.com."),
            ("2.pool.ntp.org.", "pool.ntp.org."),
        ] {
            assert!(set.contains(&name(hit)), "{hit}");
            assert_eq!(set.closest(&name(hit)), Some(name(by)));
        }
        for miss in [
            "com.",
            "badexample.com.",
            "example.com.evil.",
            "ntp.org.",
            "example.net.",
            "w.example.net.",
            "zzz.",
            ".",
        ] {
            assert!(!set.contains(&name(miss)), "{miss}");
        }
    }

    #[test]
    fn the_closest_suffix_is_told_and_each_is_held_once() {
        let set = set(&["a.example", "example", "EXAMPLE.", "example2"]);
        assert_eq!(set.iter().count(), 3);
        for (asked, closest) in [
            ("x.a.example.", "a.example."),
            ("b.example.", "example."),
            ("example2.", "example2."),
        ] {
            assert_eq!(set.closest(&name(asked)), Some(name(closest)));
        }
        assert_eq!(set.closest(&name("example3.")), None);
    }

    #[test]
    fn the_root_suffix_matches_everything_and_the_empty_set_nothing() {
        let all: SuffixSet = [Name::root(), name("a.example.")].into_iter().collect();
        assert!(all.contains(&name("b.example.")) && all.contains(&Name::root()));
        assert_eq!(all.closest(&name("x.a.example.")), Some(name("a.example.")));
        assert!(!SuffixSet::default().contains(&name("a.example.")));
    }

    #[test]
    fn only_what_is_surely_a_name_is_read_the_quick_way() {
        for text in ["example", "a-b_c.Example.com", "4.example", "1.2.3.x4"] {
            let mut builder = Builder::default();
            assert!(builder.push_plain(text), "{text}");
            assert_eq!(builder.finish(), set(&[text]), "{text}");
        }
        for text in [
            "",
            ".",
            "example.",
            "a..b",
            ".a",
            "a b",
            "192.0.2.1",
            "0x7f.0x1",
            "a.1",
            "b\u{fc}cher.de",
            "*.a",
            "a/b",
        ] {
            let mut builder = Builder::default();
            assert!(!builder.push_plain(text), "{text}");
            assert!(builder.finish().is_empty(), "{text}");
        }
    }
}
