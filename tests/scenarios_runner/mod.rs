//! Plays one file of `tests/scenarios`: a whole gate in this process, scripted upstreams before it, and a client that
//! does what the steps say. Sockets are real and on loopback; time is not: it stands still, and passes only where a
//! step lets it pass.
//!
//! The gate and its upstreams share one runtime with a paused clock. The steps run beside it on a blocking thread,
//! because while one is busy the runtime does not move its clock by itself; `pass` asks the runtime to.

mod again;
mod client;
mod dig;
mod expect;
mod format;
mod gate;
mod records;
mod reply;
mod signing;
mod steps;
mod upstream;
mod zone;

use std::path::Path;

/// How a file is played.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// As it stands.
    Once,
    /// Every question is asked again at once, with another ID and in another spelling, and is answered the same: from
    /// the store, without the runtime.
    Again,
    /// With a bit in every question that means nothing, and keeps it from being answered from octets.
    Long,
}

/// The ways in which a file is played.
pub(crate) fn ways(path: &Path) -> Vec<Way> {
    let once = read(path).is_ok_and(|scenario| scenario.once.is_some());
    match once {
        true => vec![Way::Once, Way::Long],
        false => vec![Way::Once, Way::Again, Way::Long],
    }
}

/// Plays a file; what went wrong is told with the file, the step, what was expected and what came.
pub(crate) fn run(path: &Path, way: Way) -> Result<(), String> {
    let played = read(path).and_then(|scenario| gate::play(scenario, way));
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    played.map_err(|error| format!("{name}: {error}"))
}

fn read(path: &Path) -> Result<format::Scenario, String> {
    let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
    format::read(&text)
}
