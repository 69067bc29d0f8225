//! PURE. A name as the key of a map: its labels in wire form and lower case, so that the key of every name above it is
//! a suffix of the same bytes. A search from the name upwards, or down to it, copies nothing.

use std::iter;

use hickory_proto::{rr::Name, serialize::binary::BinDecodable};

/// A name in lower case, label by label.
#[derive(Clone, Debug)]
pub(in crate::dns) struct Key {
    bytes: Vec<u8>,
    starts: Vec<usize>,
}

impl Key {
    /// The key of a name.
    pub(in crate::dns) fn of(name: &Name) -> Self {
        let mut bytes = Vec::with_capacity(name.len());
        let mut starts = Vec::with_capacity(usize::from(name.num_labels()) + 1);
        for label in name.iter() {
            starts.push(bytes.len());
            bytes.push(u8::try_from(label.len()).unwrap_or(u8::MAX));
            bytes.extend(label.iter().map(u8::to_ascii_lowercase));
        }
        Self { bytes, starts }
    }

    /// How many labels the name has; a `*` counts, unlike in hickory.
    pub(in crate::dns) fn labels(&self) -> usize {
        self.starts.len()
    }

    /// The key of the name's last `labels` labels: the root for 0, the name itself for all or more.
    pub(in crate::dns) fn suffix(&self, labels: usize) -> &[u8] {
        self.starts
            .get(self.starts.len().saturating_sub(labels))
            .and_then(|&start| self.bytes.get(start..))
            .unwrap_or_default()
    }

    /// The whole name.
    pub(in crate::dns) fn whole(&self) -> &[u8] {
        &self.bytes
    }
}

/// The labels of a key.
pub(super) fn labels(mut key: &[u8]) -> impl Iterator<Item = &[u8]> {
    iter::from_fn(move || {
        let (&length, rest) = key.split_first()?;
        let (label, rest) = rest.split_at_checked(usize::from(length))?;
        key = rest;
        Some(label)
    })
}

/// Whether the name of a key is at or below that of another one.
pub(super) fn is_within(key: &[u8], apex: &[u8]) -> bool {
    let Some(above) = key.len().checked_sub(apex.len()) else {
        return false;
    };
    let mut at = 0;
    while at < above {
        at += 1 + key.get(at).map_or(0, |&length| usize::from(length));
    }
    at == above && key.ends_with(apex)
}

/// The name whose key this is.
pub(super) fn name(key: &[u8]) -> Name {
    // The root's label is all that a key lacks of a name in wire form.
    Name::from_bytes(&[key, &[0]].concat()).unwrap_or_else(|_| Name::root())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_of_a_parent_is_a_suffix_of_the_key_in_lower_case() {
        let key = Key::of(&Name::from_ascii("NAS.Home.arpa.").unwrap());
        assert_eq!(key.labels(), 3);
        assert_eq!(key.whole(), b"\x03nas\x04home\x04arpa");
        assert_eq!(key.suffix(2), b"\x04home\x04arpa");
        assert_eq!(key.suffix(0), b"");
        assert_eq!(key.suffix(9), key.whole());
    }

    #[test]
    fn a_key_is_read_back_as_its_name() {
        for labels in [
            &["nas", "home", "arpa"][..],
            &["*", "a"],
            &["a.b c\\", "d"],
            &[],
        ] {
            let labels = labels.iter().map(|label| label.as_bytes());
            let written = Name::from_labels(labels).unwrap();
            let found = name(Key::of(&written).whole());
            assert!(found == written && found.is_fqdn(), "{found}");
        }
    }

    #[test]
    fn a_key_is_within_those_of_the_names_above_it() {
        let key = b"\x01a\x02\x01z\x01z";
        for apex in [&b""[..], b"\x01z", b"\x02\x01z\x01z", key] {
            assert!(is_within(key, apex), "{apex:?}");
        }
        for apex in [&b"\x01y"[..], b"\x01z\x01z", b"\x01b\x01a\x02\x01z\x01z"] {
            assert!(!is_within(key, apex), "{apex:?}");
        }
        let found: Vec<&[u8]> = labels(key).collect();
        assert_eq!(found, [&b"a"[..], b"\x01z", b"z"]);
    }

    #[test]
    fn a_wildcard_counts_as_a_label() {
        let key = Key::of(&Name::from_ascii("*.home.arpa.").unwrap());
        assert_eq!(key.labels(), 3);
        assert_eq!(Key::of(&Name::root()).labels(), 0);
    }
}
