//! PURE. The text of a zone file as entries of tokens, each entry with its line (RFC 1035 section 5.1).
//!
//! The lexer of hickory gives no line, takes quoted text inside parentheses apart, reads `\DDD` wrong and refuses `@`
//! in the data of a record; so the text is cut here, and hickory is given the data of one record at a time.

use std::mem;

/// One entry of a zone file: a record or a `$` directive, over one or more lines.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// The line it begins on, from 1.
    pub(super) line: usize,
    /// Whether it begins with white space: the owner is that of the record before.
    pub(super) continues_owner: bool,
    /// What it consists of; never empty.
    pub(super) tokens: Vec<Token>,
}

/// One word or quoted text, escapes still in it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Token {
    /// The text between the quotes, or the word.
    pub(super) raw: String,
    /// Whether it began with a quote.
    pub(super) quoted: bool,
}

impl Token {
    /// The text meant: `\DDD` is the character of that decimal number and `\X` is `X`.
    /// `None` where a number is no character of ASCII: text is written as UTF-8.
    pub(super) fn text(&self) -> Option<String> {
        let mut text = String::with_capacity(self.raw.len());
        let mut rest = self.raw.chars();
        while let Some(character) = rest.next() {
            match character {
                '\\' => text.push(unescape(&mut rest)?),
                plain => text.push(plain),
            }
        }
        Some(text)
    }
}

/// What stands after a backslash; `None` for a number above 127, or where digits or the character are missing.
pub(super) fn unescape(rest: &mut std::str::Chars<'_>) -> Option<char> {
    let first = rest.next()?;
    let Some(hundreds) = first.to_digit(10) else {
        return Some(first);
    };
    let tens = rest.next()?.to_digit(10)?;
    let ones = rest.next()?.to_digit(10)?;
    let value = u8::try_from(hundreds * 100 + tens * 10 + ones).ok()?;
    value.is_ascii().then(|| char::from(value))
}

/// Text that is no entry: the line, what is wrong and what to write.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) line: usize,
    pub(super) what: &'static str,
    pub(super) write: &'static str,
}

/// Cuts the text into entries; blank lines and comments are gone, and a fault costs its entry only.
pub(super) fn entries(text: &str) -> Vec<Result<Entry, Fault>> {
    let mut found = Vec::new();
    let mut depth = 0_usize;
    let mut entry = Entry {
        line: 1,
        continues_owner: false,
        tokens: Vec::new(),
    };
    let mut sound = true;
    for (index, line) in text.lines().enumerate() {
        let number = index + 1;
        if depth == 0 {
            entry.line = number;
            entry.continues_owner = line.starts_with(char::is_whitespace);
            sound = true;
        }
        if let Err((what, write)) = cut(line, &mut depth, &mut entry.tokens) {
            sound = false;
            found.push(Err(Fault {
                line: number,
                what,
                write,
            }));
        }
        if depth == 0 {
            let tokens = mem::take(&mut entry.tokens);
            if sound && !tokens.is_empty() {
                found.push(Ok(Entry { tokens, ..entry }));
            }
        }
    }
    if depth > 0 {
        found.push(Err(Fault {
            line: entry.line,
            what: "the parenthesis `(` is never closed",
            write: "write `)` after the last field of the record",
        }));
    }
    found
}

/// Cuts one line; `depth` counts the parentheses that are open.
fn cut(
    line: &str,
    depth: &mut usize,
    tokens: &mut Vec<Token>,
) -> Result<(), (&'static str, &'static str)> {
    let mut open: Option<Token> = None;
    let mut rest = line.chars();
    let mut fault = Ok(());
    while let Some(character) = rest.next() {
        match character {
            ';' => break,
            '(' => {
                tokens.extend(open.take());
                *depth += 1;
            }
            ')' => {
                tokens.extend(open.take());
                if *depth == 0 {
                    fault = Err((
                        "the parenthesis `)` was never opened",
                        "write `(` before the first field that goes on to another line",
                    ));
                }
                *depth = depth.saturating_sub(1);
            }
            '"' => {
                let mut token = open.take().unwrap_or(Token {
                    raw: String::new(),
                    quoted: true,
                });
                if !quoted(&mut rest, &mut token.raw) {
                    fault = Err((
                        "the quoted text is not closed",
                        "write `\"` at its end, on the same line",
                    ));
                }
                // key="value" of a service binding goes on; text that began with a quote is complete.
                if token.quoted {
                    tokens.push(token);
                } else {
                    open = Some(token);
                }
            }
            '\\' => {
                let token = open.get_or_insert_default();
                token.raw.push('\\');
                token.raw.extend(rest.next());
            }
            space if space.is_whitespace() => tokens.extend(open.take()),
            plain => open.get_or_insert_default().raw.push(plain),
        }
    }
    tokens.extend(open);
    fault
}

/// Reads up to the closing quote; whether there was one.
fn quoted(rest: &mut std::str::Chars<'_>, raw: &mut String) -> bool {
    while let Some(character) = rest.next() {
        match character {
            '"' => return true,
            '\\' => {
                raw.push('\\');
                raw.extend(rest.next());
            }
            plain => raw.push(plain),
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<(usize, Vec<String>)> {
        entries(text)
            .into_iter()
            .map(|entry| entry.expect("an entry"))
            .map(|entry| {
                let tokens = entry.tokens.into_iter().map(|token| token.raw).collect();
                (entry.line, tokens)
            })
            .collect()
    }

    #[test]
    fn entries_know_the_line_they_begin_on() {
        let text = "; comment\r\n\r\na SOA (\r\n 1 ; serial\r\n 2 )\r\n A 1.2.3.4\r\n";
        assert_eq!(
            words(text),
            vec![
                (3, vec!["a".into(), "SOA".into(), "1".into(), "2".into()]),
                (6, vec!["A".into(), "1.2.3.4".into()]),
            ]
        );
        let blank: Vec<bool> = entries(text)
            .into_iter()
            .map(|entry| entry.unwrap().continues_owner)
            .collect();
        assert_eq!(blank, [false, true]);
    }

    #[test]
    fn quoted_text_keeps_its_spaces_semicolons_and_parentheses() {
        assert_eq!(
            words("a TXT ( \"v=1; (x) y\"\n \"say \\\"no\\\"\" )"),
            vec![(
                1,
                vec![
                    "a".into(),
                    "TXT".into(),
                    "v=1; (x) y".into(),
                    "say \\\"no\\\"".into()
                ]
            )]
        );
        assert_eq!(
            words("a HTTPS 1 . alpn=\"h2,h3\" port=1"),
            vec![(
                1,
                vec![
                    "a".into(),
                    "HTTPS".into(),
                    "1".into(),
                    ".".into(),
                    "alpn=h2,h3".into(),
                    "port=1".into()
                ]
            )]
        );
    }

    #[test]
    fn escapes_are_decimal_numbers_or_the_character_itself() {
        let token = |raw: &str| Token {
            raw: raw.into(),
            quoted: true,
        };
        assert_eq!(token("a\\032b\\;c").text().as_deref(), Some("a b;c"));
        assert_eq!(token("\\200").text(), None);
        assert_eq!(token("\\999").text(), None);
        assert_eq!(token("\\1").text(), None);
        assert_eq!(token("\\").text(), None);
    }

    #[test]
    fn what_is_not_closed_is_reported_where_it_opens_and_the_rest_is_read() {
        let found = entries("a TXT \"open\nb A 1.2.3.4\nc SOA (\nd A 1.2.3.4\n");
        let lines: Vec<Result<usize, usize>> = found
            .iter()
            .map(|entry| match entry {
                Ok(entry) => Ok(entry.line),
                Err(fault) => Err(fault.line),
            })
            .collect();
        assert_eq!(lines, [Err(1), Ok(2), Err(3)]);
        assert_eq!(
            entries("a A 1.2.3.4 )").first().map(Result::is_err),
            Some(true)
        );
    }
}
