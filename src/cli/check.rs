//! `sekisho check`: everything that `run` reads, read; nothing bound.

use std::path::PathBuf;

use super::{ConfigFlag, Exit, output};
use crate::app;
use crate::config::{Config, Mode};
use crate::net::ListenAddr;

pub(super) fn run(flag: &ConfigFlag) -> Exit {
    let config = match flag.load() {
        Ok(config) => config,
        Err(exit) => return exit,
    };
    let checked = app::check(&config);
    for warning in &checked.warnings {
        output::warning(warning);
    }
    if checked.problems.is_empty() {
        let path = config.path.as_ref().map_or_else(
            || "the built-in defaults".to_owned(),
            |path| format!("`{}`", path.display()),
        );
        output::data(&format!("{path}: good\n{}", summary(&config)));
        return Exit::Good;
    }
    for problem in &checked.problems {
        output::error(problem);
    }
    Exit::Config
}

/// What `run` would do, in a few lines.
fn summary(config: &Config) -> String {
    let list = |items: Vec<String>| {
        if items.is_empty() {
            "none".to_owned()
        } else {
            items.join(", ")
        }
    };
    let listen =
        |addresses: &[ListenAddr]| list(addresses.iter().map(ToString::to_string).collect());
    let steered = |addresses: &[ListenAddr]| match config.steer.mode {
        Mode::Off => "none, as steer.mode is off".to_owned(),
        Mode::Ipv6Only | Mode::Address => listen(addresses),
    };
    let steering = match config.steer.mode {
        Mode::Off => "off".to_owned(),
        Mode::Ipv6Only => format!("names that have IPv6 only, to {}", config.lan.address),
        Mode::Address => format!("every name, to {}", config.lan.address),
    };
    let clients = config
        .lan
        .networks
        .networks()
        .iter()
        .map(ToString::to_string);
    let upstream = &config.dns.upstream;
    let servers = upstream.servers.iter().map(ToString::to_string);
    let own = upstream.zones.iter().map(|zone| {
        let servers: Vec<String> = zone.servers.iter().map(ToString::to_string).collect();
        format!("{} at {}", zone.domain, servers.join(" "))
    });
    let validation = if config.dns.dnssec { "on" } else { "off" };
    let zones = match &config.dns.zones {
        Some(folder) if folder.exists() => folder.display().to_string(),
        _ => "none".to_owned(),
    };
    let files = |paths: &[PathBuf]| {
        list(
            paths
                .iter()
                .map(|path| path.display().to_string())
                .collect(),
        )
    };
    [
        ("clients", list(clients.collect())),
        ("dns", listen(&config.dns.listen)),
        ("DNS over TLS", listen(&config.dns.tls)),
        ("DNS over TLS", listen(&config.dns.tls)),
        ("upstream", list(servers.collect())),
        ("own servers", list(own.collect())),
        ("DNSSEC", validation.to_owned()),
        ("zones", zones),
        ("hosts files", files(&config.dns.hosts)),
        ("leases", files(&config.dns.leases)),
        ("steering", steering),
        ("forward proxy", listen(&config.proxy.http)),
        ("SOCKS", listen(&config.proxy.socks)),
        ("transparent TLS", steered(&config.proxy.tls)),
        ("transparent HTTP", steered(&config.proxy.plain)),
        ("transparent QUIC", steered(&config.proxy.quic)),
        ("PAC", listen(&config.web.listen)),
        ("admin", listen(&config.web.admin)),
    ]
    .into_iter()
    .map(|(what, value)| format!("  {what:<17} {value}\n"))
    .collect()
}
