//! The words of log lines that other programs may look for. A change here is one for the changelog.

/// A socket is bound: fields `kind` and `addr`.
pub const LISTENING: &str = "listening";
/// Everything is bound and serves.
pub const READY: &str = "ready";
/// A session ended: fields `client`, `inbound`, `target`, `family`, `address`, `attempts`, `connect_ms`, `sent`,
/// `received`, `duration_ms`, `ended`. One of `socks5-udp` has many targets: `origins`, `sent_datagrams` and
/// `received_datagrams` instead of `target`, `family`, `address`, `attempts`, `connect_ms`. `sent` and `received` count
/// every byte of a tunnel, and of requests the bodies only.
pub const SESSION: &str = "session";
/// A ClientHello names no server: fields `client`, `inbound`, `left_out`, `hint`. At most ten in a minute; `left_out` counts
/// those that were not logged since the last one.
pub const NAMELESS: &str = "no server name";
/// A family is ill, and the other one goes first: fields `family` and `why` (`no route`, `no answers`).
pub const FAMILY_ILL: &str = "family ill";
/// A family is well again: field `family`.
pub const FAMILY_WELL: &str = "family well";
/// A new configuration is in force.
pub const RELOADED: &str = "reloaded";
/// A new configuration was refused; the old one stays.
pub const RELOAD_FAILED: &str = "reload failed";
/// The stop has begun; sessions may finish.
pub const DRAINING: &str = "draining";
/// The stop is complete: field `cut` counts the sessions that were ended by force.
pub const STOPPED: &str = "stopped";
/// The cache has forgotten: fields `names` (`all`, a name, or `*.` and a suffix) and `forgotten`, how many answers.
pub const FLUSHED: &str = "cache flushed";
/// A query of a client was answered (`log.queries`): fields `client`, `transport`, `name`, `type`, `rcode`, `done`,
/// `answer`, `ede`, `cached`, `ms`.
pub const QUERY: &str = "query";
