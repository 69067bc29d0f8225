//! PURE. `proxy.forwarded` and `proxy.x-forwarded-for`: what origins hear of the address of the client. The words are
//! those of Squid's `forwarded_for`.

use super::value::{self, Wrong};

/// What becomes of a header that names the clients on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forwarded {
    /// It passes as the client wrote it, and nothing is added.
    Transparent,
    /// The address of the client is added to it.
    On,
    /// It names the client alone, whatever it said before.
    Truncate,
    /// It goes no further.
    Delete,
}

impl Forwarded {
    const ALL: [Self; 4] = [Self::Transparent, Self::On, Self::Truncate, Self::Delete];

    /// The word in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Transparent => "transparent",
            Self::On => "on",
            Self::Truncate => "truncate",
            Self::Delete => "delete",
        }
    }

    pub(super) fn parse(text: &str) -> Result<Self, Wrong> {
        value::word(text, &Self::ALL.map(|word| (word.as_str(), word)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_read_as_it_is_shown() {
        for word in Forwarded::ALL {
            assert_eq!(Forwarded::parse(word.as_str()), Ok(word));
        }
        // To Squid that is another thing than it seems to be: an `unknown` is added.
        let wrong = Forwarded::parse("off").unwrap_err();
        assert!(wrong.write.contains("transparent"), "{}", wrong.write);
    }
}
