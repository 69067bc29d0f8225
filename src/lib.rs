//! The gate between a LAN without IPv6 and a dual-stack internet.
//!
//! One dual-stack machine runs sekisho; every other machine on the LAN has IPv6 switched off, and so exposes nothing
//! over it. The gate is their DNS server and their proxy: it withholds AAAA from them, resolves the truth for itself,
//! and carries their sessions, IPv6 first.
//!
//! # Four walks
//!
//! - **Query**: [`dns`] takes a batch of packets and tells again what it has told before (the finished answers in the cache
//!   of [`resolve`], as bytes). Else it looks at who asks (acl), answers special names and local zones itself, then asks
//!   [`steer`] where the name leads and [`resolve`] what is true of it (cache, then upstreams), shapes the answer
//!   (AAAA withheld, or A pointed to the gate), sends it and keeps it. What is as most things are is asked upstream at once,
//!   and answered by who reads what upstream says.
//! - **Connection**: [`proxy`] accepts it once there is a permit, finds its target (CONNECT line, absolute-form, SOCKS,
//!   SNI or Host), [`dial`] resolves both families, guards each address and races them (Happy Eyeballs), [`relay`] carries the
//!   bytes until both sides are done; one log line and the counters follow.
//! - **PAC**: [`web`] renders the PAC file from [`steer`] and [`config`].
//! - **Reload**: a signal reaches [`app`], which reads the configuration again ([`config`]: what the file says, then
//!   typed), reports every problem or gives each live part its new pointer.
//!
//! Two facts decide this plan. The resolver has two customers: clients see a filtered view, the dialer must see the
//! truth; so policy stands in `dns`, in front of `resolve`, never inside it. And one list decides what goes through the
//! gate, for two readers (DNS and PAC); so `steer` is a part of its own, below both.
//!
//! # Rooms, from the ground up
//!
//! | level | module | what it is |
//! |---|---|---|
//! | 0 | [`net`] | addresses, networks, sockets |
//! | 1 | [`telemetry`], [`config`] | what the gate tells, and what it was told |
//! | 2 | [`steer`], [`resolve`], [`relay`], [`dial`] | which names, what is true, carrying, reaching |
//! | 3 | [`dns`], [`proxy`], [`web`] | what clients meet |
//! | 4 | [`app`] | puts them together |
//! | 5 | [`cli`] | the commands |
//!
//! Imports go down only; `tests/layering.rs` holds the table.
//!
//! # Words
//!
//! - **gate**: the dual-stack machine that runs sekisho.
//! - **client**: a LAN device.
//! - **upstream**: a DNS server that we ask; never an HTTP origin.
//! - **origin**: the remote server that a session reaches (RFC 9110).
//! - **truth**: what upstreams say about a name. **answer**: what a client is told.
//! - **inbound**: how a session came in: `Connect`, `Forward`, `Socks5`, `Socks5Udp`, `Tls`, `Http`.
//! - **local data**: zones, hosts files and DHCP leases of this house. **special name**: one that a standard, or this
//!   gate, gives a meaning of its own.
//! - **finished answer**: a message as it was told, less what belongs to one client. **audience**: the clients that are told
//!   the same of everything. **the long way**: a question's own task, from the packet to the packet.
//! - **withhold**: take AAAA out of an answer.
//! - **steer**: point a client to the gate by DNS. **route**: `Direct` or `Gate`.
//! - **rule**: what the administrator wants for some domains or clients; the first that matches decides.
//! - **rebinding**: a name outside that answers with an address inside.
//! - **stale**: told after its end, because no server gives a newer answer (RFC 8767).
//! - **bogus**: not signed as it should be (RFC 4033). **secure**, **insecure**: likewise.
//! - **designated resolver**: the encrypted side of a resolver, which clients can find (RFC 9462).
//! - **explanation**: the truth about a name, what decides, and the answer, each with its reason.
//! - **action**: what becomes of a question, in the words of RPZ: `Passthru`, `NoData`, `NxDomain`, `LocalData`, `Drop`.
//! - **target**: what a session wants to reach: a host, which is a name or an address, and a port.

pub mod app;
pub mod cli;
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
