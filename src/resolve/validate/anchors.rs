//! The keys that are trusted without proof: those of the root, built in, or what stands in `dns.trust-anchor`, DS and
//! DNSKEY records as in a zone file (RFC 1035 section 5.1). Loaded by `app` at the start and at each reload; all but
//! [`TrustAnchors::load`] is PURE.

use std::fmt;
use std::path::{Path, PathBuf};

use hickory_proto::dnssec::rdata::{DNSSECRData, DS};
use hickory_proto::dnssec::{Algorithm, PublicKeyBuf, TrustAnchors as Keys};
use hickory_proto::rr::{Name, RData, RecordType};

use super::sets::depth;
use crate::config::read_file;

/// What is trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustAnchors {
    anchors: Vec<Anchor>,
}

/// What is trusted of one zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Anchor {
    /// The zone.
    pub(super) zone: Name,
    /// Digests of its keys.
    pub(super) digests: Vec<DS>,
    /// Its keys.
    pub(super) keys: Vec<PublicKeyBuf>,
}

/// One thing that is wrong with the file of trust anchors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnchorProblem {
    /// The file.
    pub file: PathBuf,
    /// The line, from 1; `None` where no line is at fault.
    pub line: Option<usize>,
    /// What is wrong.
    pub what: String,
    /// What to write.
    pub write: &'static str,
}

impl fmt::Display for AnchorProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.file.display())?;
        if let Some(line) = self.line {
            write!(f, "line {line}: ")?;
        }
        write!(f, "{}; {}", self.what, self.write)
    }
}

/// An example of each kind.
const EXAMPLE: &str =
    "write records such as `. IN DS 20326 8 2 E06D44B8...` or `. IN DNSKEY 257 3 8 AwEAAa...`";
/// The most that a file may have, in bytes: a zone's keys are some hundred.
const MAX_LENGTH: u64 = 1 << 20;

impl TrustAnchors {
    /// Those of the root.
    pub fn root() -> Self {
        let built_in = Keys::default();
        let keys = (0..built_in.len()).filter_map(|index| built_in.get(index).cloned());
        Self {
            anchors: vec![Anchor {
                zone: Name::root(),
                digests: Vec::new(),
                keys: keys.collect(),
            }],
        }
    }

    /// Reads a file.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with it.
    pub fn load(path: &Path) -> Result<Self, Vec<AnchorProblem>> {
        let problem = |what: String| {
            vec![AnchorProblem {
                file: path.to_owned(),
                line: None,
                what,
                write: "name a file of DS or DNSKEY records that `user` can read",
            }]
        };
        let bytes = read_file(path, MAX_LENGTH).map_err(|error| problem(error.to_string()))?;
        let text =
            String::from_utf8(bytes).map_err(|_| problem("it is not text (UTF-8)".to_owned()))?;
        Self::parse(&text).map_err(|problems| {
            let problems = problems.into_iter();
            problems
                .map(|(line, what)| AnchorProblem {
                    file: path.to_owned(),
                    line,
                    what,
                    write: EXAMPLE,
                })
                .collect()
        })
    }

    /// Reads the records of a file.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with it, each with its line.
    pub(super) fn parse(text: &str) -> Result<Self, Vec<(Option<usize>, String)>> {
        let mut anchors = Self {
            anchors: Vec::new(),
        };
        let mut problems = Vec::new();
        for (line, record) in records(text) {
            if let Err(what) = anchors.add(&record) {
                problems.push((Some(line), what));
            }
        }
        if problems.is_empty() && anchors.anchors.is_empty() {
            problems.push((None, "there is no DS or DNSKEY record to trust".to_owned()));
        }
        if problems.is_empty() {
            Ok(anchors)
        } else {
            Err(problems)
        }
    }

    fn add(&mut self, record: &str) -> Result<(), String> {
        let mut words = record.split_whitespace().peekable();
        let owner = words.next().unwrap_or_default();
        let zone = Name::from_ascii(owner)
            .ok()
            .filter(Name::is_fqdn)
            .ok_or_else(|| format!("`{owner}` is no name that ends with a dot"))?;
        while words.peek().is_some_and(|word| {
            word.eq_ignore_ascii_case("IN") || word.bytes().all(|letter| letter.is_ascii_digit())
        }) {
            words.next();
        }
        let record_type = words.next().unwrap_or_default().to_ascii_uppercase();
        let data: Vec<&str> = words.collect();
        match record_type.as_str() {
            "DS" => {
                let digest = digest(&data)?;
                self.of(zone).digests.push(digest);
            }
            "DNSKEY" => {
                if let Some(key) = key(&data)? {
                    self.of(zone).keys.push(key);
                }
            }
            other => return Err(format!("`{other}` is neither DS nor DNSKEY")),
        }
        Ok(())
    }

    fn of(&mut self, zone: Name) -> &mut Anchor {
        let zone = zone.to_lowercase();
        let held = self.anchors.iter().position(|anchor| anchor.zone == zone);
        let place = held.unwrap_or_else(|| {
            self.anchors.push(Anchor {
                zone,
                digests: Vec::new(),
                keys: Vec::new(),
            });
            self.anchors.len() - 1
        });
        &mut self.anchors[place]
    }

    /// The one of the zone that is nearest above a name.
    pub(super) fn nearest(&self, name: &Name) -> Option<&Anchor> {
        let above = self
            .anchors
            .iter()
            .filter(|anchor| anchor.zone.zone_of(name));
        above.max_by_key(|anchor| depth(&anchor.zone))
    }
}

/// The records of a file, each on one line with the number of its first: comments left out, parentheses resolved.
fn records(text: &str) -> Vec<(usize, String)> {
    let mut records: Vec<(usize, String)> = Vec::new();
    let mut open = false;
    for (index, line) in text.lines().enumerate() {
        let line = line.split(';').next().unwrap_or_default();
        if line.trim().is_empty() {
            continue;
        }
        if !open {
            records.push((index + 1, String::new()));
        }
        for letter in line.chars() {
            match letter {
                '(' => open = true,
                ')' => open = false,
                _ => {}
            }
        }
        if let Some((_, record)) = records.last_mut() {
            record.push_str(&line.replace(['(', ')'], " "));
            record.push(' ');
        }
    }
    records
}

fn digest(data: &[&str]) -> Result<DS, String> {
    let parsed = RData::try_from_str(RecordType::DS, &data.join(" "));
    let Ok(RData::DNSSEC(DNSSECRData::DS(digest))) = parsed else {
        return Err("the DS record cannot be read".to_owned());
    };
    if !digest.algorithm().is_supported() || !digest.digest_type().is_supported() {
        return Err("the DS record has an algorithm or a digest that is not known".to_owned());
    }
    let length = match u8::from(digest.digest_type()) {
        1 => 20,
        2 => 32,
        _ => 48,
    };
    if digest.digest().len() != length {
        return Err(format!(
            "the digest of the DS record is not {length} bytes long"
        ));
    }
    Ok(digest)
}

/// A key; `None` for one that was revoked, as stand in files that other programs keep.
fn key(data: &[&str]) -> Result<Option<PublicKeyBuf>, String> {
    let unreadable = || "the DNSKEY record cannot be read".to_owned();
    let number = |index: usize| data.get(index).and_then(|word| word.parse::<u16>().ok());
    let (Some(flags), Some(3), Some(algorithm)) = (number(0), number(1), number(2)) else {
        return Err(unreadable());
    };
    let algorithm = u8::try_from(algorithm).map_err(|_| unreadable())?;
    // hickory reads only keys that it could use, and stops at others.
    if !Algorithm::from_u8(algorithm).is_supported() {
        return Err("the DNSKEY record has an algorithm that is not known".to_owned());
    }
    if flags & ZONE_KEY == 0 {
        return Err("the DNSKEY record is no key of a zone".to_owned());
    }
    let text = format!(". 0 IN DNSKEY {}\n", data.join(" "));
    let keys: Keys = text.parse().map_err(|_| unreadable())?;
    let key = keys.get(0).cloned().ok_or_else(unreadable)?;
    Ok((flags & REVOKED == 0).then_some(key))
}

/// Flags of a DNSKEY (RFC 4034 section 2.1.1, RFC 5011 section 3).
const ZONE_KEY: u16 = 0x0100;
const REVOKED: u16 = 0x0080;

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT_DS: &str = "E06D44B80B8F1D39A95C0B0D7C65D08458E880409BBC683457104237C7F8EC8D";

    #[test]
    fn records_are_read_as_in_a_zone_file() {
        let text = format!(
            "; the root\n. 3600 IN DS 20326 8 2 ( {}\n  {} ) ; two lines\n\ncorp.example. DS 20326 8 2 {ROOT_DS}\n",
            &ROOT_DS[..20],
            &ROOT_DS[20..]
        );
        let anchors = TrustAnchors::parse(&text).unwrap();
        let nearest = |name: &str| {
            let name = Name::from_ascii(name).unwrap();
            anchors.nearest(&name).unwrap().zone.to_string()
        };
        assert_eq!(nearest("www.corp.example."), "corp.example.");
        assert_eq!(nearest("example."), ".");
        assert_eq!(TrustAnchors::root().anchors[0].keys.len(), 2);
    }

    #[test]
    fn keys_are_read_and_revoked_ones_passed_over() {
        let key = "kW6dGJTjYnFtfn0Do4bAyQK5yLxQkWqMSnDhQ0xyZjU=";
        let text = format!(". DNSKEY 257 3 15 {key}\n. 5 IN DNSKEY 385 3 15 {key}\n");
        assert_eq!(TrustAnchors::parse(&text).unwrap().anchors[0].keys.len(), 1);
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        for (text, line, what) in [
            ("", None, "there is no DS or DNSKEY record to trust"),
            (
                "; nothing\n",
                None,
                "there is no DS or DNSKEY record to trust",
            ),
            (
                "\n. IN A 192.0.2.1\n",
                Some(2),
                "`A` is neither DS nor DNSKEY",
            ),
            (
                "example IN DS 1 8 2 00\n",
                Some(1),
                "`example` is no name that ends with a dot",
            ),
            (
                ". IN DS 1 8 2 00\n",
                Some(1),
                "the digest of the DS record is not 32 bytes long",
            ),
            (". IN DS 1 8\n", Some(1), "the DS record cannot be read"),
            (
                ". IN DS 1 8 99 00\n",
                Some(1),
                "the DS record has an algorithm or a digest that is not known",
            ),
            (
                ". IN DNSKEY 257 3\n",
                Some(1),
                "the DNSKEY record cannot be read",
            ),
            (
                ". IN DNSKEY 257 3 200 AwEAAa==\n",
                Some(1),
                "the DNSKEY record has an algorithm that is not known",
            ),
            (
                ". IN DNSKEY 257 3 8 ????\n",
                Some(1),
                "the DNSKEY record cannot be read",
            ),
        ] {
            let problems = TrustAnchors::parse(text).unwrap_err();
            assert_eq!(problems, [(line, what.to_owned())], "{text:?}");
        }
    }

    #[test]
    fn a_file_that_is_not_there_is_a_problem() {
        let problems = TrustAnchors::load(Path::new("/nonexistent/anchors")).unwrap_err();
        assert!(
            problems[0]
                .to_string()
                .starts_with("/nonexistent/anchors: ")
        );
    }
}
