//! PURE. The kinds of address, kept apart by type so that the compiler refuses to mix them.
//!
//! Peers on a dual-stack socket appear as `::ffff:a.b.c.d`; they are made plain IPv4 once, where the
//! address enters ([`ClientAddr::new`]), so that no access list can be walked around.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use hickory_proto::rr::Name;

/// The address of a LAN device that talks to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClientAddr(SocketAddr);

impl ClientAddr {
    /// Takes a peer's address, an IPv4-mapped one (RFC 4291 section 2.5.5.2) as the IPv4 address it is.
    pub fn new(peer: SocketAddr) -> Self {
        Self(SocketAddr::new(peer.ip().to_canonical(), peer.port()))
    }

    /// The device's address with the port.
    pub fn socket(self) -> SocketAddr {
        self.0
    }

    /// The device's address without the port.
    pub fn ip(self) -> IpAddr {
        self.0.ip()
    }

    /// The port that it talks from.
    pub fn port(self) -> u16 {
        self.0.port()
    }
}

impl fmt::Display for ClientAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// An address that we listen on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ListenAddr(pub SocketAddr);

impl fmt::Display for ListenAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// IPv4 or IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// The family of an address.
    pub fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }

    /// The other one.
    pub fn other(self) -> Self {
        match self {
            Self::V4 => Self::V6,
            Self::V6 => Self::V4,
        }
    }

    /// `ipv4` or `ipv6`, as in log lines, metrics and the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V4 => "ipv4",
            Self::V6 => "ipv6",
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a session asks for: a name, or an address written out.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Host {
    /// A host name: lower case, absolute.
    Name(Name),
    /// An address literal; an IPv4-mapped one is held as IPv4.
    Addr(IpAddr),
}

/// Why a text is not a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    /// Nothing was written.
    #[error("the host is empty")]
    Empty,
    /// Longer than a name can be (RFC 1035 section 2.3.4).
    #[error("the host is longer than 253 characters")]
    TooLong,
    /// A label is empty or longer than 63 characters.
    #[error("a label of the host is empty or longer than 63 characters")]
    Label,
    /// A character that no host name has (RFC 952, RFC 1123 section 2.1, and `_` as it is used in the field).
    #[error("the host has a character that is not a letter, digit, hyphen or underscore")]
    Character,
    /// Looks like an address, but is none: `1.2.3`, `0x7f.1`, `[::1`.
    #[error("the host looks like an address, but is not a valid one")]
    Address,
    /// The port is missing or not within 1 to 65535.
    #[error("the port is missing or not a number from 1 to 65535")]
    Port,
}

impl Host {
    /// Reads a host name or an address; `[...]` around IPv6 may be there or not.
    ///
    /// A name whose last label is a number is refused unless the whole is an IPv4 address in its usual form:
    /// resolvers and libraries disagree about `127.1` or `0x7f000001`, and a guard must not be talked past.
    ///
    /// # Errors
    ///
    /// [`HostError`] says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, HostError> {
        if let Some(inner) = text.strip_prefix('[') {
            let inner = inner.strip_suffix(']').ok_or(HostError::Address)?;
            let address = Ipv6Addr::from_str(inner).map_err(|_| HostError::Address)?;
            return Ok(Self::Addr(IpAddr::V6(address).to_canonical()));
        }
        if let Ok(address) = IpAddr::from_str(text) {
            return Ok(Self::Addr(address.to_canonical()));
        }
        let name = text.strip_suffix('.').unwrap_or(text);
        if name.is_empty() {
            return Err(HostError::Empty);
        }
        if name.len() > 253 {
            return Err(HostError::TooLong);
        }
        let mut last = "";
        for label in name.split('.') {
            if label.is_empty() || label.len() > 63 {
                return Err(HostError::Label);
            }
            if !label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
            {
                return Err(HostError::Character);
            }
            last = label;
        }
        let hexadecimal = last
            .strip_prefix("0x")
            .or_else(|| last.strip_prefix("0X"))
            .is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_hexdigit()));
        if hexadecimal || last.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(HostError::Address);
        }
        let labels = name
            .split('.')
            .map(|label| label.to_ascii_lowercase().into_bytes());
        let mut name = Name::from_labels(labels).map_err(|_| HostError::Label)?;
        name.set_fqdn(true);
        Ok(Self::Name(name))
    }
}

impl From<IpAddr> for Host {
    fn from(address: IpAddr) -> Self {
        Self::Addr(address.to_canonical())
    }
}

impl From<Ipv4Addr> for Host {
    fn from(address: Ipv4Addr) -> Self {
        Self::Addr(IpAddr::V4(address))
    }
}

impl fmt::Display for Host {
    /// Without the final dot of an absolute name; an IPv6 address without brackets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => {
                let text = name.to_ascii();
                f.write_str(text.strip_suffix('.').unwrap_or(&text))
            }
            Self::Addr(address) => address.fmt(f),
        }
    }
}

/// What a session wants to reach: a host and a port.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    /// The host as the client named it.
    pub host: Host,
    /// The port, never 0.
    pub port: u16,
}

impl Target {
    /// A target of parts that are already known to be good.
    pub fn new(host: impl Into<Host>, port: u16) -> Self {
        Self {
            host: host.into(),
            port,
        }
    }

    /// Reads `host:port`, the authority-form of RFC 9112 section 3.2.3; IPv6 needs its brackets.
    /// Where no port is written, `default_port` stands in; without one, it is an error.
    ///
    /// # Errors
    ///
    /// [`HostError`] says what is wrong with it.
    pub fn parse(text: &str, default_port: Option<u16>) -> Result<Self, HostError> {
        let (host, port) = match text.rfind(':') {
            Some(colon) if !text.ends_with(']') => {
                let (host, rest) = text.split_at(colon);
                if host.contains(':') && !host.starts_with('[') {
                    return Err(HostError::Address);
                }
                (host, Some(rest.trim_start_matches(':')))
            }
            _ => (text, None),
        };
        let port = match port {
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                digits.parse().map_err(|_| HostError::Port)?
            }
            Some(_) => return Err(HostError::Port),
            None => default_port.ok_or(HostError::Port)?,
        };
        if port == 0 {
            return Err(HostError::Port);
        }
        Ok(Self {
            host: Host::parse(host)?,
            port,
        })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Addr(IpAddr::V6(address)) => write!(f, "[{address}]:{}", self.port),
            host => write!(f, "{host}:{}", self.port),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv4_mapped_client_is_the_ipv4_client() {
        let mapped: SocketAddr = "[::ffff:192.168.1.5]:4000".parse().unwrap();
        assert_eq!(
            ClientAddr::new(mapped).ip(),
            IpAddr::V4(Ipv4Addr::new(192, 168, 1, 5))
        );
    }

    #[test]
    fn hosts_are_read_as_names_or_addresses() {
        assert_eq!(
            Host::parse("Example.COM.").unwrap().to_string(),
            "example.com"
        );
        assert_eq!(Host::parse("192.0.2.1").unwrap().to_string(), "192.0.2.1");
        assert_eq!(
            Host::parse("[2001:db8::1]").unwrap().to_string(),
            "2001:db8::1"
        );
        assert_eq!(
            Host::parse("[::ffff:127.0.0.1]").unwrap(),
            Host::from(Ipv4Addr::LOCALHOST)
        );
        assert_eq!(
            Host::parse("_dmarc.example").unwrap().to_string(),
            "_dmarc.example"
        );
    }

    #[test]
    fn what_is_no_host_is_refused_with_the_reason() {
        for (text, error) in [
            ("", HostError::Empty),
            (".", HostError::Empty),
            ("a..b", HostError::Label),
            ("ex ample.com", HostError::Character),
            ("127.1", HostError::Address),
            ("0x7f000001", HostError::Address),
            ("2130706433", HostError::Address),
            ("1.2.3.4.5", HostError::Address),
            ("[::1", HostError::Address),
            ("[fe80::1%eth0]", HostError::Address),
        ] {
            assert_eq!(Host::parse(text), Err(error), "{text}");
        }
        assert_eq!(Host::parse(&"a".repeat(64)), Err(HostError::Label));
        assert!(Host::parse(&"a.".repeat(127)).is_ok());
        assert_eq!(Host::parse(&"ab.".repeat(90)), Err(HostError::TooLong));
    }

    #[test]
    fn targets_need_a_port_from_1_to_65535() {
        assert_eq!(
            Target::parse("a.example:443", None).unwrap().to_string(),
            "a.example:443"
        );
        assert_eq!(
            Target::parse("[2001:db8::1]:80", None).unwrap().to_string(),
            "[2001:db8::1]:80"
        );
        assert_eq!(Target::parse("a.example", Some(80)).unwrap().port, 80);
        assert_eq!(Target::parse("[::1]", Some(80)).unwrap().port, 80);
        for text in [
            "a.example",
            "a.example:",
            "a.example:0",
            "a.example:65536",
            "a.example:+80",
            "a.example:8 0",
        ] {
            assert_eq!(Target::parse(text, None), Err(HostError::Port), "{text}");
        }
        assert_eq!(Target::parse("::1:80", None), Err(HostError::Address));
    }
}
