//! PURE. `[web]`: PAC and the admin listener.

use super::file::Section;
use super::lan::Listening;
use crate::net::ListenAddr;

/// What is shown over HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Web {
    /// PAC and WPAD; may share its addresses with `proxy.plain`.
    pub listen: Vec<ListenAddr>,
    /// Metrics and health.
    pub admin: Vec<ListenAddr>,
}

impl Web {
    /// Reads `[web]`.
    pub(super) fn read(mut section: Section<'_, '_>, listening: Listening) -> Self {
        let listen = listening.read(&mut section, "listen", &["lan:80"]);
        let admin = listening.read(&mut section, "admin", &["127.0.0.1:9053"]);
        section.finish();
        Self { listen, admin }
    }
}
