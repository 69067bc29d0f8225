//! PURE. The lease file of ISC dhcpd, in the language of dhcpd.leases(5).

use super::{Lease, Read};

/// Whether a file that begins with this word is one of dhcpd's.
pub(super) fn knows(word: &str) -> bool {
    matches!(
        word,
        "lease" | "authoring-byte-order" | "server-duid" | "failover" | "host" | "group"
    )
}

/// Reads a file.
pub(super) fn read(text: &str) -> Read {
    let mut read = Read::default();
    let mut tokens = Tokens(text);
    let mut head: Vec<String> = Vec::new();
    while let Some(token) = tokens.next() {
        match token {
            Token::Word(word) => head.push(word),
            Token::Semicolon | Token::Close => head.clear(),
            Token::Open => {
                let Some(body) = tokens.body() else {
                    break;
                };
                if let [kind, address] = head.as_slice()
                    && kind == "lease"
                {
                    match address.parse() {
                        Ok(address) => read.tell(address, lease(address, &body)),
                        Err(_) => read.strange += 1,
                    }
                }
                head.clear();
            }
        }
    }
    read
}

/// The lease that a block tells of, if it is in force and has a name.
fn lease(address: std::net::IpAddr, body: &[Vec<String>]) -> Option<Lease> {
    let statement = |wanted: &[&str]| {
        body.iter().rev().find_map(|words| {
            let (start, rest) = words.split_at_checked(wanted.len())?;
            (start == wanted).then_some(rest)
        })
    };
    // Old versions write no state.
    let state = statement(&["binding", "state"]).and_then(<[String]>::first);
    if state.is_some_and(|state| state != "active") || statement(&["abandoned"]).is_some() {
        return None;
    }
    let until = match statement(&["ends"]) {
        Some([never]) if never == "never" => None,
        Some(words) => Some(time(words)?),
        None => None,
    };
    Some(Lease {
        address,
        host: statement(&["client-hostname"])?.first()?.clone(),
        until,
        since: statement(&["starts"]).and_then(time).unwrap_or(0),
    })
}

/// `WEEKDAY YYYY/MM/DD HH:MM:SS` in UTC, or `epoch SECONDS`, in seconds since 1970.
fn time(words: &[String]) -> Option<u64> {
    match words {
        [epoch, seconds] if epoch == "epoch" => seconds.parse().ok(),
        [_, date, time] => {
            let [year, month, day] = numbers(date, '/')?;
            let [hour, minute, second] = numbers(time, ':')?;
            let sound = (1970..=9999).contains(&year)
                && (1..=12).contains(&month)
                && (1..=31).contains(&day)
                && hour < 24
                && minute < 60
                && second <= 60;
            sound.then(|| days(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second)
        }
        _ => None,
    }
}

fn numbers(text: &str, between: char) -> Option<[u64; 3]> {
    let mut parts = text.split(between).map(|part| part.parse().ok());
    let numbers = [parts.next()??, parts.next()??, parts.next()??];
    parts.next().is_none().then_some(numbers)
}

/// Days from 1970-01-01 to a day of the Gregorian calendar from then on.
fn days(year: u64, month: u64, day: u64) -> u64 {
    // Counted from March, the leap day is the last of the year, and the months follow one formula.
    let (year, month) = match month {
        1 | 2 => (year - 1, month + 9),
        _ => (year, month - 3),
    };
    let leaps = year / 4 - year / 100 + year / 400;
    // 719468 days lie between 0000-03-01 and 1970-01-01.
    year * 365 + leaps + (153 * month + 2) / 5 + day - 1 - 719_468
}

enum Token {
    Word(String),
    Open,
    Close,
    Semicolon,
}

struct Tokens<'a>(&'a str);

impl Tokens<'_> {
    /// The statements of a block after its brace, those of blocks within left out; `None` where it does not end.
    fn body(&mut self) -> Option<Vec<Vec<String>>> {
        let mut statements = Vec::new();
        let mut words = Vec::new();
        let mut depth = 1_usize;
        loop {
            match self.next()? {
                Token::Word(word) if depth == 1 => words.push(word),
                Token::Semicolon if depth == 1 => statements.push(std::mem::take(&mut words)),
                Token::Word(_) | Token::Semicolon => {}
                Token::Open => {
                    depth += 1;
                    words.clear();
                }
                Token::Close => {
                    depth -= 1;
                    if depth == 0 {
                        return Some(statements);
                    }
                }
            }
        }
    }
}

impl Iterator for Tokens<'_> {
    type Item = Token;

    fn next(&mut self) -> Option<Token> {
        loop {
            self.0 = self.0.trim_start();
            match self.0.strip_prefix('#') {
                Some(comment) => self.0 = comment.split_once('\n')?.1,
                None => break,
            }
        }
        let mut letters = self.0.chars();
        let token = match letters.next()? {
            '{' => Token::Open,
            '}' => Token::Close,
            ';' => Token::Semicolon,
            '"' => {
                let mut word = String::new();
                loop {
                    match letters.next()? {
                        '"' => break,
                        '\\' => {
                            word.push('\\');
                            word.push(letters.next()?);
                        }
                        letter => word.push(letter),
                    }
                }
                Token::Word(word)
            }
            _ => {
                let ends = |letter: char| letter.is_whitespace() || "{};#\"".contains(letter);
                let (word, rest) = self.0.split_at(self.0.find(ends).unwrap_or(self.0.len()));
                letters = rest.chars();
                Token::Word(word.to_owned())
            }
        };
        self.0 = letters.as_str();
        Some(token)
    }
}
