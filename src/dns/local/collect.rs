//! From zone files to [`Zones`]: what each says, what is wrong with any of them, and the names of the addresses in all.
//! Called by [`Zones::load`], which reads the folder.

use std::collections::HashMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hickory_proto::rr::Name;

use super::key::Key;
use super::load;
use super::lookup::Zone;
use super::pointers::{Address, Pointers};
use super::reverse::Ranges;
use super::{ZoneProblem, Zones};
use crate::config::open_file;

/// The zones and the problems so far.
#[derive(Default)]
pub(super) struct Collected {
    zones: HashMap<Box<[u8]>, Arc<Zone>>,
    addresses: Vec<(PathBuf, Arc<Zone>, Vec<Address>)>,
    pub(super) problems: Vec<ZoneProblem>,
    notices: Vec<ZoneProblem>,
}

impl Collected {
    /// Reads one zone file; `stem` is its name without the extension.
    pub(super) fn add(&mut self, file: &Path, stem: &str, bytes: &[u8]) {
        let mut problem = |line: Option<usize>, what: String, write: &str| {
            self.problems.push(ZoneProblem {
                file: file.into(),
                line,
                what,
                write: write.into(),
            });
        };
        let Some(origin) = origin(stem) else {
            return problem(
                None,
                format!("`{stem}` is no domain name"),
                "name the file after its zone, for example `home.arpa.zone`",
            );
        };
        let text = match std::str::from_utf8(bytes) {
            Ok(text) => text,
            Err(error) => {
                let before = bytes.get(..error.valid_up_to()).unwrap_or_default();
                let line = before.iter().filter(|&&byte| byte == b'\n').count() + 1;
                return problem(
                    Some(line),
                    "text that is not UTF-8".into(),
                    "save the file as UTF-8",
                );
            }
        };
        let key = Key::of(&origin);
        if let Some(other) = self.zones.get(key.whole()) {
            return problem(
                None,
                format!("the zone `{}` is there twice", other.origin),
                "leave one file for it",
            );
        }
        if let Some((zone, addresses)) = load::zone(file, &origin, text, &mut self.problems) {
            let zone = Arc::new(zone);
            self.zones.insert(key.whole().into(), Arc::clone(&zone));
            self.addresses.push((file.into(), zone, addresses));
        }
    }

    /// Looks at a file that is no zone by its name, and may be meant to be one.
    pub(super) fn pass_over(&mut self, file: &Path, stem: &str) {
        let copy = stem.contains(".zone.") || stem.ends_with('~') || stem.starts_with('#');
        if copy || !begins_like_a_zone(file) {
            return;
        }
        self.notices.push(ZoneProblem {
            file: file.into(),
            line: None,
            what: "passed over, although it reads like a zone".into(),
            write: "name it after its zone with `.zone` at the end, as in `home.arpa.zone`, or take it out of the folder"
                .into(),
        });
    }

    /// The zones with the names of their addresses, or everything that is wrong.
    pub(super) fn finish(mut self) -> Result<Zones, Vec<ZoneProblem>> {
        if !self.problems.is_empty() {
            return Err(self.problems);
        }
        // A zone that is written for an address decides alone.
        let written = Ranges::of(self.zones.values().map(|zone| &zone.origin));
        for (.., addresses) in &mut self.addresses {
            addresses.retain(|address| !written.contains(address.address));
        }
        let pointers = Pointers::new(self.addresses, &mut self.notices);
        Ok(Zones {
            zones: Arc::new(self.zones),
            pointers: Arc::new(pointers),
            notices: self.notices.into(),
        })
    }
}

/// How much of a file is looked at to see whether it reads like a zone, in bytes.
const GLANCE: u64 = 4096;

/// Whether a SOA record stands near the beginning of a file.
fn begins_like_a_zone(file: &Path) -> bool {
    let mut start = Vec::new();
    let read = open_file(file).and_then(|file| file.take(GLANCE).read_to_end(&mut start));
    read.is_ok()
        && start
            .split(u8::is_ascii_whitespace)
            .any(|word| word.eq_ignore_ascii_case(b"SOA"))
}

/// The zone that a file is named after: at least one label.
fn origin(stem: &str) -> Option<Name> {
    if stem.contains(['\\', char::REPLACEMENT_CHARACTER]) || stem.contains("..") {
        return None;
    }
    let mut origin = Name::from_utf8(stem).ok()?.to_lowercase();
    origin.set_fqdn(true);
    (Key::of(&origin).labels() > 0).then_some(origin)
}
