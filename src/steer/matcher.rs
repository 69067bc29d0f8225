//! PURE. A set of domain suffixes: `example.com` holds `example.com` and everything below it.

use std::collections::HashSet;

use hickory_proto::rr::Name;

/// Domain suffixes, matched label by label and without regard to case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SuffixSet {
    suffixes: HashSet<Name>,
    longest: u8,
}

impl SuffixSet {
    /// The suffixes of a list with one a line; what follows `#` and lines that are no name are passed over.
    pub fn from_lines(text: &str) -> Self {
        text.lines()
            .map(|line| line.split('#').next().unwrap_or_default().trim())
            .filter(|line| !line.is_empty())
            .filter_map(|line| Name::from_ascii(line).ok())
            .collect()
    }

    /// Whether a suffix of the set is the name or stands above it.
    pub fn contains(&self, name: &Name) -> bool {
        self.closest(name).is_some()
    }

    /// The longest suffix of the set that is the name or stands above it.
    pub fn closest(&self, name: &Name) -> Option<&Name> {
        if self.suffixes.is_empty() {
            return None;
        }
        let deepest = name.num_labels().min(self.longest);
        (0..=deepest)
            .rev()
            .find_map(|labels| self.suffixes.get(&name.trim_to(usize::from(labels))))
    }

    /// The suffixes, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Name> {
        self.suffixes.iter()
    }
}

impl FromIterator<Name> for SuffixSet {
    fn from_iter<I: IntoIterator<Item = Name>>(names: I) -> Self {
        let suffixes: HashSet<Name> = names
            .into_iter()
            .map(|mut name| {
                name.set_fqdn(true);
                name.to_lowercase()
            })
            .collect();
        let longest = suffixes
            .iter()
            .map(Name::num_labels)
            .max()
            .unwrap_or_default();
        Self { suffixes, longest }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::from_ascii(text).unwrap()
    }

    #[test]
    fn a_suffix_matches_itself_and_what_is_below_by_whole_labels() {
        let set = SuffixSet::from_lines("# heading\nexample.com # why\n\nPOOL.ntp.org.\n");
        for hit in [
            "example.com.",
            "www.example.com.",
            "a.b.EXAMPLE.com.",
            "2.pool.ntp.org.",
        ] {
            assert!(set.contains(&name(hit)), "{hit}");
        }
        for miss in [
            "com.",
            "badexample.com.",
            "example.com.evil.",
            "ntp.org.",
            ".",
        ] {
            assert!(!set.contains(&name(miss)), "{miss}");
        }
    }

    #[test]
    fn the_longest_suffix_is_the_closest() {
        let set = SuffixSet::from_lines("example.com\nlab.example.com");
        let closest = |text| set.closest(&name(text)).cloned();
        assert_eq!(
            closest("a.LAB.example.com."),
            Some(name("lab.example.com."))
        );
        assert_eq!(closest("a.example.com."), Some(name("example.com.")));
        assert_eq!(closest("com."), None);
    }

    #[test]
    fn the_root_suffix_matches_everything_and_the_empty_set_nothing() {
        let all: SuffixSet = [Name::root()].into_iter().collect();
        assert!(all.contains(&name("a.example.")));
        assert!(!SuffixSet::default().contains(&name("a.example.")));
    }
}
