//! PURE. An explanation as text for people, at most 100 columns wide.

use std::fmt::Write as _;

use crate::app::{Decision, Explanation, Session, ShownError, ShownRecord, Told};

/// The widest line, in characters.
const WIDTH: usize = 100;

/// Where what is said about a thing begins.
const INDENT: usize = 12;

/// The report.
pub(super) fn text(explanation: &Explanation, colour: bool) -> String {
    let Explanation { names, session } = explanation;
    let mut out = Page {
        text: String::new(),
        colour,
    };
    out.head(&format!("{} for client {}", names.name, names.client));
    out.line("client", &names.client_from);
    out.line("known by", &names.known_by);
    if !names.truth.is_empty() {
        out.head("Truth");
        for told in &names.truth {
            out.told(told);
        }
    }
    if names.steering.is_some() || names.aaaa.is_some() {
        out.head("Decision");
        out.decision("steered", names.steering.as_ref());
        out.decision("AAAA", names.aaaa.as_ref());
    }
    out.head("Answer");
    for told in &names.answers {
        out.told(told);
    }
    out.session(session);
    out.text
}

struct Page {
    text: String,
    colour: bool,
}

impl Page {
    fn head(&mut self, text: &str) {
        if !self.text.is_empty() {
            self.text.push('\n');
        }
        if self.colour {
            writeln!(self.text, "\x1b[1m{text}\x1b[0m").ok();
        } else {
            writeln!(self.text, "{text}").ok();
        }
    }

    /// A thing and what is said about it, wrapped.
    fn line(&mut self, thing: &str, said: &str) {
        for (index, line) in wrap(said, WIDTH - INDENT).into_iter().enumerate() {
            let thing = if index == 0 { thing } else { "" };
            let line = format!("  {thing:<width$}{line}", width = INDENT - 2);
            writeln!(self.text, "{}", line.trim_end()).ok();
        }
    }

    fn decision(&mut self, thing: &str, decision: Option<&Decision>) {
        if let Some(Decision { verdict, why, .. }) = decision {
            self.line(thing, &format!("{verdict}: {why}"));
        }
    }

    fn told(&mut self, told: &Told) {
        let Told {
            record_type,
            rcode,
            authentic,
            cached,
            done,
            records,
            authority,
            extended_errors,
            why,
        } = told;
        let mut first = rcode.clone();
        if !done.is_empty() {
            write!(first, ", {done}").ok();
        }
        if *authentic {
            first.push_str(", AD");
        }
        if *cached == Some(true) {
            first.push_str(", from the cache");
        }
        if records.is_empty() {
            first.push_str(", no records");
        }
        self.line(record_type, &first);
        for record in records {
            self.line("", &shown(record));
        }
        if records.is_empty() {
            for record in authority
                .iter()
                .filter(|record| record.record_type == "SOA")
            {
                self.line("", &shown(record));
            }
        }
        for ShownError { code, text } in extended_errors {
            self.line("", &format!("EDE {code} {text}"));
        }
        if !why.is_empty() {
            self.line("", why);
        }
    }

    fn session(&mut self, session: &Session) {
        let Session {
            target,
            families,
            addresses_from,
            attempts,
            refused,
            failures,
        } = session;
        self.head(&format!("Session to {target} through the gate"));
        self.line("families", families);
        self.line("addresses", addresses_from);
        for (index, attempt) in attempts.iter().enumerate() {
            let place = format!("{}.", index + 1);
            self.line(&place, &format!("{} ({})", attempt.address, attempt.family));
        }
        for refused in refused {
            self.line("refused", &format!("{}: {}", refused.address, refused.why));
        }
        for failure in failures {
            self.line("failed", failure);
        }
        if attempts.is_empty() {
            self.line("", "no address is left to try, so the session fails");
        }
    }
}

fn shown(record: &ShownRecord) -> String {
    let ShownRecord {
        name,
        ttl,
        record_type,
        data,
    } = record;
    format!("{name} {ttl} {record_type} {data}")
}

/// Lines of at most so many characters, broken at spaces where there are any.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    let mut used = 0;
    for word in text.split(' ') {
        let mut letters: Vec<char> = word.chars().collect();
        if used > 0 && used + 1 + letters.len() > width {
            lines.push(String::new());
            used = 0;
        }
        while letters.len() > width {
            let rest = letters.split_off(width);
            if let Some(line) = lines.last_mut() {
                line.extend(letters);
            }
            lines.push(String::new());
            letters = rest;
        }
        if let Some(line) = lines.last_mut() {
            if used > 0 {
                line.push(' ');
                used += 1;
            }
            used += letters.len();
            line.extend(letters);
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_break_at_spaces_and_long_words_within() {
        assert_eq!(wrap("a bb ccc", 4), ["a bb", "ccc"]);
        assert_eq!(wrap("abcdefghij k", 4), ["abcd", "efgh", "ij k"]);
        assert_eq!(wrap("", 4), [""]);
    }

    #[test]
    fn a_report_has_every_part_and_no_line_over_100_columns() {
        let json = serde_json::json!({
            "name": "www.example", "client": "192.168.1.1", "client-from": "an address of lan.networks",
            "known-by": "upstreams",
            "truth": [{"type": "A", "rcode": "NOERROR", "authentic": true, "done": "", "authority": [],
                "records": [{"name": "www.example", "ttl": 300, "type": "A", "data": "192.0.2.1"}],
                "extended-errors": [], "why": ""}],
            "steering": {"verdict": "never", "by": "built-in", "why": "long ".repeat(60)},
            "aaaa": null,
            "answers": [{"type": "AAAA", "rcode": "NOERROR", "authentic": false, "done": "withheld",
                "records": [], "extended-errors": [{"code": 17, "text": "AAAA withheld by the gate"}],
                "authority": [{"name": "example", "ttl": 60, "type": "SOA", "data": "x".repeat(300)}],
                "why": "no rule passes it"}],
            "session": {"target": "www.example:443", "families": "ipv6-first, as egress.prefer says",
                "addresses-from": "upstreams, unfiltered",
                "attempts": [{"address": "2001:db8::1", "family": "ipv6"}],
                "refused": [{"address": "10.0.0.1", "why": "a special-purpose address (private)"}],
                "failures": []}
        });
        let explanation: Explanation = serde_json::from_value(json).unwrap();
        let plain = text(&explanation, false);
        for part in [
            "www.example for client 192.168.1.1\n",
            "\nTruth\n  A         NOERROR, AD\n            www.example 300 A 192.0.2.1\n",
            "  steered   never: long",
            "  AAAA      NOERROR, withheld, no records\n",
            "            EDE 17 AAAA withheld by the gate\n",
            "  1.        2001:db8::1 (ipv6)\n",
            "  refused   10.0.0.1: a special-purpose address (private)\n",
        ] {
            assert!(plain.contains(part), "{part:?}\n{plain}");
        }
        assert!(
            plain.lines().all(|line| line.chars().count() <= WIDTH),
            "{plain}"
        );
        assert!(!plain.contains('\x1b') && text(&explanation, true).contains("\x1b[1mTruth"));
    }
}
