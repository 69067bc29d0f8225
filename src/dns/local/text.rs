//! PURE. The text of a zone file as entries of tokens, each entry with its line (RFC 1035 section 5.1).
//!
//! The lexer of hickory gives no line, takes quoted text inside parentheses apart, reads `\DDD` wrong and refuses `@`
//! in the data of a record; so the text is cut here, and hickory is given the data of one record at a time.

use std::borrow::Cow;

/// One entry of a zone file: a record or a `$` directive, over one or more lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry<'a> {
    /// The line it begins on, from 1.
    pub(super) line: usize,
    /// Whether it begins with white space: the owner is that of the record before.
    pub(super) continues_owner: bool,
    /// What it consists of; never empty.
    pub(super) tokens: Vec<Token<'a>>,
}

/// One word or quoted text, escapes still in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Token<'a> {
    /// The text between the quotes, or the word.
    pub(super) raw: Cow<'a, str>,
    /// Whether it began with a quote.
    pub(super) quoted: bool,
}

impl Token<'_> {
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
pub(super) fn entries<'a>(text: &'a str, mut found: impl FnMut(Result<&Entry<'a>, Fault>)) {
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
            found(Err(Fault {
                line: number,
                what,
                write,
            }));
        }
        if depth == 0 {
            if sound && !entry.tokens.is_empty() {
                found(Ok(&entry));
            }
            entry.tokens.clear();
        }
    }
    if depth > 0 {
        found(Err(Fault {
            line: entry.line,
            what: "the parenthesis `(` is never closed",
            write: "write `)` after the last field of the record",
        }));
    }
}

/// Cuts one line; `depth` counts the parentheses that are open.
fn cut<'a>(
    line: &'a str,
    depth: &mut usize,
    tokens: &mut Vec<Token<'a>>,
) -> Result<(), (&'static str, &'static str)> {
    let mut open: Option<Token<'a>> = None;
    let mut rest = line;
    let mut fault = Ok(());
    loop {
        let (plain, after) = rest.split_at(plain_letters(rest));
        if !plain.is_empty() {
            lengthen(&mut open, plain);
        }
        let mut letters = after.chars();
        let Some(character) = letters.next() else {
            break;
        };
        rest = letters.as_str();
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
                let (inside, after) = quoted(rest);
                rest = after.unwrap_or_default();
                if after.is_none() {
                    fault = Err((
                        "the quoted text is not closed",
                        "write `\"` at its end, on the same line",
                    ));
                }
                // key="value" of a service binding goes on; text that began with a quote is complete.
                if open.is_some() {
                    lengthen(&mut open, inside);
                } else {
                    tokens.push(Token {
                        raw: inside.into(),
                        quoted: true,
                    });
                }
            }
            space if space.is_whitespace() => tokens.extend(open.take()),
            _ => {
                if character == '\\' {
                    letters.next();
                    rest = letters.as_str();
                }
                lengthen(&mut open, before(after, rest));
            }
        }
    }
    tokens.extend(open);
    fault
}

/// How many letters at the beginning are of a word and need no closer look.
fn plain_letters(text: &str) -> usize {
    let special =
        |&byte: &u8| !byte.is_ascii_graphic() || matches!(byte, b';' | b'(' | b')' | b'"' | b'\\');
    text.as_bytes()
        .iter()
        .position(special)
        .unwrap_or(text.len())
}

/// What stands in `text` before its end `rest`.
fn before<'a>(text: &'a str, rest: &str) -> &'a str {
    text.get(..text.len() - rest.len()).unwrap_or_default()
}

fn lengthen<'a>(open: &mut Option<Token<'a>>, more: &'a str) {
    match open {
        Some(token) => token.raw.to_mut().push_str(more),
        None => {
            *open = Some(Token {
                raw: more.into(),
                quoted: false,
            });
        }
    }
}

/// What stands up to the closing quote, and after it; up to the end where there is none.
fn quoted(text: &str) -> (&str, Option<&str>) {
    let mut rest = text.chars();
    loop {
        let here = rest.as_str();
        match rest.next() {
            None => return (text, None),
            Some('"') => return (before(text, here), Some(rest.as_str())),
            Some('\\') => {
                rest.next();
            }
            Some(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &str) -> Vec<Result<Entry<'_>, Fault>> {
        let mut all = Vec::new();
        entries(text, |found| all.push(found.cloned()));
        all
    }

    fn words(text: &str) -> Vec<(usize, Vec<String>)> {
        all(text)
            .into_iter()
            .map(|entry| entry.expect("an entry"))
            .map(|entry| {
                let tokens = entry.tokens.into_iter().map(|token| token.raw.into());
                (entry.line, tokens.collect())
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
        let blank: Vec<bool> = all(text)
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
    fn words_end_at_white_space_of_every_script_and_keep_what_is_escaped() {
        for (text, expected) in [
            ("a\u{a0}b\u{3000}\u{85}c\td", &["a", "b", "c", "d"][..]),
            ("b\u{fc}ro\u{1}\u{7f}x A", &["b\u{fc}ro\u{1}\u{7f}x", "A"]),
            (
                "a\\ b\\;c\\\"d\\\u{fc}e\\(f g",
                &["a\\ b\\;c\\\"d\\\u{fc}e\\(f", "g"],
            ),
            ("a\\", &["a\\"]),
            ("a(b)c;d", &["a", "b", "c"]),
            ("k=\"v w\"x\"y\"z \"\" \"q\"r", &["k=v wxyz", "", "q", "r"]),
        ] {
            assert_eq!(
                words(text),
                [(1, expected.iter().map(ToString::to_string).collect())],
                "{text}"
            );
        }
        let quotes: Vec<bool> = all("k=\"v\" \"\" \"q\"r")
            .into_iter()
            .flat_map(|entry| entry.unwrap().tokens)
            .map(|token| token.quoted)
            .collect();
        assert_eq!(quotes, [false, true, true, false]);
    }

    #[test]
    fn escapes_are_decimal_numbers_or_the_character_itself() {
        let token = |raw: &'static str| Token {
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
        let found = all("a TXT \"open\nb A 1.2.3.4\nc SOA (\nd A 1.2.3.4\n");
        let lines: Vec<Result<usize, usize>> = found
            .iter()
            .map(|entry| match entry {
                Ok(entry) => Ok(entry.line),
                Err(fault) => Err(fault.line),
            })
            .collect();
        assert_eq!(lines, [Err(1), Ok(2), Err(3)]);
        assert_eq!(all("a A 1.2.3.4 )").first().map(Result::is_err), Some(true));
    }
}
