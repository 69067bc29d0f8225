//! A new configuration in a running gate.
//!
//! The whole next state is read and built first; only then does each live part take its new pointer. What cannot
//! change in a running process is reported and stays as it is.

use std::sync::Arc;

use super::certificate::{self, Held};
use super::loaded::Loaded;
use super::running::Running;
use super::state::State;
use crate::config::{Config, ConfigError, Dns, Lan, Log, Mode, Proxy, Web};
use crate::resolve::{Trust, TrustAnchors};
use crate::telemetry::{ReloadLabels, chain, events, set_level, set_queries};

/// Reads the configuration again and puts it in force; a bad one changes nothing and says why.
pub(super) fn reload(running: &mut Running) {
    running.reload();
}

impl Running {
    /// As SIGHUP does: reads the configuration, and all that it names, again. Says whether it is in force now.
    pub fn reload(&mut self) -> bool {
        attempt(self)
    }
}

fn attempt(running: &mut Running) -> bool {
    let outcome = match next(running) {
        Ok(next) => {
            apply(running, next);
            tracing::info!("{}", events::RELOADED);
            "done"
        }
        Err(problems) => {
            let path = running
                .config
                .path
                .as_ref()
                .map(|path| path.display().to_string());
            let file = path.as_deref().unwrap_or("the built-in defaults");
            for problem in &problems {
                tracing::error!(
                    file,
                    problem,
                    kept = "the old configuration",
                    "{}",
                    events::RELOAD_FAILED
                );
            }
            "failed"
        }
    };
    running
        .kept
        .metrics
        .reloads
        .get_or_create(&ReloadLabels { outcome })
        .inc();
    outcome == "done"
}

/// What comes into force.
struct Next {
    config: Config,
    state: State,
    trust: Trust,
    anchors: Option<TrustAnchors>,
    certificate: Option<Held>,
}

/// The next state, complete, or everything that is wrong with it.
fn next(running: &Running) -> Result<Next, Vec<String>> {
    let path = running.config.path.as_deref();
    let mut config = Config::load(path).map_err(|error| match error {
        ConfigError::Problems(problems) => problems.0.iter().map(ToString::to_string).collect(),
        error => vec![chain(&error)],
    })?;
    for key in keep_fixed(&mut config, &running.config) {
        tracing::warn!(key, "needs a restart; the old value stays");
    }
    let Loaded {
        zones,
        lists,
        trust,
        anchors,
        users,
    } = Loaded::read(&config)?;
    let certificate = certificate::reload(&config, running.certificate.as_ref())
        .map_err(|error| vec![format!("dns.tls: {error}")])?;
    let state = State::new(
        &config,
        zones,
        lists,
        users,
        certificate.as_ref(),
        &running.kept,
    );
    Ok(Next {
        config,
        state,
        trust,
        anchors,
        certificate,
    })
}

fn apply(running: &mut Running, next: Next) {
    let Next {
        config,
        state,
        trust,
        anchors,
        certificate,
    } = next;
    let State {
        view,
        live,
        steering,
        own_names,
        follower,
    } = state;
    running.follow(follower);
    running.watch(&live.dialer);
    running.own_names.store(own_names);
    running.kept.resolver.reconfigure(&config.dns, &trust);
    running.kept.resolver.validate_by(&config.dns, anchors);
    running.dns.replace(view);
    running
        .control
        .replace(Arc::clone(&live.dialer), Arc::clone(&steering));
    running.proxy.replace(live);
    running
        .site
        .update(&config.lan, running.forward, Arc::clone(&steering));
    if let Some(admin) = &running.admin {
        admin.update(config.lan.networks.clone());
    }
    set_level(config.log.level);
    if let Err(error) = set_queries(config.log.queries) {
        tracing::error!(%error, "queries cannot be told");
    }
    running.certificate = certificate;
    running.config = config;
}

/// Puts back what cannot change in a running process, and names it. Every key is looked at here: a new one does not
/// compile until it is.
fn keep_fixed(new: &mut Config, old: &Config) -> Vec<&'static str> {
    let mut kept = Vec::new();
    let Config {
        path: _,
        user,
        state,
        lan:
            Lan {
                address,
                networks: _,
                domain: _,
                allow_public: _,
            },
        dns:
            Dns {
                listen: dns_listen,
                tls: dns_tls,
                certificate: _,
                zones: _,
                zones_required: _,
                hosts: _,
                leases: _,
                threads,
                dnssec: _,
                trust_anchor: _,
                rebind_allow: _,
                version: _,
                identity: _,
                max_queries: _,
                max_queries_per_client: _,
                rate_limit: _,
                max_connections: _,
                tcp_idle_timeout: _,
                upstream: _,
                cache: _,
            },
        steer,
        rules: _,
        proxy:
            Proxy {
                http,
                socks,
                users: _,
                tls,
                tls_origin_port: _,
                plain,
                plain_origin_port: _,
                quic,
                quic_origin_port: _,
                quic_flows: _,
                quic_flows_per_client: _,
                quic_idle_timeout: _,
                max_sessions: _,
                max_sessions_per_client: _,
                rate_limit: _,
                rate_burst: _,
                max_associations: _,
                max_associations_per_client: _,
                association_timeout: _,
                proxy_protocol_from: _,
                idle_timeout: _,
                response_timeout: _,
                sniff_timeout: _,
                sniff_bytes: _,
                header_bytes: _,
                via: _,
                forwarded: _,
                x_forwarded_for: _,
            },
        egress: _,
        web: Web {
            listen: web_listen,
            admin,
        },
        log: Log {
            level: _,
            format,
            queries: _,
        },
    } = new;
    keep(&mut kept, "user", user, &old.user);
    keep(&mut kept, "state", state, &old.state);
    keep(&mut kept, "lan.address", address, &old.lan.address);
    keep(&mut kept, "dns.listen", dns_listen, &old.dns.listen);
    keep(&mut kept, "dns.threads", threads, &old.dns.threads);
    keep(&mut kept, "dns.tls", dns_tls, &old.dns.tls);
    keep(&mut kept, "proxy.http", http, &old.proxy.http);
    keep(&mut kept, "proxy.socks", socks, &old.proxy.socks);
    keep(&mut kept, "proxy.tls", tls, &old.proxy.tls);
    keep(&mut kept, "proxy.plain", plain, &old.proxy.plain);
    keep(&mut kept, "proxy.quic", quic, &old.proxy.quic);
    keep(&mut kept, "web.listen", web_listen, &old.web.listen);
    keep(&mut kept, "web.admin", admin, &old.web.admin);
    keep(&mut kept, "log.format", format, &old.log.format);
    // Steering needs the transparent listeners, which are bound only at the start. Switching it off needs nothing.
    if old.steer.mode == Mode::Off && steer.mode != Mode::Off {
        kept.push("steer.mode");
        steer.mode = Mode::Off;
    }
    kept
}

fn keep<T: Clone + PartialEq>(
    kept: &mut Vec<&'static str>,
    key: &'static str,
    new: &mut T,
    old: &T,
) {
    if new != old {
        kept.push(key);
        old.clone_into(new);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::Interfaces;

    fn parse(text: &str) -> Config {
        let interfaces = Interfaces::of(&[("eth0", "192.168.1.2/24")], Some("eth0"));
        Config::parse(text, None, &interfaces, "nameserver 192.0.2.53\n").unwrap()
    }

    #[test]
    fn listeners_and_the_user_stay_and_policy_and_limits_change() {
        let old = parse("");
        let mut new = parse(
            "user = \"\"\n[dns]\nlisten = [\"lan:5353\"]\n[proxy]\nhttp = []\nmax-sessions = 7\n\
             [steer]\nmode = \"address\"\n[web]\nadmin = []\n[log]\nformat = \"json\"\nlevel = \"debug\"\n",
        );
        assert_eq!(
            keep_fixed(&mut new, &old),
            [
                "user",
                "dns.listen",
                "proxy.http",
                "web.admin",
                "log.format"
            ]
        );
        assert_eq!(new.dns.listen, old.dns.listen);
        assert_eq!(new.user, old.user);
        assert_eq!((new.steer.mode, new.proxy.max_sessions), (Mode::Address, 7));
        assert_ne!(new.log.level, old.log.level);
    }

    #[test]
    fn steering_is_switched_on_only_by_a_restart() {
        let off = parse("[steer]\nmode = \"off\"");
        let mut on = parse("");
        assert_eq!(keep_fixed(&mut on, &off), ["steer.mode"]);
        assert_eq!(on.steer.mode, Mode::Off);
        let mut off = off;
        assert!(keep_fixed(&mut off, &parse("")).is_empty());
    }
}
