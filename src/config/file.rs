//! PURE. What the TOML says: tables read key by key, every problem kept with its line.
//!
//! A section asks for each key it knows, with the parser and the default; [`Section::finish`] then reports the keys
//! that nobody asked for. So one pass finds every problem, and a key exists exactly where it is read.

use std::cell::RefCell;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::value::Wrong;
use super::{Problem, Problems};

/// One text being read, and the problems found so far.
pub(super) struct Reader<'t> {
    text: &'t str,
    problems: RefCell<Vec<Problem>>,
}

impl<'t> Reader<'t> {
    /// A reader of `text`.
    pub(super) fn new(text: &'t str) -> Self {
        Self {
            text,
            problems: RefCell::default(),
        }
    }

    /// The text's tables; what is not TOML is reported, and the rest is read all the same.
    pub(super) fn tables(&self) -> Spanned<DeTable<'t>> {
        let (tables, errors) = DeTable::parse_recoverable(self.text);
        for error in errors {
            let line = error.span().map(|span| self.line(&span));
            let written = line.and_then(|line| self.text.lines().nth(line - 1));
            let key = written
                .and_then(|text| text.split_once('='))
                .map(|(key, _)| key.trim());
            let what = error.message().lines().collect::<Vec<_>>().join(", ");
            let write = if what.contains("duplicate key") {
                "keep one of the two"
            } else {
                "mend this line"
            };
            let key = key.filter(|key| !key.is_empty()).unwrap_or("toml");
            self.report(line, key, Wrong::new(what, write));
        }
        tables
    }

    /// Keeps a problem.
    pub(super) fn report(&self, line: Option<usize>, key: &str, wrong: Wrong) {
        self.problems.borrow_mut().push(Problem {
            line,
            key: key.to_owned(),
            what: wrong.what,
            write: wrong.write,
        });
    }

    /// Whether something was found already.
    pub(super) fn has_problems(&self) -> bool {
        !self.problems.borrow().is_empty()
    }

    /// Everything found, in the order of the lines.
    pub(super) fn finish(self) -> Problems {
        let mut problems = self.problems.into_inner();
        problems.sort_by_key(|problem| problem.line.unwrap_or(usize::MAX));
        Problems(problems)
    }

    fn line(&self, span: &Range<usize>) -> usize {
        let before = self.text.as_bytes().iter().take(span.start);
        1 + before.filter(|byte| **byte == b'\n').count()
    }
}

/// One table, read key by key.
pub(super) struct Section<'r, 't> {
    reader: &'r Reader<'t>,
    path: String,
    line: Option<usize>,
    table: Option<&'r DeTable<'t>>,
    known: Vec<&'static str>,
}

/// A text that stands in the file, or the default that stands in for it.
pub(super) struct Text<'r> {
    value: &'r str,
    line: Option<usize>,
}

impl<'r, 't> Section<'r, 't> {
    /// The top level.
    pub(super) fn top(reader: &'r Reader<'t>, table: &'r DeTable<'t>) -> Self {
        Self {
            reader,
            path: String::new(),
            line: None,
            table: Some(table),
            known: Vec::new(),
        }
    }

    /// The table `[key]`; empty where it is not written.
    pub(super) fn section(&mut self, key: &'static str) -> Self {
        let path = self.path(key);
        let (table, line) = match self.entry(key) {
            Some((value, line)) => {
                let table = value.as_table();
                if table.is_none() {
                    self.mistyped(key, line, value, &format!("a table: [{path}]"));
                }
                (table, Some(line))
            }
            None => (None, None),
        };
        Self {
            reader: self.reader,
            path,
            line,
            table,
            known: Vec::new(),
        }
    }

    /// The tables `[[key]]`.
    pub(super) fn sections(&mut self, key: &'static str) -> Vec<Self> {
        let path = self.path(key);
        let Some((value, line)) = self.entry(key) else {
            return Vec::new();
        };
        let Some(array) = value.as_array() else {
            self.mistyped(key, line, value, &format!("tables: [[{path}]]"));
            return Vec::new();
        };
        let mut sections = Vec::new();
        for item in array {
            let line = self.reader.line(&item.span());
            match item.get_ref().as_table() {
                Some(table) => sections.push(Self {
                    reader: self.reader,
                    path: path.clone(),
                    line: Some(line),
                    table: Some(table),
                    known: Vec::new(),
                }),
                None => self.mistyped(key, line, item.get_ref(), &format!("tables: [[{path}]]")),
            }
        }
        sections
    }

    /// A text, parsed; `default` is parsed the same way where the key is missing or wrong.
    pub(super) fn text<T>(
        &mut self,
        key: &'static str,
        default: &'static str,
        parse: impl Fn(&str) -> Result<T, Wrong>,
    ) -> Option<T> {
        let text = match self.entry(key) {
            Some((value, line)) => match value.as_str() {
                Some(value) => Text {
                    value,
                    line: Some(line),
                },
                None => {
                    let example = match default {
                        "" => "a text in quotes".to_owned(),
                        default => format!("a text, such as \"{default}\""),
                    };
                    self.mistyped(key, line, value, &example);
                    return None;
                }
            },
            None => Text {
                value: default,
                line: None,
            },
        };
        self.parsed(key, &text, parse)
    }

    /// A text that must be there, parsed; `example` is told where it is not.
    pub(super) fn needed_text<T>(
        &mut self,
        key: &'static str,
        example: &'static str,
        parse: impl Fn(&str) -> Result<T, Wrong>,
    ) -> Option<T> {
        if self.is_written(key) {
            return self.text(key, example, parse);
        }
        self.known.push(key);
        let write = format!("write {key} = \"{example}\"");
        self.report(key, Wrong::new("it is missing", write));
        None
    }

    /// A list of texts, each parsed; the texts that are wrong are reported one by one.
    pub(super) fn texts<T>(
        &mut self,
        key: &'static str,
        defaults: &'static [&'static str],
        parse: impl Fn(&str) -> Result<T, Wrong>,
    ) -> Vec<T> {
        let mut texts = Vec::new();
        match self.entry(key) {
            Some((value, line)) => match value.as_array() {
                Some(array) => {
                    for item in array {
                        let line = self.reader.line(&item.span());
                        match item.get_ref().as_str() {
                            Some(value) => texts.push(Text {
                                value,
                                line: Some(line),
                            }),
                            None => self.mistyped(key, line, item.get_ref(), "a text in quotes"),
                        }
                    }
                }
                None => self.mistyped(
                    key,
                    line,
                    value,
                    &match defaults {
                        [] => "a list of texts: [\"...\"]".to_owned(),
                        defaults => format!("a list of texts, such as {defaults:?}"),
                    },
                ),
            },
            None => texts.extend(defaults.iter().map(|value| Text { value, line: None })),
        }
        texts
            .iter()
            .filter_map(|text| self.parsed(key, text, &parse))
            .collect()
    }

    /// A whole number within `range`.
    pub(super) fn number(&mut self, key: &'static str, default: u32, range: Range<u32>) -> u32 {
        let Some((value, line)) = self.entry(key) else {
            return default;
        };
        number_in(value, &range).unwrap_or_else(|| {
            let from = range.start;
            let to = range.end - 1;
            self.mistyped(key, line, value, &format!("a number from {from} to {to}"));
            default
        })
    }

    /// A whole number within `range`; `None` for `"auto"`, which is the default.
    pub(super) fn number_or_auto(&mut self, key: &'static str, range: Range<u32>) -> Option<u32> {
        let (value, line) = self.entry(key)?;
        if value.as_str() == Some("auto") {
            return None;
        }
        let number = number_in(value, &range);
        if number.is_none() {
            let from = range.start;
            let to = range.end - 1;
            let form = format!("\"auto\" or a number from {from} to {to}");
            self.mistyped(key, line, value, &form);
        }
        number
    }

    /// `true` or `false`.
    pub(super) fn flag(&mut self, key: &'static str, default: bool) -> bool {
        let Some((value, line)) = self.entry(key) else {
            return default;
        };
        value.as_bool().unwrap_or_else(|| {
            self.mistyped(key, line, value, "true or false");
            default
        })
    }

    /// Whether the key is written in the file.
    pub(super) fn is_written(&self, key: &str) -> bool {
        self.table.is_some_and(|table| table.contains_key(key))
    }

    /// Whether the key is written as a list with nothing in it.
    pub(super) fn is_empty_list(&self, key: &str) -> bool {
        self.table
            .and_then(|table| table.get(key))
            .and_then(|value| value.get_ref().as_array())
            .is_some_and(|array| array.is_empty())
    }

    /// Reports something about a key that its parser alone could not see.
    pub(super) fn report(&self, key: &str, wrong: Wrong) {
        let line = self
            .table
            .and_then(|table| table.get_key_value(key))
            .map(|(key, _)| self.reader.line(&key.span()))
            .or(self.line);
        self.reader.report(line, &self.path(key), wrong);
    }

    /// Reports the keys that nobody asked for.
    pub(super) fn finish(self) {
        for key in self.table.into_iter().flat_map(DeTable::keys) {
            let name: &str = key.get_ref();
            if self.known.contains(&name) {
                continue;
            }
            let place = if self.path.is_empty() {
                "at the top level".to_owned()
            } else {
                format!("in [{}]", self.path)
            };
            let write = match nearest(name, &self.known) {
                Some(near) => format!("write `{near}`, or take it out"),
                None => format!("the keys {place} are {}", self.known.join(", ")),
            };
            self.reader.report(
                Some(self.reader.line(&key.span())),
                &self.path(name),
                Wrong::new(format!("there is no such key {place}"), write),
            );
        }
    }

    fn entry(&mut self, key: &'static str) -> Option<(&'r DeValue<'t>, usize)> {
        self.known.push(key);
        let (written, value) = self.table?.get_key_value(key)?;
        Some((value.get_ref(), self.reader.line(&written.span())))
    }

    fn parsed<T>(
        &self,
        key: &str,
        text: &Text<'_>,
        parse: impl Fn(&str) -> Result<T, Wrong>,
    ) -> Option<T> {
        parse(text.value)
            .map_err(|wrong| self.reader.report(text.line, &self.path(key), wrong))
            .ok()
    }

    fn mistyped(&self, key: &str, line: usize, value: &DeValue<'_>, write: &str) {
        let found = match (value.as_str(), value.as_integer()) {
            (Some(text), _) => format!("`{text}`"),
            (_, Some(integer)) => format!("`{integer}`"),
            _ => format!("a value of type {}", value.type_str()),
        };
        self.reader.report(
            Some(line),
            &self.path(key),
            Wrong::new(format!("{found} does not fit"), format!("write {write}")),
        );
    }

    fn path(&self, key: &str) -> String {
        if self.path.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.path)
        }
    }
}

/// The known key that was probably meant: one letter off, or the same without its hyphens.
fn nearest(written: &str, known: &[&'static str]) -> Option<&'static str> {
    let plain = |text: &str| text.replace(['-', '_'], "").to_lowercase();
    let written = plain(written);
    known
        .iter()
        .copied()
        .find(|key| plain(key) == written || one_off(&plain(key), &written))
}

/// Whether two texts differ by one letter changed, missing, or added.
fn one_off(a: &str, b: &str) -> bool {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    if a.len().abs_diff(b.len()) > 1 || a.len().min(b.len()) < 3 {
        return false;
    }
    let start = a.iter().zip(b).take_while(|(x, y)| x == y).count();
    let end = a
        .iter()
        .rev()
        .zip(b.iter().rev())
        .take_while(|(x, y)| x == y)
        .count();
    start + end + 1 >= a.len().max(b.len())
}

fn number_in(value: &DeValue<'_>, range: &Range<u32>) -> Option<u32> {
    value
        .as_integer()
        .and_then(|integer| u32::from_str_radix(integer.as_str(), integer.radix()).ok())
        .filter(|number| range.contains(number))
}
