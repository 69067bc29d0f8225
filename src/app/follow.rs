//! Hosts files and DHCP leases, followed as they change: looked at once a second, read when they are another file, and
//! put in force as a whole. A lease that ends is taken out at that time, too.
//!
//! A file that is missing or cannot be read says nothing until it can; that is told once. One that is larger than
//! [`MAX_BYTES`] is not read.

use std::collections::HashSet;
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use hickory_proto::rr::Name;
use tokio_util::task::AbortOnDropHandle;

use crate::config::{Config, read_file};
use crate::dns::{HostNames, Leases, Local, ZoneProblem};
use crate::telemetry::{LocalLabels, Metrics};

/// How often the files are looked at.
const PACE: Duration = Duration::from_secs(1);
/// The largest file that is read, in bytes: ten times the largest block list.
const MAX_BYTES: u64 = 64 << 20;
/// The host name of this machine.
const HOST_NAME: &str = "/proc/sys/kernel/hostname";

/// The files of one configuration, and what they said last.
#[derive(Debug)]
pub(super) struct Follower {
    local: Local,
    domain: Name,
    reserved: HashSet<String>,
    hosts: Vec<Source>,
    leases: Vec<Source>,
    leased: Leases,
    /// When a lease ends, in seconds since 1970.
    next_end: Option<u64>,
    metrics: Arc<Metrics>,
}

impl Follower {
    /// Follows the files of a configuration, and tells `local`. Nothing is read yet.
    pub(super) fn new(config: &Config, local: Local, metrics: Arc<Metrics>) -> Self {
        let sources = |paths: &[PathBuf]| paths.iter().cloned().map(Source::new).collect();
        Self {
            local,
            domain: config.lan.domain.clone(),
            reserved: own_labels(),
            hosts: sources(&config.dns.hosts),
            leases: sources(&config.dns.leases),
            leased: Leases::default(),
            next_end: None,
            metrics,
        }
    }

    /// Reads what has changed since it was looked at last; returns what an administrator should know of it.
    pub(super) fn look(&mut self, now: SystemTime) -> Vec<ZoneProblem> {
        let mut problems = Vec::new();
        if changed(&mut self.hosts) {
            let files = read(&mut self.hosts, &mut problems);
            let (names, found) = HostNames::read(&files, self.local.zones(), &self.domain);
            problems.extend(found);
            self.count("hosts", names.len());
            tracing::debug!(names = names.len(), "read hosts files");
            self.local.follow_hosts(names);
        }
        let now = now
            .duration_since(SystemTime::UNIX_EPOCH)
            .map_or(0, |since| since.as_secs());
        let anew = changed(&mut self.leases);
        if anew {
            let files = read(&mut self.leases, &mut problems);
            let (leased, found) = Leases::read(&files);
            problems.extend(found);
            if leased.strange() > 0 {
                tracing::debug!(
                    count = leased.strange(),
                    "passed over what no lease file has"
                );
            }
            self.leased = leased;
        }
        if anew || self.next_end.is_some_and(|end| end <= now) {
            let made = self.leased.names(now, &self.domain, &self.reserved);
            if anew && made.refused > 0 {
                // The clients chose these names; it is no fault of the administrator's.
                tracing::debug!(count = made.refused, "passed over leases by their names");
                let refused = u64::try_from(made.refused).unwrap_or(u64::MAX);
                self.metrics.lease_names_refused.inc_by(refused);
            }
            self.next_end = made.next_end;
            self.count("leases", made.names.len());
            self.local.follow_leases(made.names);
        }
        problems
    }

    fn count(&self, source: &'static str, names: usize) {
        let labels = LocalLabels { source };
        self.metrics.local_reads.get_or_create(&labels).inc();
        let names = i64::try_from(names).unwrap_or(i64::MAX);
        self.metrics.local_names.get_or_create(&labels).set(names);
    }

    /// Looks again and again, off the threads that answer, until the handle is dropped; `None` where there is nothing to
    /// follow.
    pub(super) fn spawn(mut self) -> Option<AbortOnDropHandle<()>> {
        if self.hosts.is_empty() && self.leases.is_empty() {
            return None;
        }
        let task = async move {
            loop {
                tokio::time::sleep(PACE).await;
                let looked = tokio::task::spawn_blocking(move || {
                    warn_of(&self.look(system_time()));
                    self
                });
                self = match looked.await {
                    Ok(follower) => follower,
                    Err(error) => {
                        // At the end of the runtime there is nothing to follow for.
                        if error.is_panic() {
                            tracing::error!(%error, "hosts files and leases are no longer followed");
                        }
                        return;
                    }
                };
            }
        };
        Some(AbortOnDropHandle::new(tokio::spawn(task)))
    }
}

/// Says what is wrong with the files.
pub(super) fn warn_of(problems: &[ZoneProblem]) {
    for problem in problems {
        tracing::warn!(%problem, "local data");
    }
}

/// The time by which leases end.
pub(super) fn system_time() -> SystemTime {
    #[expect(
        clippy::disallowed_methods,
        reason = "DHCP servers write the time of day, and this is the shell that reads it"
    )]
    SystemTime::now()
}

/// The first label of this machine's name, which no DHCP client may take.
fn own_labels() -> HashSet<String> {
    let host = fs::read_to_string(HOST_NAME).unwrap_or_default();
    let label = host.trim().split('.').next().unwrap_or_default();
    HashSet::from([label.to_ascii_lowercase()])
}

/// One file.
#[derive(Debug)]
struct Source {
    path: PathBuf,
    /// What it was when it was looked at last; `None` before that.
    seen: Option<Seen>,
    /// Whether it was told that it cannot be read.
    told: bool,
}

/// What tells a file from what it was.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Seen {
    Missing,
    File {
        device: u64,
        inode: u64,
        length: u64,
        modified: (i64, i64),
        changed: (i64, i64),
    },
}

impl Seen {
    fn of(path: &Path) -> Self {
        let stamp = |found: Metadata| Self::File {
            device: found.dev(),
            inode: found.ino(),
            length: found.size(),
            modified: (found.mtime(), found.mtime_nsec()),
            changed: (found.ctime(), found.ctime_nsec()),
        };
        fs::metadata(path).map_or(Self::Missing, stamp)
    }
}

impl Source {
    fn new(path: PathBuf) -> Self {
        Self {
            path,
            seen: None,
            told: false,
        }
    }

    /// Its bytes; what keeps them from us is told once.
    fn read(&mut self, problems: &mut Vec<ZoneProblem>) -> Option<Vec<u8>> {
        match read_file(&self.path, MAX_BYTES) {
            Ok(bytes) => {
                self.told = false;
                Some(bytes)
            }
            Err(error) => {
                if !self.told {
                    problems.push(ZoneProblem {
                        file: self.path.clone(),
                        line: None,
                        what: format!("cannot be read: {error}; nothing is answered from it until it can"),
                        write: "let the user of sekisho read it, or take it out of `dns.hosts` or `dns.leases`"
                            .into(),
                    });
                }
                self.told = true;
                None
            }
        }
    }
}

/// Looks at every file; whether one is another than it was.
fn changed(sources: &mut [Source]) -> bool {
    let mut any = false;
    for source in sources {
        // Taken before the reading: what is written meanwhile is seen the next time.
        let seen = Some(Seen::of(&source.path));
        any |= source.seen != seen;
        source.seen = seen;
    }
    any
}

fn read(sources: &mut [Source], problems: &mut Vec<ZoneProblem>) -> Vec<(PathBuf, Vec<u8>)> {
    sources
        .iter_mut()
        .filter_map(|source| Some((source.path.clone(), source.read(problems)?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::{Forwarded, OwnName, OwnNames, Zones};
    use crate::net::{Family, Interfaces};

    struct Scene {
        folder: tempfile::TempDir,
        follower: Follower,
        names: OwnNames,
    }

    impl Scene {
        fn new() -> Self {
            let folder = tempfile::TempDir::new().unwrap();
            let text = "[dns]\nhosts = [\"hosts\"]\nleases = [\"leases\"]\n";
            let interfaces = Interfaces::of(&[("eth0", "192.168.1.2/24")], Some("eth0"));
            let path = folder.path().join("sekisho.toml");
            let config =
                Config::parse(text, Some(&path), &interfaces, "nameserver 192.0.2.53\n").unwrap();
            let local = Local::new(Zones::default(), config.lan.domain.clone(), true);
            let names = OwnNames::new(&config.lan, local.clone(), Forwarded::default());
            let follower = Follower::new(&config, local, Arc::new(Metrics::new()));
            Self {
                folder,
                follower,
                names,
            }
        }

        fn write(&self, file: &str, text: &str) {
            fs::write(self.folder.path().join(file), text).unwrap();
        }

        fn look(&mut self, seconds: u64) -> usize {
            let now = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
            self.follower.look(now).len()
        }

        fn address(&self, name: &str) -> Option<String> {
            let name = Name::from_ascii(name).unwrap();
            match self.names.look_up(&name, Family::V4) {
                Some(OwnName::Addresses(addresses)) => addresses.first().map(ToString::to_string),
                _ => None,
            }
        }
    }

    #[test]
    fn a_missing_file_is_told_once_and_read_when_it_comes() {
        let mut scene = Scene::new();
        assert_eq!(scene.look(0), 2);
        assert_eq!(scene.look(1), 0);
        scene.write("hosts", "192.168.1.10 nas\n");
        assert_eq!(scene.look(2), 0);
        assert_eq!(scene.address("nas.").as_deref(), Some("192.168.1.10"));
        fs::remove_file(scene.folder.path().join("hosts")).unwrap();
        assert_eq!(scene.look(3), 1);
        assert_eq!(scene.address("nas."), None);
    }

    #[test]
    fn a_file_is_read_again_only_when_it_is_another() {
        let mut scene = Scene::new();
        scene.write("hosts", "192.168.1.10 nas\n");
        let reads = |scene: &Scene| {
            let labels = LocalLabels { source: "hosts" };
            scene
                .follower
                .metrics
                .local_reads
                .get_or_create(&labels)
                .get()
        };
        scene.look(0);
        scene.look(1);
        assert_eq!(reads(&scene), 1);
        scene.write("next", "192.168.1.11 nas\n");
        let path = |file| scene.folder.path().join(file);
        fs::rename(path("next"), path("hosts")).unwrap();
        scene.look(2);
        assert_eq!(reads(&scene), 2);
        assert_eq!(scene.address("nas.").as_deref(), Some("192.168.1.11"));
    }

    #[test]
    fn a_lease_ends_although_its_file_stays_as_it_is() {
        let mut scene = Scene::new();
        scene.write(
            "leases",
            "1800000000 52:54:00:12:34:56 192.168.1.50 phone *\n",
        );
        scene.look(1_799_999_999);
        assert_eq!(
            scene.address("phone.home.arpa.").as_deref(),
            Some("192.168.1.50")
        );
        scene.look(1_800_000_000);
        assert_eq!(scene.address("phone.home.arpa."), None);
    }

    #[test]
    fn this_machine_and_files_that_are_too_large_are_safe() {
        let mut scene = Scene::new();
        scene.follower.reserved = HashSet::from(["gatebox".to_owned()]);
        scene.write(
            "leases",
            "1800000000 52:54:00:12:34:56 192.168.1.50 gatebox *\n",
        );
        let large = fs::File::create(scene.folder.path().join("hosts")).unwrap();
        large.set_len(MAX_BYTES + 1).unwrap();
        let found = scene.follower.look(SystemTime::UNIX_EPOCH);
        let said: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert!(
            said.len() == 1 && said[0].contains("it has more than 67108864 bytes"),
            "{said:?}"
        );
        assert_eq!(scene.address("gatebox."), None);
        assert_eq!(scene.follower.metrics.lease_names_refused.get(), 1);
    }
}
