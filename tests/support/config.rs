//! A configuration for one test: everything on loopback and port 0, and whatever the test changes.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;

use super::Upstream;

/// The keys of a configuration, by section.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    sections: BTreeMap<String, BTreeMap<String, String>>,
    rules: Vec<String>,
    tables: Vec<String>,
    /// Files of the zones folder: name and text.
    pub(crate) zones: Vec<(String, String)>,
}

impl Setup {
    /// Everything on 127.0.0.1:0, this upstream, and loopback open to clients, because the origins live there.
    pub(crate) fn new(upstream: &Upstream) -> Self {
        Self::guarded(upstream).set("egress.allow", r#"["127.0.0.0/8", "::1/128"]"#)
    }

    /// As [`Setup::new`], with the egress guard as strict as it is by default.
    pub(crate) fn guarded(upstream: &Upstream) -> Self {
        let here = r#"["127.0.0.1:0"]"#;
        Self {
            sections: BTreeMap::new(),
            rules: Vec::new(),
            tables: Vec::new(),
            zones: Vec::new(),
        }
        .set("lan.address", r#""127.0.0.1""#)
        .set("lan.networks", r#"["127.0.0.0/8"]"#)
        .set("dns.listen", here)
        .set("dns.zones", r#""zones""#)
        .set("dns.rebind-allow", r#"["origin.example"]"#)
        .set("proxy.http", here)
        .set("proxy.socks", here)
        .set("proxy.tls", here)
        .set("proxy.quic", here)
        .set("proxy.plain", r#"["127.0.0.2:0"]"#)
        .set("web.listen", here)
        .set("web.admin", here)
        .set("log.level", r#""debug""#)
        .upstreams(&[upstream.address()])
    }

    /// Asks these servers, in this order.
    pub(crate) fn upstreams(self, addresses: &[SocketAddr]) -> Self {
        self.set("dns.upstream.servers", &list(addresses))
    }

    /// Sets one key, written as `section.key`, to a TOML value.
    pub(crate) fn set(mut self, key: &str, value: &str) -> Self {
        let (section, key) = key.rsplit_once('.').unwrap_or(("", key));
        self.sections
            .entry(section.to_owned())
            .or_default()
            .insert(key.to_owned(), value.to_owned());
        self
    }

    /// Sets `steer.mode`.
    pub(crate) fn mode(self, mode: &str) -> Self {
        self.set("steer.mode", &format!("\"{mode}\""))
    }

    /// Adds a rule: the lines of its table.
    pub(crate) fn rule(mut self, lines: &str) -> Self {
        self.rules.push(lines.to_owned());
        self
    }

    /// Asks these servers about this domain.
    pub(crate) fn upstream_zone(mut self, domain: &str, addresses: &[SocketAddr]) -> Self {
        self.tables.push(format!(
            "[[dns.upstream.zone]]\ndomain = \"{domain}\"\nservers = {}",
            list(addresses)
        ));
        self
    }

    /// Adds a file to the zones folder.
    pub(crate) fn zone(mut self, file: &str, text: &str) -> Self {
        self.zones.push((file.to_owned(), text.to_owned()));
        self
    }

    /// The file.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        for (section, keys) in &self.sections {
            if !section.is_empty() {
                writeln!(text, "[{section}]").expect("memory");
            }
            for (key, value) in keys {
                writeln!(text, "{key} = {value}").expect("memory");
            }
        }
        for rule in &self.rules {
            writeln!(text, "[[rule]]\n{rule}").expect("memory");
        }
        for table in &self.tables {
            writeln!(text, "{table}").expect("memory");
        }
        text
    }
}

fn list(addresses: &[SocketAddr]) -> String {
    let list: Vec<_> = addresses.iter().map(|a| format!("\"udp://{a}\"")).collect();
    format!("[{}]", list.join(", "))
}
