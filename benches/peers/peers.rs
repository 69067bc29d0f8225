//! The servers beside each other: which program each one is, how it is told to keep AAAA to itself, and its
//! configuration for each part that it plays.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs, io};

use crate::configurations as text;
use crate::peer;
use crate::zones::Zones;

/// Answers held at most, for all that have such a bound.
pub(crate) const CACHE: usize = 500_000;

/// What a server is started for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// To ask the upstream and keep what it says.
    Forward,
    /// Likewise, and to answer names with the gate's own address.
    Steer,
    /// To answer from records of its own, for clients.
    Local,
    /// To load a zone file.
    Zone,
}

/// Where a server is to run, and with what.
#[derive(Debug)]
pub(crate) struct Place<'a> {
    /// A folder of its own.
    pub(crate) folder: &'a Path,
    pub(crate) listen: SocketAddr,
    pub(crate) upstream: SocketAddr,
    /// Answers held at most.
    pub(crate) cache: usize,
    pub(crate) zones: &'a Zones,
    pub(crate) part: Part,
}

/// One of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Sekisho,
    Unbound,
    Dnsmasq,
    /// With room for what is asked, and no more: it takes the memory of its cache at the start.
    DnsmasqFitted,
    Bind,
    Kresd,
    Recursor,
    Dnsdist,
    Smartdns,
    Nsd,
    Floor,
}

impl Kind {
    pub(crate) const ALL: [Self; 11] = [
        Self::Sekisho,
        Self::Unbound,
        Self::Dnsmasq,
        Self::DnsmasqFitted,
        Self::Bind,
        Self::Kresd,
        Self::Recursor,
        Self::Dnsdist,
        Self::Smartdns,
        Self::Nsd,
        Self::Floor,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Sekisho => "sekisho",
            Self::Unbound => "unbound",
            Self::Dnsmasq => "dnsmasq",
            Self::DnsmasqFitted => "dnsmasq-fitted",
            Self::Bind => "bind9",
            Self::Kresd => "kresd",
            Self::Recursor => "pdns-recursor",
            Self::Dnsdist => "dnsdist",
            Self::Smartdns => "smartdns",
            Self::Nsd => "nsd",
            Self::Floor => "floor",
        }
    }

    /// The program, and the argument that makes it tell its version.
    fn program(self) -> (&'static str, &'static str) {
        match self {
            Self::Sekisho => ("sekisho", "--version"),
            Self::Unbound => ("unbound", "-V"),
            Self::Dnsmasq | Self::DnsmasqFitted => ("dnsmasq", "-v"),
            Self::Bind => ("named", "-v"),
            Self::Kresd => ("kresd", "--version"),
            Self::Recursor => ("pdns_recursor", "--version"),
            Self::Dnsdist => ("dnsdist", "--version"),
            Self::Smartdns => ("smartdns", "-v"),
            Self::Nsd => ("nsd", "-v"),
            Self::Floor => ("", ""),
        }
    }

    /// How it withholds AAAA.
    pub(crate) fn withholds(self) -> &'static str {
        match self {
            Self::Sekisho => "always",
            Self::Unbound => "private-address: ::/0",
            Self::Dnsmasq | Self::DnsmasqFitted => "filter-AAAA",
            Self::Bind => "filter-aaaa.so",
            Self::Kresd => "policy.ANSWER for AAAA",
            Self::Recursor => "preresolve in Lua",
            Self::Dnsdist => "NegativeAndSOAAction for AAAA",
            Self::Smartdns => "force-AAAA-SOA",
            Self::Nsd | Self::Floor => "",
        }
    }

    /// Whether it can play this part.
    pub(crate) fn plays(self, part: Part) -> bool {
        match part {
            Part::Forward => !matches!(self, Self::Nsd),
            Part::Steer => matches!(self, Self::Sekisho),
            Part::Local => matches!(self, Self::Sekisho | Self::Unbound | Self::Floor),
            Part::Zone => matches!(self, Self::Sekisho | Self::Unbound | Self::Nsd),
        }
    }
}

/// One that is installed here.
#[derive(Debug, Clone)]
pub(crate) struct Peer {
    pub(crate) kind: Kind,
    program: PathBuf,
    pub(crate) version: String,
}

impl Peer {
    /// Where it is installed; `sekisho` is where that one is.
    pub(crate) fn find(kind: Kind, sekisho: &Path) -> Option<Self> {
        let (name, argument) = kind.program();
        let program = match kind {
            Kind::Sekisho => Some(sekisho.to_owned()).filter(|path| path.is_file()),
            Kind::Floor => env::current_exe().ok(),
            _ => peer::find(name),
        }?;
        let version = match kind {
            Kind::Floor => String::new(),
            _ => peer::version(&program, argument),
        };
        Some(Self {
            kind,
            program,
            version,
        })
    }

    /// Writes its configuration, and says how it is started.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub(crate) fn command(&self, place: &Place<'_>) -> io::Result<Command> {
        let file = place.folder.join("configuration");
        let mut command = Command::new(&self.program);
        match self.kind {
            Kind::Sekisho => {
                fs::create_dir(place.folder.join("zones"))?;
                fs::write(&file, text::sekisho(place))?;
                command.args(["run", "--config"]).arg(file);
            }
            Kind::Unbound => {
                fs::write(&file, text::unbound(place))?;
                command.args(["-d", "-c"]).arg(file);
            }
            Kind::Dnsmasq | Kind::DnsmasqFitted => {
                fs::write(&file, text::dnsmasq(place))?;
                command.args(["--keep-in-foreground", "-C"]).arg(file);
            }
            Kind::Bind => {
                fs::write(&file, text::bind(place))?;
                command.args(["-f", "-n", "1", "-c"]).arg(file);
            }
            Kind::Kresd => {
                fs::write(&file, text::kresd(place))?;
                command.args(["-n", "-c"]).arg(file).arg(place.folder);
            }
            Kind::Recursor => {
                // The file's name is given by the program.
                fs::write(place.folder.join("recursor.conf"), text::recursor(place))?;
                fs::write(place.folder.join("withhold.lua"), text::RECURSOR_SCRIPT)?;
                let folder = place.folder.display();
                command.arg(format!("--config-dir={folder}"));
                if self.major_version() >= 5 {
                    command.arg("--enable-old-settings");
                }
            }
            Kind::Dnsdist => {
                fs::write(&file, text::dnsdist(place))?;
                command
                    .args(["--supervised", "--disable-syslog", "-C"])
                    .arg(file);
            }
            Kind::Smartdns => {
                fs::write(&file, text::smartdns(place))?;
                command.args(["-f", "-p", "-", "-c"]).arg(file);
            }
            Kind::Nsd => {
                let zones = vec![(
                    crate::data::LOCAL.to_owned(),
                    place.zones.local_zone.clone(),
                )];
                fs::write(&file, text::nsd(place.folder, place.listen, &zones))?;
                command.args(["-d", "-c"]).arg(file);
            }
            Kind::Floor => {
                command.args(["--floor", &place.listen.to_string()]);
            }
        }
        Ok(command)
    }

    fn major_version(&self) -> u32 {
        let (major, _) = self.version.split_once('.').unwrap_or_default();
        major.parse().unwrap_or(0)
    }
}
