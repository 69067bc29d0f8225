//! PURE. DNS cookies (RFC 7873) in the form that all servers share (RFC 9018): eight octets of the client's, then
//! version, reserved octets, time and SipHash-2-4 of it all with the client's address.
//!
//! Read by `options`; answered by `cookies`, which has the secrets and the clock. A client on the LAN is answered
//! whatever its cookie: it only learns the right one.

use std::fmt;
use std::net::IpAddr;

use siphasher::sip::SipHasher24;

/// How long a server cookie is valid, in seconds (RFC 9018 section 4.3).
const LIFETIME: i32 = 3600;
/// From this age on it is renewed, in seconds.
const RENEWAL: i32 = 1800;
/// How far ahead the clock of another server may be that shares the secret, in seconds.
const AHEAD: i32 = 300;
/// Version 1, and three octets that are reserved.
const PREFIX: [u8; 4] = [1, 0, 0, 0];

/// What a COOKIE option of a query said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cookie {
    client: [u8; 8],
    server: Server,
}

/// The server's part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Server {
    /// None: the client does not know it yet.
    Unknown,
    /// Of a length that we do not make.
    Foreign,
    /// As we make them.
    Known([u8; 16]),
}

/// What a query's cookie is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// The client asks for one.
    New,
    /// It was ours, for this client, and is not too old.
    Good,
    /// It was not.
    Bad,
}

impl Cookie {
    /// Reads the data of an option; `None` where its length is none that a cookie has (RFC 7873 section 5.2.2).
    pub(super) fn read(data: &[u8]) -> Option<Self> {
        let (client, server) = data.split_first_chunk::<8>()?;
        let server = match server.len() {
            0 => Server::Unknown,
            8..=32 => <[u8; 16]>::try_from(server).map_or(Server::Foreign, Server::Known),
            _ => return None,
        };
        Some(Self {
            client: *client,
            server,
        })
    }
}

/// What cookies are made with.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Secrets {
    current: [u8; 16],
    previous: Option<[u8; 16]>,
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secrets").finish_non_exhaustive()
    }
}

impl Secrets {
    /// One secret.
    pub(super) fn new(current: [u8; 16]) -> Self {
        Self {
            current,
            previous: None,
        }
    }

    /// Makes cookies with `next` from now on; those of the secret before are still taken (RFC 9018 section 5).
    pub(super) fn rotate(&mut self, next: [u8; 16]) {
        self.previous = Some(std::mem::replace(&mut self.current, next));
    }

    /// The data of the option that answers a cookie, and what it is worth; `now` in seconds since 1970, whose high bits
    /// do not matter.
    pub(super) fn answer(&self, cookie: &Cookie, client: IpAddr, now: u32) -> (Vec<u8>, Standing) {
        let (server, standing) = match cookie.server {
            Server::Unknown => (self.fresh(cookie, client, now), Standing::New),
            Server::Foreign => (self.fresh(cookie, client, now), Standing::Bad),
            Server::Known(server) => self.judge(cookie, server, client, now),
        };
        ([&cookie.client[..], &server].concat(), standing)
    }

    fn judge(
        &self,
        cookie: &Cookie,
        server: [u8; 16],
        client: IpAddr,
        now: u32,
    ) -> ([u8; 16], Standing) {
        let [one, two, three, four, five, six, seven, eight, ..] = server;
        let (head, time) = ([one, two, three, four], [five, six, seven, eight]);
        // Serial number arithmetic (RFC 1982): the clock of 32 bits goes round in 2106.
        let age = now.wrapping_sub(u32::from_be_bytes(time)).cast_signed();
        let of = |secret| server == made(secret, cookie.client, head, time, client);
        let current = of(&self.current);
        let known = current || self.previous.as_ref().is_some_and(of);
        if !known || one != 1 || !(-AHEAD..=LIFETIME).contains(&age) {
            (self.fresh(cookie, client, now), Standing::Bad)
        } else if current && age < RENEWAL {
            (server, Standing::Good)
        } else {
            (self.fresh(cookie, client, now), Standing::Good)
        }
    }

    fn fresh(&self, cookie: &Cookie, client: IpAddr, now: u32) -> [u8; 16] {
        made(
            &self.current,
            cookie.client,
            PREFIX,
            now.to_be_bytes(),
            client,
        )
    }
}

/// A server cookie (RFC 9018 section 4).
fn made(
    secret: &[u8; 16],
    client_cookie: [u8; 8],
    head: [u8; 4],
    time: [u8; 4],
    client: IpAddr,
) -> [u8; 16] {
    let mut hashed = [&client_cookie[..], &head, &time].concat();
    match client {
        IpAddr::V4(address) => hashed.extend(address.octets()),
        IpAddr::V6(address) => hashed.extend(address.octets()),
    }
    let hash = SipHasher24::new_with_key(secret).hash(&hashed);
    let mut server = [0; 16];
    let parts = head.into_iter().chain(time).chain(hash.to_le_bytes());
    for (octet, part) in server.iter_mut().zip(parts) {
        *octet = part;
    }
    server
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(hex: &str) -> Vec<u8> {
        (0..hex.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
            .collect()
    }

    fn secret(hex: &str) -> [u8; 16] {
        bytes(hex).try_into().unwrap()
    }

    fn ask(secrets: &Secrets, cookie: &str, client: &str, now: u32) -> (Vec<u8>, Standing) {
        let cookie = Cookie::read(&bytes(cookie)).unwrap();
        secrets.answer(&cookie, client.parse().unwrap(), now)
    }

    const CLIENT: &str = "198.51.100.100";
    const LEARNT: &str = "2464c4abcf10c957010000005cf79f111f8130c3eee29480";

    fn first() -> Secrets {
        Secrets::new(secret("e5e973e5a6b2a43f48e7dc849e37bfcf"))
    }

    #[test]
    fn the_examples_of_rfc_9018_come_out() {
        // Appendix A.1: learning a new server cookie; A.2: renewed after 40 minutes.
        assert_eq!(
            ask(&first(), "2464c4abcf10c957", CLIENT, 1_559_731_985),
            (bytes(LEARNT), Standing::New)
        );
        assert_eq!(
            ask(&first(), LEARNT, CLIENT, 1_559_734_385),
            (
                bytes("2464c4abcf10c957010000005cf7a871d4a564a1442aca77"),
                Standing::Good
            )
        );
        // A.3: another client, whose cookie has reserved octets that count in the hash.
        assert_eq!(
            ask(
                &first(),
                "fc93fc62807ddb8601abcdef5cf78f71a314227b6679ebf5",
                "203.0.113.203",
                1_559_734_700
            )
            .0,
            bytes("fc93fc62807ddb86010000005cf7a9acf73a7810aca2381e")
        );
        // A.4: IPv6, and a secret that was rotated in between.
        let mut secrets = Secrets::new(secret("dd3bdf9344b678b185a6f5cb60fca715"));
        secrets.rotate(secret("445536bcd2513298075a5d379663c962"));
        assert_eq!(
            ask(
                &secrets,
                "22681ab97d52c298010000005cf7c57926556bd0934c72f8",
                "2001:db8:220:1:59de:d0f4:8769:82b8",
                1_559_741_961
            ),
            (
                bytes("22681ab97d52c298010000005cf7c609a6bb79d16625507a"),
                Standing::Good
            )
        );
    }

    #[test]
    fn a_young_cookie_stays_an_old_one_is_renewed_and_a_wrong_one_is_bad() {
        let made = 1_559_731_985;
        for (now, client, standing, same) in [
            (made, CLIENT, Standing::Good, true),
            (made + 1799, CLIENT, Standing::Good, true),
            (made + 1800, CLIENT, Standing::Good, false),
            (made + 3600, CLIENT, Standing::Good, false),
            (made + 3601, CLIENT, Standing::Bad, false),
            (made - 300, CLIENT, Standing::Good, true),
            (made - 301, CLIENT, Standing::Bad, false),
            (made, "198.51.100.101", Standing::Bad, false),
        ] {
            let (data, found) = ask(&first(), LEARNT, client, now);
            assert_eq!((found, data == bytes(LEARNT)), (standing, same), "{now}");
        }
        for bit in 8 * 8..24 * 8 {
            let mut forged = bytes(LEARNT);
            forged[bit / 8] ^= 1 << (bit % 8);
            let cookie = Cookie::read(&forged).unwrap();
            let (_, found) = first().answer(&cookie, CLIENT.parse().unwrap(), made);
            assert_eq!(found, Standing::Bad, "bit {bit}");
        }
    }

    #[test]
    fn a_secret_is_forgotten_at_the_second_rotation() {
        let mut secrets = first();
        secrets.rotate([1; 16]);
        let now = 1_559_731_985;
        assert_eq!(ask(&secrets, LEARNT, CLIENT, now).1, Standing::Good);
        secrets.rotate([2; 16]);
        assert_eq!(ask(&secrets, LEARNT, CLIENT, now).1, Standing::Bad);
    }

    #[test]
    fn the_length_of_a_cookie_is_8_or_16_to_40() {
        for length in 0..64 {
            let good = length == 8 || (16..=40).contains(&length);
            assert_eq!(Cookie::read(&vec![7; length]).is_some(), good, "{length}");
        }
    }
}
