//! Log lines: to stderr, as text or JSON, at a level that a reload can change.

use std::io::{self, IsTerminal};
use std::sync::OnceLock;

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::reload::{self, Handle};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, fmt};

use super::writer::{self, Lines};

static LEVEL: OnceLock<Handle<Targets, Registry>> = OnceLock::new();

/// Why logging could not be set up or changed.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// Somebody was first.
    #[error("logging is already set up")]
    Twice,
    /// The system.
    #[error("there is no thread to write log lines")]
    Thread(#[from] io::Error),
}

/// Sends log lines to stderr from now on; once a process.
///
/// # Errors
///
/// [`LogError`] when logging was set up before, or the system gives no thread.
pub fn init(level: LevelFilter, json: bool) -> Result<(), LogError> {
    let (filter, handle) = reload::Layer::new(targets(level));
    writer::start()?;
    let lines = fmt::layer().with_writer(Lines).with_target(false);
    let lines = if json {
        lines
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_span_list(false)
            .boxed()
    } else {
        lines.with_ansi(colour(&io::stderr())).boxed()
    };
    tracing_subscriber::registry()
        .with(lines.with_filter(filter))
        .try_init()
        .map_err(|_| LogError::Twice)?;
    LEVEL.set(handle).map_err(|_| LogError::Twice)
}

/// Whether a stream wants colour: it is a terminal, and NO_COLOR is not set (no-color.org).
pub fn colour(stream: &impl IsTerminal) -> bool {
    stream.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Changes the level of a running program; without [`init`] there is nothing to change.
pub fn set_level(level: LevelFilter) {
    if let Some(handle) = LEVEL.get() {
        // Fails only once the subscriber is gone, when nobody reads the lines any more.
        handle.reload(targets(level)).ok();
    }
}

/// Our own lines at `level`, those of the query log always, because it has a switch of its own; those of the libraries below only as errors: hickory warns of every foreign packet, which
/// is the fault of a peer and would let anybody fill the log.
fn targets(level: LevelFilter) -> Targets {
    Targets::new()
        .with_default(level.min(LevelFilter::ERROR))
        .with_target("sekisho", level)
        .with_target("sekisho::queries", LevelFilter::INFO)
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    #[test]
    fn what_libraries_say_of_peers_is_never_logged() {
        for level in [LevelFilter::INFO, LevelFilter::TRACE] {
            let targets = targets(level);
            let library = "hickory_net::udp::udp_client_stream";
            assert!(!targets.would_enable(library, &Level::WARN));
            assert!(targets.would_enable(library, &Level::ERROR));
            assert!(targets.would_enable("sekisho::resolve", &Level::INFO));
        }
        assert!(!targets(LevelFilter::OFF).would_enable("hickory_net", &Level::ERROR));
    }
}
