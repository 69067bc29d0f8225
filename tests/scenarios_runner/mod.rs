//! Plays one file of `tests/scenarios`: a whole gate in this process, scripted upstreams before it, and a client that
//! does what the steps say. Sockets are real and on loopback; time is not: it stands still, and passes only where a
//! step lets it pass.
//!
//! The gate and its upstreams share one runtime with a paused clock. The steps run beside it on a blocking thread,
//! because while one is busy the runtime does not move its clock by itself; `pass` asks the runtime to.

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

/// Plays a file; what went wrong is told with the file, the step, what was expected and what came.
pub(crate) fn run(path: &Path) -> Result<(), String> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let text = std::fs::read_to_string(path).map_err(|error| format!("{name}: {error}"))?;
    let scenario = format::read(&text).map_err(|error| format!("{name}: {error}"))?;
    gate::play(scenario).map_err(|error| format!("{name}: {error}"))
}
