//! Files of domain suffixes: `steer.never-files`, `steer.always-files` and `domain-files` of rules. [`Lists::load`]
//! reads them, at the start, at a reload and for `check`; all else is PURE.
//!
//! One domain a line, which stands for everything below it, too; what follows `#` is not read. Other formats are
//! refused with what to write: a hosts file or a filter list says other things than they seem to.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hickory_proto::rr::Name;

use super::matcher::{Builder, SuffixSet};
use crate::config::{Config, Rule, read_file};
use crate::net::Host;

/// The largest file that is read, in bytes: a few million names.
const LARGEST: u64 = 64 << 20;

/// How many problems of one file are told.
const MOST_PROBLEMS: usize = 10;

/// What the files of a configuration say, in the order of the configuration.
#[derive(Clone, Debug, Default)]
pub struct Lists {
    pub(super) never: Vec<List>,
    pub(super) always: Vec<List>,
    /// Those of each rule.
    pub(super) rules: Vec<Vec<List>>,
}

/// One file.
#[derive(Clone, Debug)]
pub(super) struct List {
    pub(super) file: PathBuf,
    pub(super) suffixes: Arc<SuffixSet>,
}

/// One thing that is wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ListProblem {
    /// The file.
    pub file: PathBuf,
    /// The line, from 1; `None` where no line is at fault.
    pub line: Option<usize>,
    /// What is wrong.
    pub what: String,
    /// What to write.
    pub write: String,
}

impl fmt::Display for ListProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.file.display())?;
        if let Some(line) = self.line {
            write!(f, "line {line}: ")?;
        }
        write!(f, "{}; {}", self.what, self.write)
    }
}

impl Lists {
    /// Reads every file that a configuration names, each once.
    ///
    /// # Errors
    ///
    /// Everything that is wrong, in the order of the configuration.
    pub fn load(config: &Config) -> Result<Self, Vec<ListProblem>> {
        let mut reader = Reader::default();
        let lists = Self {
            never: reader.lists(&config.steer.never_files),
            always: reader.lists(&config.steer.always_files),
            rules: config
                .rules
                .iter()
                .map(|rule: &Rule| reader.lists(&rule.domain_files))
                .collect(),
        };
        if reader.problems.is_empty() {
            Ok(lists)
        } else {
            Err(reader.problems)
        }
    }
}

#[derive(Default)]
struct Reader {
    read: HashMap<PathBuf, Arc<SuffixSet>>,
    problems: Vec<ListProblem>,
}

impl Reader {
    fn lists(&mut self, files: &[PathBuf]) -> Vec<List> {
        let list = |file: &PathBuf| List {
            file: file.clone(),
            suffixes: self.list(file),
        };
        files.iter().map(list).collect()
    }

    fn list(&mut self, file: &Path) -> Arc<SuffixSet> {
        if let Some(known) = self.read.get(file) {
            return Arc::clone(known);
        }
        let suffixes = match text(file) {
            Ok(text) => parse(file, &text, &mut self.problems),
            Err(error) => {
                self.problems.push(ListProblem {
                    file: file.to_owned(),
                    line: None,
                    what: format!("cannot be read: {error}"),
                    write: "write a file that the user of sekisho can read, or take it out".into(),
                });
                SuffixSet::default()
            }
        };
        let suffixes = Arc::new(suffixes);
        self.read.insert(file.to_owned(), Arc::clone(&suffixes));
        suffixes
    }
}

/// The file's text, up to [`LARGEST`].
fn text(path: &Path) -> io::Result<String> {
    String::from_utf8(read_file(path, LARGEST)?)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not text (UTF-8)"))
}

fn parse(file: &Path, text: &str, problems: &mut Vec<ListProblem>) -> SuffixSet {
    let mut wrong = 0;
    let mut set = Builder::default();
    for (number, line) in lines(text) {
        if set.push_plain(line) {
            continue;
        }
        match suffix(line) {
            Ok(name) => set.push(&name),
            Err((what, write)) => {
                wrong += 1;
                if wrong <= MOST_PROBLEMS {
                    problems.push(ListProblem {
                        file: file.to_owned(),
                        line: Some(number),
                        what,
                        write,
                    });
                }
            }
        }
    }
    if wrong > MOST_PROBLEMS {
        problems.push(ListProblem {
            file: file.to_owned(),
            line: None,
            what: format!("{} more lines are wrong", wrong - MOST_PROBLEMS),
            write: "mend those first".into(),
        });
    }
    set.finish()
}

/// The lines that say something, without their comments, with their numbers.
fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines()
        .enumerate()
        .map(|(index, line)| (index + 1, line))
        .map(|(number, line)| (number, line.split('#').next().unwrap_or_default().trim()))
        .filter(|(_, line)| !line.is_empty())
}

/// The suffix of a line, or what is wrong with it and what to write.
fn suffix(line: &str) -> Result<Name, (String, String)> {
    let name = |text: &str| match Host::parse(text) {
        Ok(Host::Name(name)) => Ok(name),
        Ok(Host::Addr(_)) => Err("it is an address".to_owned()),
        Err(error) => Err(error.to_string()),
    };
    if line == "." {
        return Ok(Name::root());
    }
    name(line).map_err(|why| {
        // What was most likely meant.
        let meant = line
            .split_whitespace()
            .last()
            .unwrap_or_default()
            .trim_start_matches('|')
            .trim_end_matches('^')
            .trim_start_matches("*.")
            .trim_start_matches('.');
        let write = match name(meant) {
            Ok(_) if meant != line => {
                format!("write `{meant}` alone; it stands for everything below it, too")
            }
            _ => "write one domain a line, such as `example.com`".to_owned(),
        };
        let shown: String = line.chars().take(80).collect();
        (
            format!("`{}` is no domain: {why}", shown.escape_debug()),
            write,
        )
    })
}

/// One entry of the list that is built in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuiltIn {
    /// The suffix.
    pub suffix: Name,
    /// What it is.
    pub what: &'static str,
    /// Where one sees that.
    pub source: &'static str,
}

/// Reads the list that is built in: `suffix # what; source`.
pub(super) fn built_in(text: &'static str) -> Vec<BuiltIn> {
    text.lines()
        .filter_map(|line| {
            let (suffix, reason) = line.split_once('#')?;
            let Ok(Host::Name(suffix)) = Host::parse(suffix.trim()) else {
                return None;
            };
            let (what, source) = reason.split_once(';').unwrap_or((reason, ""));
            Some(BuiltIn {
                suffix,
                what: what.trim(),
                source: source.trim(),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::net::Interfaces;

    fn config(text: &str, folder: &Path) -> Config {
        let interfaces = Interfaces::of(&[("eth0", "192.168.1.2/24")], Some("eth0"));
        let file = folder.join("sekisho.toml");
        Config::parse(text, Some(&file), &interfaces, "nameserver 192.0.2.53\n").unwrap()
    }

    fn name(text: &str) -> Name {
        Name::from_ascii(text).unwrap()
    }

    #[test]
    fn files_are_read_beside_the_configuration_with_their_comments() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(
            folder.path().join("a.txt"),
            "# heading\n\nExample.COM. # why\n  tv.example\n",
        )
        .unwrap();
        let text = "[steer]\nnever-files = [\"a.txt\"]\nalways-files = [\"a.txt\"]\n\
                    [[rule]]\naaaa = \"pass\"\n[[rule]]\ndomain-files = [\"a.txt\"]\naaaa = \"pass\"\n";
        let lists = Lists::load(&config(text, folder.path())).unwrap();
        assert_eq!(lists.rules.iter().map(Vec::len).collect::<Vec<_>>(), [0, 1]);
        for list in lists
            .never
            .iter()
            .chain(&lists.always)
            .chain(&lists.rules[1])
        {
            assert!(list.suffixes.contains(&name("www.example.com.")));
            assert!(list.suffixes.contains(&name("TV.example.")));
            assert_eq!(list.suffixes.len(), 2);
        }
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line_and_what_to_write() {
        let folder = tempfile::tempdir().unwrap();
        let lines = "good.example\n*.wild.example\n||filter.example^\n0.0.0.0 hosts.example\n192.0.2.1\na..b\n";
        fs::write(folder.path().join("a.txt"), lines).unwrap();
        let text = "[steer]\nnever-files = [\"a.txt\", \"missing.txt\", \".\"]\n";
        let problems = Lists::load(&config(text, folder.path())).unwrap_err();
        let told: Vec<(Option<usize>, &str)> = problems
            .iter()
            .map(|problem| (problem.line, problem.write.as_str()))
            .collect();
        let alone =
            |name: &str| format!("write `{name}` alone; it stands for everything below it, too");
        let (wild, filter, hosts) = (
            alone("wild.example"),
            alone("filter.example"),
            alone("hosts.example"),
        );
        let general = "write one domain a line, such as `example.com`";
        assert_eq!(
            told[..5],
            [
                (Some(2), wild.as_str()),
                (Some(3), filter.as_str()),
                (Some(4), hosts.as_str()),
                (Some(5), general),
                (Some(6), general),
            ]
        );
        assert_eq!(told.len(), 7, "{problems:?}");
        let first = problems[0].to_string();
        assert!(
            first.contains("a.txt: line 2: `*.wild.example` is no domain"),
            "{first}"
        );
        assert!(
            problems[5]
                .to_string()
                .contains("missing.txt: cannot be read")
        );
    }

    #[test]
    fn a_file_that_is_wrong_throughout_is_told_of_briefly() {
        let mut problems = Vec::new();
        let text = "0.0.0.0 a\n".repeat(1000);
        parse(Path::new("a"), &text, &mut problems);
        assert_eq!(problems.len(), MOST_PROBLEMS + 1);
        assert!(problems[MOST_PROBLEMS].what.starts_with("990 more"));
    }

    #[test]
    fn many_names_are_held_in_little_memory_and_found() {
        let text: String = (0..20_000)
            .map(|number| format!("host-{number}.some-domain-{}.example\n", number % 777))
            .collect();
        let mut problems = Vec::new();
        let set = parse(Path::new("a"), &text, &mut problems);
        assert_eq!((set.len(), problems.len()), (20_000, 0));
        for number in [0, 1, 776, 777, 19_999] {
            let host = format!("www.host-{number}.some-domain-{}.example.", number % 777);
            assert!(set.contains(&name(&host)), "{host}");
        }
        assert!(!set.contains(&name("host-5.some-domain-6.example.")));
    }
}
