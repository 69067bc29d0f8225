//! What is measured: the works, their columns, and which of them share a server.

use std::fmt;

use crate::peers::{Kind, Part};

/// One measurement, and its table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Work {
    HotA,
    HotAaaa,
    HotHttps,
    Tcp,
    Steady,
    Steered,
    Local,
    Zipf,
    Miss,
    Memory,
    Start,
    Growth,
}

/// Works that are done with one server after another, one server at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    Hot,
    Steer,
    Local,
    Cold,
    Fill,
    Start,
    Growth,
}

/// What every load is described by.
const LOAD: [&str; 7] = [
    "CPU µs",
    "q/s",
    "p50 µs",
    "p99 µs",
    "p99.9 µs",
    "lost",
    "busy",
];
/// Likewise, and what is held.
const GROWTH: [&str; 8] = [
    "CPU µs",
    "q/s",
    "p50 µs",
    "p99 µs",
    "p99.9 µs",
    "lost",
    "busy",
    "MiB",
];

impl Work {
    pub(crate) const ALL: [Self; 12] = [
        Self::HotA,
        Self::HotAaaa,
        Self::HotHttps,
        Self::Tcp,
        Self::Steady,
        Self::Steered,
        Self::Local,
        Self::Zipf,
        Self::Miss,
        Self::Memory,
        Self::Start,
        Self::Growth,
    ];

    /// As it is chosen by.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::HotA => "hot-a",
            Self::HotAaaa => "hot-aaaa",
            Self::HotHttps => "hot-https",
            Self::Tcp => "tcp",
            Self::Steady => "steady",
            Self::Steered => "steered",
            Self::Local => "local",
            Self::Zipf => "zipf",
            Self::Miss => "miss",
            Self::Memory => "memory",
            Self::Start => "start",
            Self::Growth => "growth",
        }
    }

    pub(crate) fn describes(self) -> &'static str {
        match self {
            Self::HotA => "A of 1,000 names, held in the cache, 128 questions on their way",
            Self::HotAaaa => {
                "AAAA of 1,000 names that have it: the withheld answer, 128 on their way"
            }
            Self::HotHttps => {
                "HTTPS of 1,000 names that have it, held in the cache, 128 on their way"
            }
            Self::Tcp => "Hot A over TCP: 20 connections, 6 questions on their way on each",
            Self::Steady => "Hot A, 5,000 questions a second, whatever comes back",
            Self::Steered => {
                "Hot A, where sekisho answers with its own address; the others as in hot A"
            }
            Self::Local => "A of 1,000 of the 100,000 names in a local zone, 128 on their way",
            Self::Zipf => {
                "From a cold start: 200,000 questions, Zipf (s = 1) over 100,000 names, A, AAAA and HTTPS as 45:45:10, 3 % \
                 of them for names that do not exist; 128 on their way"
            }
            Self::Miss => "A of 100,000 names, each once: nothing is held; 128 on their way",
            Self::Memory => "Resident memory after the answers for 100,000 names",
            Self::Start => "From the start to the first answer from a local zone of 100,000 names",
            Self::Growth => "Hot A by how many names are hot and held, sekisho alone",
        }
    }

    pub(crate) fn columns(self) -> &'static [&'static str] {
        match self {
            Self::Memory => &["MiB", "MiB at first"],
            Self::Start => &["ms", "CPU ms", "MiB"],
            Self::Growth => &GROWTH,
            _ => &LOAD,
        }
    }

    pub(crate) fn stage(self) -> Stage {
        match self {
            Self::HotA | Self::HotAaaa | Self::HotHttps | Self::Tcp | Self::Steady => Stage::Hot,
            Self::Steered => Stage::Steer,
            Self::Local => Stage::Local,
            Self::Zipf => Stage::Cold,
            Self::Miss | Self::Memory => Stage::Fill,
            Self::Start => Stage::Start,
            Self::Growth => Stage::Growth,
        }
    }
}

impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Stage {
    /// In the order in which they are done.
    pub(crate) const ALL: [Self; 7] = [
        Self::Hot,
        Self::Steer,
        Self::Local,
        Self::Cold,
        Self::Fill,
        Self::Start,
        Self::Growth,
    ];

    /// The part that a server plays in it.
    pub(crate) fn part(self) -> Part {
        match self {
            Self::Hot | Self::Cold | Self::Fill | Self::Growth => Part::Forward,
            Self::Steer => Part::Steer,
            Self::Local => Part::Local,
            Self::Start => Part::Zone,
        }
    }

    /// Whether this server takes part.
    pub(crate) fn has(self, kind: Kind) -> bool {
        let fits = match self {
            // The floor asks nobody.
            Self::Cold => !matches!(kind, Kind::Floor | Kind::DnsmasqFitted),
            Self::Fill => kind != Kind::Floor,
            Self::Growth => kind == Kind::Sekisho,
            Self::Hot | Self::Steer | Self::Local | Self::Start => kind != Kind::DnsmasqFitted,
        };
        fits && kind.plays(self.part())
    }
}
