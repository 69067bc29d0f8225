//! Local data: zones (this file), and hosts files and DHCP leases beside them ([`Local`] says how they go together). What
//! they hold is answered from here, with authority and as it is written; AAAA is never withheld from it. Asked by the
//! pipeline after the special names and before everything that goes out.
//!
//! [`Zones::load`] reads the folder, once at the start and once a reload; all else is PURE. The search is that of RFC
//! 1034 section 4.3.2 with wildcards by RFC 4592, negative answers by RFC 2308.
//!
//! A CNAME is followed through all zones, at most 16 times. Where it leaves them, the caller goes on from
//! [`LocalAnswer::chase`]. A loop is an error (RFC 1034 section 3.6.2): SERVFAIL, as a resolver answers it, with the
//! chain found so far; an authoritative server would answer the bare chain, which a client can only take for "no
//! address".

mod collect;
mod data;
mod from_hosts;
mod from_leases;
mod holder;
mod host_names;
mod hosts;
mod key;
mod leases;
mod load;
mod lookup;
mod plain;
mod pointers;
mod reverse;
mod sources;
mod table;
#[cfg(test)]
mod tests;
mod text;

use std::{
    collections::HashMap, fmt, fs, io, net::IpAddr, ops::RangeInclusive, path::Path, path::PathBuf,
    sync::Arc,
};

use hickory_proto::{
    op::ResponseCode,
    rr::{Name, Record, RecordType},
};

use self::collect::Collected;
pub use self::from_leases::{LeaseNames, Leases};
pub(super) use self::holder::Holder;
pub use self::host_names::HostNames;
pub(super) use self::key::Key;
use self::lookup::{Found, Zone, targets};
use self::pointers::Pointers;
pub use self::sources::Local;
use self::table::Set;
use crate::config::read_file;

/// How many CNAMEs of one answer are followed.
const MAX_ALIASES: usize = 16;
/// Of how many targets of one answer the addresses are added.
const MAX_TARGETS: usize = 16;
/// What the name of a zone file ends with.
const EXTENSION: &str = ".zone";
/// The largest zone file that is read, in bytes: a million names.
const LARGEST: u64 = 64 << 20;

/// The zones of this house. Cloning is cheap; a reload makes new ones.
#[derive(Clone, Debug, Default)]
pub struct Zones {
    zones: Arc<HashMap<Box<[u8]>, Arc<Zone>>>,
    pointers: Arc<Pointers>,
    notices: Arc<[ZoneProblem]>,
}

/// The answer to one question from local data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LocalAnswer {
    /// NOERROR, NXDOMAIN, or SERVFAIL for a loop of CNAMEs.
    pub(super) rcode: ResponseCode,
    /// The AA flag; not set on a referral.
    pub(super) authoritative: bool,
    /// The CNAMEs followed, and the records asked for.
    pub(super) answers: Vec<Record>,
    /// The SOA of a negative answer, or the NS records of a referral.
    pub(super) authorities: Vec<Record>,
    /// Addresses of the targets of MX, SRV and NS that are in our zones.
    pub(super) additionals: Vec<Record>,
    /// The target of the last CNAME, if it is in no local zone: the caller resolves it and appends what it gets.
    pub(super) chase: Option<Name>,
}

impl LocalAnswer {
    /// NOERROR with authority and nothing in it.
    pub(super) fn empty() -> Self {
        Self {
            rcode: ResponseCode::NoError,
            authoritative: true,
            answers: Vec::new(),
            authorities: Vec::new(),
            additionals: Vec::new(),
            chase: None,
        }
    }
}

/// One thing that is wrong with a file of local data.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ZoneProblem {
    /// The file, or the folder.
    pub file: PathBuf,
    /// The line, from 1; `None` where no line is at fault.
    pub line: Option<usize>,
    /// What is wrong.
    pub what: String,
    /// What to write.
    pub write: String,
}

impl fmt::Display for ZoneProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.file.display())?;
        if let Some(line) = self.line {
            write!(f, "line {line}: ")?;
        }
        write!(f, "{}; {}", self.what, self.write)
    }
}

impl Zones {
    /// Reads every `NAME.zone` of a folder; NAME is the zone. Other files, hidden files and folders are passed over.
    ///
    /// # Errors
    ///
    /// Everything that is wrong, in the order of the file names: the folder or a file that cannot be read, a file name
    /// that is no domain name, and what is wrong in the files. A zone file is UTF-8, with records of class IN, exactly
    /// one SOA at the apex and nothing outside the zone; `$INCLUDE` and `$GENERATE` are not supported.
    pub fn load(folder: &Path) -> Result<Self, Vec<ZoneProblem>> {
        let unreadable = |path: &Path, error: &io::Error, write: &str| ZoneProblem {
            file: path.into(),
            line: None,
            what: format!("cannot be read: {error}"),
            write: write.into(),
        };
        let listed = fs::read_dir(folder)
            .and_then(|entries| {
                entries
                    .map(|entry| entry.map(|entry| entry.path()))
                    .collect::<io::Result<Vec<PathBuf>>>()
            })
            .map_err(|error| {
                let write = "make the folder, or name another one in `dns.zones`";
                vec![unreadable(folder, &error, write)]
            });
        let mut paths = listed?;
        paths.sort();
        let mut collected = Collected::default();
        for path in paths {
            let Some(name) = path
                .file_name()
                .map(|name| name.to_string_lossy().to_ascii_lowercase())
            else {
                continue;
            };
            // A pipe would be waited on for ever; what cannot be looked at is reported by the reading.
            let no_file = fs::metadata(&path).is_ok_and(|found| !found.is_file());
            let hidden = name.starts_with('.') && name != EXTENSION;
            if no_file || hidden {
                continue;
            }
            let Some(stem) = name.strip_suffix(EXTENSION) else {
                collected.pass_over(&path, &name);
                continue;
            };
            match read_file(&path, LARGEST) {
                Ok(bytes) => collected.add(&path, stem, &bytes),
                Err(error) => collected.problems.push(unreadable(
                    &path,
                    &error,
                    "let the user of sekisho read it, or take it out of the folder",
                )),
            }
        }
        collected.finish()
    }

    /// Reads zones from pairs of a name and a text, as if each were a file `NAME.zone`.
    ///
    /// # Errors
    ///
    /// As [`Zones::load`], but for the reading.
    pub fn from_text(origin_and_texts: &[(&str, &str)]) -> Result<Self, Vec<ZoneProblem>> {
        let mut collected = Collected::default();
        for (origin, text) in origin_and_texts {
            let stem = origin.strip_suffix('.').unwrap_or(origin);
            let file = PathBuf::from(format!("{stem}{EXTENSION}"));
            collected.add(&file, stem, text.as_bytes());
        }
        collected.finish()
    }

    /// Whether there is no zone.
    pub fn is_empty(&self) -> bool {
        self.zones.is_empty()
    }

    /// What an administrator should know of zones that are sound: conflicts, and files that were passed over.
    pub fn notices(&self) -> &[ZoneProblem] {
        &self.notices
    }

    /// How many zones there are.
    pub fn len(&self) -> usize {
        self.zones.len()
    }

    /// The name that an address in our zones has, and how long that lives, where no zone is written for the address.
    fn pointer(&self, address: IpAddr) -> Option<(Name, u32)> {
        self.pointers.pointer(address)
    }

    /// Whether an address between these two has a name.
    fn has_pointers(&self, range: &RangeInclusive<IpAddr>) -> bool {
        self.pointers.any(range)
    }

    /// The SOA for negative answers of the closest zone at or above a name.
    fn negative(&self, name: &Name) -> Option<&Record> {
        self.closest(&Key::of(name)).map(|zone| &zone.negative)
    }

    /// The names of the zones, in no order.
    #[cfg(test)]
    fn origins(&self) -> impl Iterator<Item = &Name> {
        self.zones.values().map(|zone| &zone.origin)
    }

    /// Whether the name is at or under one of our zones.
    pub(super) fn zone_of(&self, name: &Name) -> bool {
        !self.is_empty() && self.closest(&Key::of(name)).is_some()
    }

    /// The answer to a question of class IN; `None` if the name is in none of our zones.
    ///
    /// Owners in the answer are in lower case, those from a wildcard included.
    pub(super) fn answer(&self, name: &Name, record_type: RecordType) -> Option<LocalAnswer> {
        if self.is_empty() {
            return None;
        }
        let mut key = Key::of(name);
        let mut zone = self.closest(&key)?;
        let mut owner = name.to_lowercase();
        owner.set_fqdn(true);
        let mut answer = LocalAnswer::empty();
        loop {
            match zone.find(&key, record_type) {
                Found::Records(set) => {
                    let records: Vec<Record> = set.records(&owner).collect();
                    self.add_addresses(&records, Zone::addresses, &mut answer);
                    answer.answers.extend(records);
                    return Some(answer);
                }
                Found::Alias(alias) => {
                    let before = answer.answers.len();
                    answer.answers.extend(alias.records(&owner));
                    let target = answer.end(&owner);
                    let held = answer.answers.get(..before).unwrap_or_default();
                    let looped = target == owner || held.iter().any(|record| record.name == target);
                    if looped || answer.answers.len() > MAX_ALIASES {
                        answer.rcode = ResponseCode::ServFail;
                        return Some(answer);
                    }
                    key = Key::of(&target);
                    owner = target;
                }
                Found::Referral(servers) => {
                    // AA speaks of the first owner in the answer section, which may be an alias of ours.
                    answer.authoritative = !answer.answers.is_empty();
                    self.add_addresses(&servers, Zone::glue, &mut answer);
                    answer.authorities.extend(servers);
                    return Some(answer);
                }
                Found::NoData => {
                    answer.authorities.push(zone.negative.clone());
                    return Some(answer);
                }
                Found::NxDomain => {
                    // The code is that of the chain's end (RFC 6604 section 3).
                    answer.rcode = ResponseCode::NXDomain;
                    answer.authorities.push(zone.negative.clone());
                    return Some(answer);
                }
            }
            let Some(next) = self.closest(&key) else {
                answer.chase = Some(owner);
                return Some(answer);
            };
            zone = next;
        }
    }

    /// The zone that is the closest at or above a name.
    fn closest(&self, key: &Key) -> Option<&Zone> {
        (0..=key.labels())
            .rev()
            .find_map(|labels| self.zones.get(key.suffix(labels)))
            .map(Arc::as_ref)
    }

    /// Adds the addresses of the targets of records, so far as they are ours.
    fn add_addresses<'a>(
        &'a self,
        records: &[Record],
        addresses: impl Fn(&'a Zone, &Key, RecordType) -> Option<Set<'a>>,
        answer: &mut LocalAnswer,
    ) {
        for target in targets(records).take(MAX_TARGETS) {
            let key = Key::of(target);
            let Some(zone) = self.closest(&key) else {
                continue;
            };
            let owner = target.to_lowercase();
            if answer.additionals.iter().any(|held| held.name == owner) {
                continue;
            }
            for record_type in [RecordType::A, RecordType::AAAA] {
                if let Some(found) = addresses(zone, &key, record_type) {
                    answer.additionals.extend(found.records(&owner));
                }
            }
        }
    }
}
