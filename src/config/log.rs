//! PURE. `[log]`: what is told, and how.

use tracing_subscriber::filter::LevelFilter;

use super::file::Section;
use super::value;

/// Log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Log {
    /// The least important lines that are written.
    pub level: LevelFilter,
    /// How a line is written.
    pub format: Format,
    /// Whether every query of a client is told, with its answer.
    pub queries: bool,
}

/// How a line is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Text,
    /// For programs, one object a line.
    Json,
}

/// The words for levels, in the order of importance.
pub(super) const LEVELS: [(&str, LevelFilter); 6] = [
    ("off", LevelFilter::OFF),
    ("error", LevelFilter::ERROR),
    ("warn", LevelFilter::WARN),
    ("info", LevelFilter::INFO),
    ("debug", LevelFilter::DEBUG),
    ("trace", LevelFilter::TRACE),
];

impl Log {
    /// Reads `[log]`.
    pub(super) fn read(mut section: Section<'_, '_>) -> Option<Self> {
        let level = section.text("level", "info", |text| value::word(text, &LEVELS));
        let format = section.text("format", "text", |text| {
            value::word(text, &[("text", Format::Text), ("json", Format::Json)])
        });
        let queries = section.flag("queries", false);
        section.finish();
        Some(Self {
            level: level?,
            format: format?,
            queries,
        })
    }
}
