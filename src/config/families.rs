//! PURE. `families` of a rule: over which families a session leaves, and which goes first.

use super::value::{self, Wrong};
use crate::net::Family;

/// Over which families a session leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Families {
    /// Over both, IPv6 with a head start.
    Ipv6First,
    /// Over both, IPv4 with a head start.
    Ipv4First,
    /// Over IPv6, or not at all.
    Ipv6Only,
    /// Over IPv4, or not at all.
    Ipv4Only,
}

impl Families {
    const ALL: [Self; 4] = [
        Self::Ipv6First,
        Self::Ipv4First,
        Self::Ipv6Only,
        Self::Ipv4Only,
    ];

    /// Both, this one first.
    pub fn both(first: Family) -> Self {
        match first {
            Family::V4 => Self::Ipv4First,
            Family::V6 => Self::Ipv6First,
        }
    }

    /// The one that goes first.
    pub fn first(self) -> Family {
        match self {
            Self::Ipv6First | Self::Ipv6Only => Family::V6,
            Self::Ipv4First | Self::Ipv4Only => Family::V4,
        }
    }

    /// Whether sessions may leave over this one.
    pub fn allow(self, family: Family) -> bool {
        match self {
            Self::Ipv6First | Self::Ipv4First => true,
            Self::Ipv6Only | Self::Ipv4Only => family == self.first(),
        }
    }

    /// The word in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ipv6First => "ipv6-first",
            Self::Ipv4First => "ipv4-first",
            Self::Ipv6Only => "ipv6-only",
            Self::Ipv4Only => "ipv4-only",
        }
    }

    pub(super) fn parse(text: &str) -> Result<Self, Wrong> {
        value::word(
            text,
            &Self::ALL.map(|families| (families.as_str(), families)),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_word_says_what_goes_first_and_what_goes_at_all() {
        for (word, first, other) in [
            ("ipv6-first", Family::V6, true),
            ("ipv4-first", Family::V4, true),
            ("ipv6-only", Family::V6, false),
            ("ipv4-only", Family::V4, false),
        ] {
            let families = Families::parse(word).unwrap();
            assert_eq!((families.as_str(), families.first()), (word, first));
            assert!(families.allow(first));
            assert_eq!(families.allow(first.other()), other, "{word}");
        }
        assert!(Families::parse("ipv6").is_err());
    }
}
