//! From a file to a [`Config`].

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::file::{Reader, Section};
use super::value::Wrong;
use super::{Config, Dns, Egress, Lan, Log, Mode, Problems, Proxy, Rule, Steer, Web};
use crate::net::{Interfaces, InterfacesError, ListenAddr};

/// The manual of every key, with its default.
pub const TEMPLATE: &str = include_str!("../../config/sekisho.toml");

/// Where a configuration is looked for that nobody named.
const DEFAULT_PATH: &str = "/etc/sekisho/sekisho.toml";

/// Where the system's own DNS servers are written.
const RESOLV_CONF: &str = "/etc/resolv.conf";

/// The largest configuration that is read, in bytes: far above any real one, far below what hurts.
const LARGEST: u64 = 1 << 20;

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file could not be read.
    #[error("could not read the configuration `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// What it says is wrong.
    #[error("{0}")]
    Problems(Problems),
    /// `auto` could not be filled in.
    #[error(transparent)]
    Interfaces(#[from] InterfacesError),
}

/// The file to read: the one named by `flag` or, without it, by `variable` (`$SEKISHO_CONFIG`), else
/// `/etc/sekisho/sekisho.toml` if it is there, else none.
pub fn locate(flag: Option<PathBuf>, variable: Option<PathBuf>) -> Option<PathBuf> {
    flag.or_else(|| variable.filter(|path| !path.as_os_str().is_empty()))
        .or_else(|| {
            let path = PathBuf::from(DEFAULT_PATH);
            path.exists().then_some(path)
        })
}

impl Config {
    /// Reads and checks a file; `None` takes the built-in defaults.
    ///
    /// # Errors
    ///
    /// [`ConfigError`], with every problem at once.
    pub fn load(path: Option<&Path>) -> Result<Self, ConfigError> {
        // A reload must find the file again, and the zones beside it, whatever the working directory is by then.
        let absolute =
            path.map(|path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned()));
        let path = absolute.as_deref();
        let text = match path {
            Some(path) => read(path).map_err(|source| ConfigError::Read {
                path: path.to_owned(),
                source,
            })?,
            None => String::new(),
        };
        let interfaces = Interfaces::read()?;
        // Without the file there is simply no server for `auto` to find, and that is reported.
        let resolv_conf = fs::read_to_string(RESOLV_CONF).unwrap_or_default();
        Self::parse(&text, path, &interfaces, &resolv_conf).map_err(ConfigError::Problems)
    }

    /// Checks a text as if it stood in the file `path`, on a machine with these interfaces and this resolv.conf.
    ///
    /// # Errors
    ///
    /// [`Problems`], all at once.
    pub fn parse(
        text: &str,
        path: Option<&Path>,
        interfaces: &Interfaces,
        resolv_conf: &str,
    ) -> Result<Self, Problems> {
        let reader = Reader::new(text);
        let tables = reader.tables();
        if reader.has_problems() {
            // What was not read as TOML would only be missed below.
            return Err(reader.finish());
        }
        let mut top = Section::top(&reader, tables.get_ref());
        let user = top.text("user", "nobody", |text| Ok(text.to_owned()));
        let state = top.text("state", "auto", |text| Ok(text.to_owned()));
        let folder = path.and_then(Path::parent);
        let (lan, listening) = Lan::read(top.section("lan"), interfaces);
        let dns = Dns::read(
            top.section("dns"),
            &listening,
            folder,
            interfaces,
            resolv_conf,
        );
        let steer = Steer::read(top.section("steer"), folder);
        let mode = steer.as_ref().map(|steer| steer.mode);
        let rules: Option<Vec<Rule>> = top
            .sections("rule")
            .into_iter()
            .map(|section| Rule::read(section, mode, folder))
            .collect();
        let proxy = Proxy::read(top.section("proxy"), listening, folder);
        let egress = Egress::read(top.section("egress"));
        let web = Web::read(top.section("web"), listening);
        let log = Log::read(top.section("log"));
        if let (Some(dns), Some(proxy), Some(mode)) = (&dns, &proxy, mode) {
            check_listeners(&top, dns, proxy, &web, mode);
            check_steering(&top, proxy, mode);
        }
        top.finish();
        let problems = reader.finish();
        if !problems.0.is_empty() {
            return Err(problems);
        }
        let config = || {
            Some(Self {
                path: path.map(Path::to_owned),
                user: user.filter(|user| !user.is_empty()),
                state: state_folder(&state?, folder),
                lan: lan?,
                dns: dns?,
                steer: steer?,
                rules: rules?,
                proxy: proxy?,
                egress: egress?,
                web,
                log: log?,
            })
        };
        // A section is missing only where a problem was reported.
        config().ok_or_else(Problems::default)
    }
}

/// The folder that is written, relative to the configuration's; `auto` is left to `app`.
fn state_folder(text: &str, folder: Option<&Path>) -> Option<PathBuf> {
    match text {
        "auto" => None,
        text => Some(folder.map_or_else(|| PathBuf::from(text), |folder| folder.join(text))),
    }
}

/// Reports listeners of different kinds on one address: only `web.listen` and `proxy.plain` can share one.
fn check_listeners(top: &Section<'_, '_>, dns: &Dns, proxy: &Proxy, web: &Web, mode: Mode) {
    let plain: &[ListenAddr] = if mode == Mode::Off { &[] } else { &proxy.plain };
    let tls: &[ListenAddr] = if mode == Mode::Off { &[] } else { &proxy.tls };
    if mode != Mode::Off {
        // Over UDP nobody but DNS could be in the way.
        for address in proxy.quic.iter().filter(|address| address.0.port() != 0) {
            if dns.listen.contains(address) {
                let what = format!("`{address}` stands in dns.listen, too");
                top.report("proxy.quic", Wrong::new(what, "give each its own port"));
            }
        }
    }
    let kinds = [
        ("dns.listen", dns.listen.as_slice()),
        ("dns.tls", dns.tls.as_slice()),
        ("proxy.http", proxy.http.as_slice()),
        ("proxy.socks", proxy.socks.as_slice()),
        ("proxy.tls", tls),
        ("proxy.plain", plain),
        ("web.listen", web.listen.as_slice()),
        ("web.admin", web.admin.as_slice()),
    ];
    for (index, (key, addresses)) in kinds.iter().enumerate() {
        for (other, others) in kinds.iter().take(index) {
            if (*other, *key) == ("proxy.plain", "web.listen") {
                continue;
            }
            for address in addresses.iter().filter(|address| address.0.port() != 0) {
                if others.contains(address) {
                    top.report(
                        key,
                        Wrong::new(
                            format!("`{address}` stands in {other}, too"),
                            "give each its own port",
                        ),
                    );
                }
            }
        }
    }
}

/// Reports steering that would point clients to ports where nobody listens.
fn check_steering(top: &Section<'_, '_>, proxy: &Proxy, mode: Mode) {
    let missing = match (mode, proxy.tls.is_empty(), proxy.plain.is_empty()) {
        (Mode::Off, ..) | (_, false, false) | (Mode::Ipv6Only, false, true) => return,
        (Mode::Ipv6Only | Mode::Address, true, _) => "proxy.tls",
        (Mode::Address, false, true) => "proxy.plain",
    };
    top.report(
        "steer",
        Wrong::new(
            format!("clients are pointed to the gate, where {missing} is empty"),
            format!("write {missing} = [\"lan:PORT\"], or steer.mode = \"off\""),
        ),
    );
}

/// The file's text, up to [`LARGEST`]; a device that never ends is a mistake, too.
fn read(path: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    File::open(path)?
        .take(LARGEST + 1)
        .read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LARGEST {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("it has more than {LARGEST} bytes"),
        ));
    }
    String::from_utf8(bytes)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not text (UTF-8)"))
}
