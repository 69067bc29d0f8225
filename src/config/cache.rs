//! PURE. `[dns.cache]`.

use std::time::Duration;

use super::file::Section;
use super::value::{self, Wrong};

/// The cache's bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cache {
    /// Answers held at most; 0: no cache.
    pub entries: usize,
    /// Memory that the answers may take, in bytes.
    pub bytes: usize,
    /// Shortest time an answer is kept.
    pub min_ttl: Duration,
    /// Longest time an answer is kept.
    pub max_ttl: Duration,
    /// Longest time that "there is no such thing" is kept.
    pub max_negative_ttl: Duration,
    /// How long after its end an answer may still be told while no server gives a new one (RFC 8767); 0: never.
    pub stale: Duration,
    /// Whether names in use are asked for again before they expire.
    pub prefetch: bool,
    /// Whether "there is no such name" holds for everything below the name, too (RFC 8020).
    pub nxdomain_cut: bool,
}

impl Cache {
    /// Reads `[dns.cache]`.
    pub(super) fn read(mut section: Section<'_, '_>) -> Option<Self> {
        let entries = section.number("entries", 100_000, 0..100_000_001);
        let bytes = section.text("bytes", "128MiB", |text| {
            value::bytes_within(text, 64 << 10, 64 << 30)
        });
        let min_ttl = section.text("min-ttl", "0s", value::duration);
        let max_ttl = section.text("max-ttl", "1d", value::duration);
        let max_negative_ttl = section.text("max-negative-ttl", "1h", value::duration);
        let stale = section.text("stale", "1d", value::duration);
        let prefetch = section.flag("prefetch", true);
        let nxdomain_cut = section.flag("nxdomain-cut", true);
        if let (Some(min), Some(max)) = (min_ttl, max_ttl)
            && min > max
        {
            section.report(
                "min-ttl",
                Wrong::new("it is longer than max-ttl", "write a shorter one"),
            );
        }
        section.finish();
        Some(Self {
            entries: entries as usize,
            bytes: bytes?,
            min_ttl: min_ttl?,
            max_ttl: max_ttl?,
            max_negative_ttl: max_negative_ttl?,
            stale: stale?,
            prefetch,
            nxdomain_cut,
        })
    }
}
