//! The real program, driven from outside: a file for every inbound and for every promise.
#![allow(
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "these are tests: they print why they failed, and fail by panics"
)]

#[path = "../support/mod.rs"]
mod support;

mod admin;
mod bad_files;
mod bombs;
mod check;
mod connect;
mod crowds;
mod differential;
mod dns_cache;
mod dns_consistency;
mod dns_flood;
mod dns_garbage;
mod dns_https;
mod dns_lies;
mod dns_local;
mod dns_manners;
mod dns_soak;
mod dns_steering;
mod dns_strategy;
mod dns_tls;
mod dns_upstream;
mod dns_withholding;
mod dnssec;
mod drain;
mod egress;
mod exhausted;
mod explain;
mod forward;
mod forward_h2;
mod guard;
mod h2_attacks;
mod hops;
mod http;
mod itself;
mod limits;
mod log;
mod matrix;
mod pac;
mod poisoning;
mod proxy_protocol;
mod querylog;
mod quic;
mod quic_attacks;
mod reload;
mod reload_storm;
mod smuggling;
mod smuggling_h2;
mod socks;
mod streaming;
mod tls;
mod turning;
mod upgrade;
mod via;
