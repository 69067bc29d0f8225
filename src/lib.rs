//! The gate between a LAN without IPv6 and a dual-stack internet.

pub mod config;
pub mod dial;
pub mod dns;
pub mod net;
pub mod proxy;
pub mod relay;
pub mod resolve;
pub mod steer;
pub mod telemetry;
pub mod web;
