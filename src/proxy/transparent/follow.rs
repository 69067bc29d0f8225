//! PURE. Follows the requests of one connection of transparent HTTP: a client that has the same address for many names
//! may ask the one for the other's pages on a connection that it has already. Called by the relay for `http`.
//!
//! What is not HTTP as the screen knows it, and what follows a change of protocol, is not looked at: it all goes to the
//! origin that the client was connected with, as it came.

use super::super::screen::{Next, Screen, response};
use super::super::sniff::http::{Sniffed, sniff};
use crate::net::Target;
use crate::relay::{Look, Then, Watch};

/// Follows the requests to one origin.
#[derive(Debug)]
pub(super) struct Follower {
    screen: Screen,
    target: Target,
    default_port: u16,
    /// The longest head, in bytes.
    most: usize,
    /// The beginning of the answer to a request that would change the protocol, where one was asked.
    answer: Option<Vec<u8>>,
    free: bool,
}

impl Follower {
    /// For what a client says to `target`, from its first request; no head is longer than `most` bytes.
    pub(super) fn new(target: Target, default_port: u16, most: usize) -> Self {
        Self {
            screen: Screen::requests(most),
            target,
            default_port,
            most,
            answer: None,
            free: false,
        }
    }

    /// What the head of the answer says, once it is whole.
    fn decide(answer: &mut Vec<u8>) -> Option<Next> {
        loop {
            let end = end_of_head(answer)?;
            let head: Vec<u8> = answer.drain(..end).collect();
            match response(&head, false) {
                // An interim one.
                Ok(framing) if framing.next == Next::Head => {}
                Ok(framing) => return Some(framing.next),
                Err(_) => return Some(Next::Tunnel),
            }
        }
    }
}

impl Watch for Follower {
    fn look(&mut self, said: &[u8]) -> Look {
        let mut then = Then::Wait;
        if !self.free {
            let (target, port) = (&self.target, self.default_port);
            let seen = self.screen.look_with(said, |head| {
                let is_same = match sniff(head, port) {
                    Sniffed::Found(host) => host.is_none_or(|host| host == *target),
                    _ => false,
                };
                if !is_same {
                    then = Then::Turn;
                }
                is_same
            });
            if seen.fault.is_none() {
                if self.screen.is_undecided() && self.answer.is_none() {
                    self.answer = Some(Vec::new());
                }
                return Look {
                    good: seen.good,
                    then,
                };
            }
        }
        Look {
            good: said.len(),
            then: Then::Free,
        }
    }

    fn listens(&self) -> bool {
        self.answer.is_some()
    }

    fn hear(&mut self, said: &[u8]) {
        let Some(mut answer) = self.answer.take() else {
            return;
        };
        let room = self.most.saturating_sub(answer.len());
        answer.extend_from_slice(said.get(..room).unwrap_or(said));
        match Self::decide(&mut answer) {
            None if answer.len() >= self.most => self.free = true,
            None => self.answer = Some(answer),
            Some(Next::Tunnel) => self.free = true,
            // Words said before the answer could be either.
            Some(_) => self.free = !self.screen.stay(),
        }
    }
}

/// Where the head ends that the bytes begin with, with bare line feeds, too.
fn end_of_head(bytes: &[u8]) -> Option<usize> {
    let mut lines = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
    lines.find_map(|(end, _)| {
        let behind = bytes.get(end + 1..).unwrap_or_default();
        match behind {
            [b'\n', ..] => Some(end + 2),
            [b'\r', b'\n', ..] => Some(end + 3),
            _ => None,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &[u8] = b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n";
    const B: &[u8] = b"GET / HTTP/1.1\r\nHost: b.example\r\n\r\n";
    const WISH: &[u8] =
        b"GET / HTTP/1.1\r\nHost: a.example\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n";

    fn follower() -> Follower {
        let target = Target::parse("a.example:80", None).unwrap();
        Follower::new(target, 80, 1_024)
    }

    fn look(good: usize, then: Then) -> Look {
        Look { good, then }
    }

    #[test]
    fn requests_to_the_same_host_go_on_and_another_ends_it_before_its_first_byte() {
        let mut follower = follower();
        assert_eq!(follower.look(A), look(A.len(), Then::Wait));
        let port = b"HEAD /x HTTP/1.1\r\nhost: A.example:80\r\n\r\n";
        assert_eq!(follower.look(port), look(port.len(), Then::Wait));
        assert_eq!(follower.look(&B[..20]), look(0, Then::Wait));
        assert_eq!(follower.look(B), look(0, Then::Turn));
        assert_eq!(follower.look(B), look(0, Then::Turn), "asked again");
    }

    #[test]
    fn hosts_in_bodies_are_none_and_pipelined_requests_are_told_apart() {
        let mut follower = follower();
        let post = |body: &[u8]| {
            let head = "POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: ";
            [
                head.as_bytes(),
                body.len().to_string().as_bytes(),
                b"\r\n\r\n",
                body,
            ]
            .concat()
        };
        let chunked = [
            b"POST / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n23\r\n",
            B,
            b"\r\n0\r\n\r\n",
        ]
        .concat();
        let mine = [post(B), chunked, A.to_vec()].concat();
        let all = [mine.as_slice(), B, A].concat();
        assert_eq!(follower.look(&all), look(mine.len(), Then::Turn));
        let mut follower = self::follower();
        let mut held = Vec::new();
        let mut good = 0;
        for byte in &all {
            held.push(*byte);
            let look = follower.look(&held);
            good += look.good;
            held.drain(..look.good);
            if look.then == Then::Turn {
                break;
            }
        }
        assert_eq!((good, held.as_slice()), (mine.len(), B));
    }

    #[test]
    fn what_is_no_http_is_not_held_back() {
        for odd in [
            &b"GET / HTTP/1.1\nHost: a.example\n\n"[..],
            b"GET / HTTP/1.1\r\nHost: a.example\r\nContent-Length: x\r\n\r\n",
            b"\0\0\0",
        ] {
            let mut follower = follower();
            assert_eq!(follower.look(odd), look(odd.len(), Then::Free));
        }
        let mut follower = follower();
        assert_eq!(follower.look(A), look(A.len(), Then::Wait));
        let long = [b"GET /".as_slice(), &[b'x'; 1_024]].concat();
        assert_eq!(follower.look(&long), look(long.len(), Then::Free));
    }

    #[test]
    fn a_request_whose_host_cannot_be_told_does_not_go_where_the_others_went() {
        for odd in [
            &b"GET http://b.example/ HTTP/1.1\r\nHost: a.example\r\n\r\n"[..],
            b"GET / HTTP/1.1\r\nHost: a_%.example\r\n\r\n",
        ] {
            let mut follower = follower();
            follower.look(A);
            let Look { good, then } = follower.look(odd);
            assert_eq!((good, then), (0, Then::Turn));
        }
    }

    #[test]
    fn an_upgrade_that_is_granted_ends_the_looking() {
        let mut follower = follower();
        assert_eq!(follower.look(WISH), look(WISH.len(), Then::Wait));
        assert!(follower.listens());
        for piece in b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 101 Switching Protocols\r\nUpgrade: foo\r\n\r\n\x81".chunks(7) {
            follower.hear(piece);
        }
        assert!(!follower.listens());
        assert_eq!(follower.look(B), look(B.len(), Then::Free));
    }

    #[test]
    fn after_an_upgrade_that_is_not_granted_requests_are_followed_again() {
        let mut follower = follower();
        follower.look(WISH);
        follower.hear(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        assert!(!follower.listens());
        assert_eq!(follower.look(A), look(A.len(), Then::Wait));
        assert_eq!(follower.look(B), look(0, Then::Turn));
    }

    #[test]
    fn what_was_said_before_an_upgrade_was_answered_could_be_either_and_goes_on() {
        let mut follower = follower();
        follower.look(WISH);
        assert_eq!(follower.look(B), look(B.len(), Then::Wait));
        follower.hear(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        assert_eq!(follower.look(B), look(B.len(), Then::Free));
    }

    #[test]
    fn an_answer_without_end_is_not_kept() {
        let mut follower = follower();
        follower.look(WISH);
        for _ in 0..100 {
            follower.hear(&[b'x'; 100]);
            let kept = follower.answer.as_ref().map_or(0, Vec::len);
            assert!(kept <= 1_024, "{kept}");
        }
        assert!(!follower.listens());
        assert_eq!(follower.look(B), look(B.len(), Then::Free));
    }
}
