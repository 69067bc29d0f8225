//! PURE. Hosts files -> [`HostNames`], and what an administrator should know of them.
//!
//! A name of one label is one of the local domain. The first name of an address is the name that the address has.
//! What is wrong with a line is told, and the other lines count.

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use hickory_proto::rr::{Name, RData, RecordType};

use super::super::special::{self, Special};
use super::host_names::{HostNames, MAX_NAMES, host_name};
use super::hosts::{self, Entry, Told, shown};
use super::{ZoneProblem, Zones};

/// How much is told of all files together.
const MAX_NOTICES: usize = 50;

/// Reads hosts files: the names, and what is wrong or in conflict.
pub(super) fn read(
    files: &[(PathBuf, Vec<u8>)],
    zones: &Zones,
    domain: &Name,
) -> (HostNames, Vec<ZoneProblem>) {
    let mut reader = Reader {
        zones,
        domain,
        names: HostNames::default(),
        pointed_in: HashMap::new(),
        notices: Vec::new(),
        more: 0,
    };
    for (file, bytes) in files {
        reader.names.begin(file);
        for (line, entry) in hosts::entries(bytes) {
            match entry {
                Ok(entry) => reader.entry(file, line, &entry),
                Err((what, write)) => reader.notice(file, line, what, write),
            }
        }
    }
    if reader.more > 0
        && let Some(last) = reader.notices.last()
    {
        let more = ZoneProblem {
            file: last.file.clone(),
            line: None,
            what: format!("{} more like these", reader.more),
            write: "correct those above first".into(),
        };
        reader.notices.push(more);
    }
    (reader.names, reader.notices)
}

struct Reader<'a> {
    zones: &'a Zones,
    domain: &'a Name,
    names: HostNames,
    /// In which file an address got its name.
    pointed_in: HashMap<IpAddr, &'a Path>,
    notices: Vec<ZoneProblem>,
    more: usize,
}

impl<'a> Reader<'a> {
    fn notice(&mut self, file: &Path, line: usize, what: String, write: String) {
        if self.notices.len() >= MAX_NOTICES {
            self.more += 1;
            return;
        }
        self.notices.push(ZoneProblem {
            file: file.into(),
            line: Some(line),
            what,
            write,
        });
    }

    fn entry(&mut self, file: &'a Path, line: usize, entry: &Entry<'_>) {
        if entry.told == Told::Nothing {
            return;
        }
        let address = entry.address;
        let mut names = Vec::with_capacity(entry.names.len());
        for word in &entry.names {
            // Block lists begin with `0.0.0.0 0.0.0.0`.
            if word.parse::<IpAddr>().is_ok() {
                continue;
            }
            let Some(name) = host_name(word) else {
                self.notice(
                    file,
                    line,
                    format!("`{}` is no host name", shown(word)),
                    "write letters, digits and `-`; other scripts in their `xn--` form".into(),
                );
                continue;
            };
            let Some(name) = self.name(file, line, name, entry) else {
                continue;
            };
            let held = match entry.told {
                Told::Both | Told::Forward => Some(address),
                Told::Existence | Told::Nothing => None,
            };
            if held.is_some() {
                self.compare(file, line, &name, address);
            }
            if !self.names.tell(&name, held, self.domain) {
                self.notice(
                    file,
                    line,
                    format!("`{name}` is passed over: more than {MAX_NAMES} names, or too many addresses of one"),
                    "leave out what nobody asks for".into(),
                );
            }
            if entry.told == Told::Existence {
                self.names.lead_to_loopback(&name, address);
            }
            names.push(name);
        }
        if entry.told == Told::Both && !names.is_empty() {
            self.point(file, line, address, &names);
        }
    }

    /// The whole name; `None` where it has a meaning of its own.
    fn name(&mut self, file: &Path, line: usize, name: Name, entry: &Entry<'_>) -> Option<Name> {
        match special::special(&name, self.domain) {
            Some(Special::LocalAddress) if entry.address.is_loopback() => return None,
            Some(special) if !special.yields_to_zones() => {
                let what = format!("`{name}` is a special name, and is not answered from here");
                self.notice(
                    file,
                    line,
                    what,
                    "take it out, or choose another name".into(),
                );
                return None;
            }
            _ => {}
        }
        match name.num_labels() {
            1 => name.append_domain(self.domain).ok(),
            _ => Some(name),
        }
    }

    /// Tells where a zone says otherwise.
    fn compare(&mut self, file: &Path, line: usize, name: &Name, address: IpAddr) {
        let record_type = match address {
            IpAddr::V4(_) => RecordType::A,
            IpAddr::V6(_) => RecordType::AAAA,
        };
        let Some(answer) = self.zones.answer(name, record_type) else {
            return;
        };
        let same = |data: &RData| data.ip_addr() == Some(address);
        if !answer.authoritative
            || answer.chase.is_some()
            || !answer.denies() && !answer.answers.iter().any(|record| same(&record.data))
        {
            self.notice(
                file,
                line,
                format!("a local zone says otherwise of `{name}`, and counts"),
                format!("write `{address}` into the zone, or take the name out here"),
            );
        }
    }

    fn point(&mut self, file: &'a Path, line: usize, address: IpAddr, names: &[Name]) {
        let Some(first) = names.first() else {
            return;
        };
        if let Some((zone, _)) = self.zones.pointer(address)
            && !names.contains(&zone)
        {
            let what = format!("`{address}` is `{zone}` by a local zone, and has only that name");
            self.notice(
                file,
                line,
                what,
                format!("write `{address} {zone} {first}`"),
            );
        }
        let held = self.names.point(address, first).clone();
        let other = *self.pointed_in.entry(address).or_insert(file);
        if other != file && !names.contains(&held) {
            let what = format!(
                "`{address}` is `{held}` by `{}`, and has only that name",
                other.display()
            );
            self.notice(
                file,
                line,
                what,
                "write all names of an address on one line".into(),
            );
        }
    }
}
