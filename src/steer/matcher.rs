//! PURE. A set of domain suffixes: `example.com` holds `example.com` and everything below it.
//!
//! Made for a million of them: one piece of memory with the keys in order, and where each begins. A key is the labels
//! from the last to the first, each with its length, in lower case; so what stands above a name is a prefix of its key.
//! As a suffix below another one says nothing new and is left out, the only candidate is the greatest key that is not
//! behind that of the name.

use hickory_proto::rr::Name;

/// Domain suffixes, matched label by label and without regard to case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SuffixSet {
    keys: Vec<u8>,
    ends: Vec<usize>,
}

impl SuffixSet {
    /// Whether a suffix of the set is the name or stands above it.
    pub fn contains(&self, name: &Name) -> bool {
        !self.ends.is_empty() && self.place(name).is_some()
    }

    /// The suffix of the set that is the name or stands above it.
    pub fn find(&self, name: &Name) -> Option<Name> {
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
        let wanted = key(name);
        let (mut low, mut high) = (0, self.ends.len());
        while low < high {
            let middle = low + (high - low) / 2;
            if self.key(middle)? <= wanted.as_slice() {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        let candidate = low.checked_sub(1)?;
        wanted
            .starts_with(self.key(candidate)?)
            .then_some(candidate)
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
        let mut unsorted = Self::default();
        for name in names {
            unsorted.keys.extend(key(&name));
            unsorted.ends.push(unsorted.keys.len());
        }
        let mut order: Vec<usize> = (0..unsorted.ends.len()).collect();
        order.sort_unstable_by_key(|place| unsorted.key(*place));
        let mut set = Self {
            keys: Vec::with_capacity(unsorted.keys.len()),
            ends: Vec::with_capacity(unsorted.ends.len()),
        };
        for key in order.into_iter().filter_map(|place| unsorted.key(place)) {
            let above = set.ends.len().checked_sub(1).and_then(|last| set.key(last));
            if above.is_none_or(|above| !key.starts_with(above)) {
                set.keys.extend_from_slice(key);
                set.ends.push(set.keys.len());
            }
        }
        set.keys.shrink_to_fit();
        set.ends.shrink_to_fit();
        set
    }
}

/// The labels from the last to the first, each with its length.
fn key(name: &Name) -> Vec<u8> {
    let mut key = Vec::with_capacity(name.len());
    let labels: Vec<&[u8]> = name.iter().collect();
    for label in labels.into_iter().rev() {
        key.push(u8::try_from(label.len()).unwrap_or(u8::MAX));
        key.extend(label.iter().map(u8::to_ascii_lowercase));
    }
    key
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
            assert_eq!(set.find(&name(hit)), Some(name(by)));
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
    fn what_stands_below_another_suffix_or_twice_is_held_once() {
        let set = set(&[
            "a.example",
            "example",
            "EXAMPLE.",
            "b.a.example",
            "example2",
        ]);
        let mut held: Vec<Name> = set.iter().collect();
        held.sort();
        assert_eq!(held, [name("example."), name("example2.")]);
        assert_eq!(set.len(), 2);
    }

    #[test]
    fn the_root_suffix_matches_everything_and_the_empty_set_nothing() {
        let all: SuffixSet = [Name::root(), name("a.example.")].into_iter().collect();
        assert!(all.contains(&name("b.example.")) && all.contains(&Name::root()));
        assert_eq!(all.len(), 1);
        assert!(!SuffixSet::default().contains(&name("a.example.")));
    }
}
