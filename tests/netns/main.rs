//! A whole home, made of network namespaces and removed afterwards, with the real program in the middle.
//!
//! ```text
//!   nsd, nginx            slow IPv4, NAT                      LAN 192.168.77.0/24
//!  +----------+  wan4 (tbf, masquerade)  +---------+        +-------------------+
//!  | internet |==========================| gateway |========| gate: sekisho     |
//!  +----------+  wan6 (routed, open)     +---------+   |    +-------------------+
//!       |                                 radvd, DHCP  |    +-------------------+
//!  +----------+                                        +====| client: IPv6 off  |
//!  | stranger |  IPv6 only                                  +-------------------+
//!  +----------+
//! ```
//!
//! Needs root and the tools that [`requirements`] lists, and says so where something is missing. `SEKISHO_NETNS=require`
//! makes that a failure, `SEKISHO_NETNS=skip` skips all of it. Nothing leaves the machine: no namespace has a link to it.

mod bare;
mod browser;
mod chromium;
mod client;
mod conversations;
mod downloads;
mod egress;
mod encrypted;
mod fetchers;
mod firefox;
mod gate;
mod gateway;
mod guard;
mod hints;
mod home;
mod http3;
mod ill;
mod internet;
mod languages;
mod leases;
mod libc;
mod names;
mod namespace;
mod outage;
mod own_origin;
mod packages;
mod reload;
mod requirements;
mod secure;
mod sessions;
mod shell;
mod strangers;
mod tools;
mod volume;
mod wait;
mod wildcard;
