//! PURE. The screen against request smuggling: it follows the messages of HTTP/1.x on one side of a connection, and says
//! which bytes may be read on (RFC 9112 sections 2, 6, 7 and 11).
//!
//! It stands before hyper, which is more patient than a proxy should be, and has to know by itself where each head
//! begins: a head in a body is none, and one behind a body is. It keeps no bytes. Called by `http::sieve` with what came
//! from a client or an origin.

mod chunks;
mod fault;
mod head;

#[cfg(test)]
mod tests;

use std::collections::VecDeque;

pub use self::fault::Fault;
pub use self::head::{Framing, Length, Next, request, response};

use self::chunks::Chunks;
use self::head::{is_bare, options};

/// Interim answers before the answer; a sender of more has something else in mind.
const MOST_INTERIM: usize = 64;

/// Follows one side of a connection.
#[derive(Debug)]
pub struct Screen {
    side: Side,
    state: State,
    /// What comes when the body has ended.
    next: Next,
    /// The longest head, in bytes.
    most: usize,
    /// Of each OPTIONS that nobody has asked about yet: whether it names a server and no path. Bounded, as a reader takes
    /// only so many bytes before it answers.
    options: VecDeque<bool>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Requests,
    Responses {
        /// How the request was asked that is to be answered; `None` where there is none.
        to_head: Option<bool>,
        interim: usize,
    },
}

#[derive(Debug)]
enum State {
    Head(Lines),
    Bytes(u64),
    Chunks(Box<Chunks>),
    /// Everything to the end of the connection.
    Rest,
    /// A new protocol, or a head: that is not known yet.
    Undecided {
        /// Whether bytes came meanwhile.
        touched: bool,
    },
    Faulty {
        fault: Fault,
        in_body: bool,
    },
}

/// How much of a head that is not whole was looked at.
#[derive(Debug, Default)]
struct Lines {
    /// The empty line that may stand before a request (RFC 9112 section 2.2).
    start: usize,
    /// Where the line begins that is not whole.
    line: usize,
    /// Bytes looked at.
    seen: usize,
}

/// How far bytes may be read on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// So many of them. The others are a head that is not whole: they are to be brought again, with more behind them.
    pub good: usize,
    /// What comes behind the good ones; nothing more is to be read.
    pub fault: Option<Fault>,
}

impl Screen {
    /// For what a client sends; no head longer than `most` bytes.
    pub fn requests(most: usize) -> Self {
        Self::new(Side::Requests, most)
    }

    /// For what an origin sends; no head longer than `most` bytes.
    pub fn responses(most: usize) -> Self {
        let side = Side::Responses {
            to_head: None,
            interim: 0,
        };
        Self::new(side, most)
    }

    fn new(side: Side, most: usize) -> Self {
        Self {
            side,
            state: State::Head(Lines::default()),
            next: Next::Head,
            most,
            options: VecDeque::new(),
        }
    }

    /// The next response is to a request with HEAD, or with another method.
    pub fn ask(&mut self, head: bool) {
        if let Side::Responses { to_head, interim } = &mut self.side {
            *to_head = Some(head);
            *interim = 0;
        }
    }

    /// Whether the next OPTIONS in turn names a server and no path on it. To be asked once of each.
    pub fn asks_of_server(&mut self) -> bool {
        self.options.pop_front().unwrap_or(false)
    }

    /// The protocol stays HTTP. Whether what comes next is known to be a head: nothing came before this was known.
    pub fn stay(&mut self) -> bool {
        match self.state {
            State::Undecided { touched: true } => false,
            State::Undecided { touched: false } => {
                self.state = State::Head(Lines::default());
                true
            }
            _ => {
                // The answer came before the end of the request.
                self.next = match self.next {
                    Next::Upgrade => Next::Head,
                    next => next,
                };
                true
            }
        }
    }

    /// Whether no message is under way of which more is to come, as far as was seen.
    pub fn is_whole(&self) -> bool {
        match &self.state {
            State::Head(lines) => lines.seen == 0,
            State::Undecided { touched } => !touched,
            State::Rest => true,
            State::Bytes(_) | State::Chunks(_) | State::Faulty { .. } => false,
        }
    }

    /// Whether the next byte belongs to a body, or the fault was in one.
    pub fn is_in_body(&self) -> bool {
        matches!(
            self.state,
            State::Bytes(_) | State::Chunks(_) | State::Faulty { in_body: true, .. }
        )
    }

    /// Whether the client has asked for another protocol, and what it says next depends on the answer.
    pub fn is_undecided(&self) -> bool {
        matches!(self.state, State::Undecided { .. })
    }

    /// Looks at bytes; those of a head that is not whole are brought again.
    pub fn look(&mut self, bytes: &[u8]) -> Seen {
        self.look_with(bytes, |_| true)
    }

    /// As [`Screen::look`]; a head that `pass` does not want is looked at again, like one that is not whole.
    pub fn look_with(&mut self, bytes: &[u8], mut pass: impl FnMut(&[u8]) -> bool) -> Seen {
        let mut good = 0;
        loop {
            let rest = bytes.get(good..).unwrap_or_default();
            if rest.is_empty() {
                return Seen { good, fault: None };
            }
            match self.step(rest, &mut pass) {
                Ok(Some(taken)) => good += taken,
                Ok(None) => return Seen { good, fault: None },
                Err((taken, fault)) => {
                    good += taken;
                    let in_body = self.is_in_body();
                    self.state = State::Faulty { fault, in_body };
                    let fault = Some(fault);
                    return Seen { good, fault };
                }
            }
        }
    }

    /// How many bytes may be read on; `None` where more are needed.
    fn step(
        &mut self,
        bytes: &[u8],
        pass: &mut impl FnMut(&[u8]) -> bool,
    ) -> Result<Option<usize>, (usize, Fault)> {
        match &mut self.state {
            State::Head(_) => self.head(bytes, pass).map_err(|fault| (0, fault)),
            State::Bytes(left) => {
                let most = usize::try_from(*left).unwrap_or(usize::MAX);
                let taken = bytes.len().min(most);
                *left -= taken as u64;
                if *left == 0 {
                    self.go_on();
                }
                Ok(Some(taken))
            }
            State::Chunks(chunks) => {
                let (taken, ended) = chunks.follow(bytes)?;
                if ended {
                    self.go_on();
                }
                Ok(Some(taken))
            }
            State::Rest => Ok(Some(bytes.len())),
            State::Undecided { touched } => {
                *touched = true;
                Ok(Some(bytes.len()))
            }
            State::Faulty { fault, .. } => Err((0, *fault)),
        }
    }

    fn head(
        &mut self,
        bytes: &[u8],
        pass: &mut impl FnMut(&[u8]) -> bool,
    ) -> Result<Option<usize>, Fault> {
        let State::Head(lines) = &mut self.state else {
            return Ok(None);
        };
        if matches!(self.side, Side::Responses { to_head: None, .. }) {
            return Err(Fault::Unasked);
        }
        let is_request = self.side == Side::Requests;
        let Some(end) = lines.find_end(bytes, is_request)? else {
            let whole = bytes.len() >= self.most;
            return if whole { Err(Fault::TooLong) } else { Ok(None) };
        };
        if end > self.most {
            return Err(Fault::TooLong);
        }
        let head = bytes.get(lines.start..end).unwrap_or_default();
        let framing = match &mut self.side {
            Side::Requests => {
                let framing = request(head)?;
                if let Some(target) = options(head) {
                    self.options.push_back(is_bare(target));
                }
                framing
            }
            Side::Responses { to_head, interim } => {
                let framing = response(head, *to_head == Some(true))?;
                *interim += 1;
                if *interim > MOST_INTERIM {
                    return Err(Fault::Interim);
                }
                framing
            }
        };
        if !pass(head) {
            self.state = State::Head(Lines::default());
            return Ok(None);
        }
        self.next = framing.next;
        match framing.length {
            Length::Bytes(0) => self.go_on(),
            Length::Bytes(length) => self.state = State::Bytes(length),
            Length::Chunked => self.state = State::Chunks(Box::default()),
            Length::Close => self.state = State::Rest,
        }
        Ok(Some(end))
    }

    fn go_on(&mut self) {
        self.state = match self.next {
            Next::Head => State::Head(Lines::default()),
            Next::Upgrade => State::Undecided { touched: false },
            Next::Tunnel => State::Rest,
            Next::Request => {
                if let Side::Responses { to_head, .. } = &mut self.side {
                    *to_head = None;
                }
                State::Head(Lines::default())
            }
        };
    }
}

impl Lines {
    /// Where the head ends that begins with the bytes. Looks at each byte once, however few come at a time.
    fn find_end(&mut self, bytes: &[u8], is_request: bool) -> Result<Option<usize>, Fault> {
        while let Some(&byte) = bytes.get(self.seen) {
            match byte {
                b'\n' => {
                    if self.ends(bytes, is_request)? {
                        return Ok(Some(self.seen));
                    }
                    continue;
                }
                b'\r' => match bytes.get(self.seen + 1) {
                    Some(b'\n') => {}
                    Some(_) => return Err(Fault::BareCr),
                    None => return Ok(None),
                },
                b'\t' | b' '..=b'~' | 0x80.. => {}
                _ => return Err(Fault::Control),
            }
            self.seen += 1;
        }
        Ok(None)
    }

    /// Whether the head ends with the line that the LF at `seen` ends.
    fn ends(&mut self, bytes: &[u8], is_request: bool) -> Result<bool, Fault> {
        let line = bytes.get(self.line..self.seen).unwrap_or_default();
        let has_cr = line.ends_with(b"\r");
        // Servers of old send it, and all that read them take it; what goes to the client is written anew.
        if !has_cr && is_request {
            return Err(Fault::BareLf);
        }
        let is_empty = line.len() == usize::from(has_cr);
        let is_first = self.line == 0;
        self.seen += 1;
        self.line = self.seen;
        if is_empty && is_first {
            self.start = self.seen;
            return if is_request {
                Ok(false)
            } else {
                Err(Fault::StatusLine)
            };
        }
        if is_empty && self.start > 0 && self.start == self.seen.saturating_sub(2) {
            return Err(Fault::RequestLine);
        }
        Ok(is_empty)
    }
}
