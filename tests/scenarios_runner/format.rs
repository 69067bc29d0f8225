//! PURE. The format of the files, as `tests/scenarios/README.md` explains it.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;

/// One file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Scenario {
    /// What happens, in one sentence.
    pub(crate) about: String,
    /// Part of a sekisho.toml.
    #[serde(default)]
    pub(crate) config: String,
    /// Local zones: the zone's name, and its text.
    #[serde(default)]
    pub(crate) zones: BTreeMap<String, String>,
    /// Other files beside the configuration: path and text.
    #[serde(default)]
    pub(crate) files: BTreeMap<String, String>,
    /// The servers that the gate may ask.
    #[serde(default)]
    pub(crate) upstream: Vec<Upstream>,
    /// Why no question is to be asked again.
    pub(crate) once: Option<String>,
    /// What happens, in order.
    #[serde(default)]
    pub(crate) step: Vec<Step>,
    /// The line that each step begins on.
    #[serde(skip)]
    pub(crate) lines: Vec<usize>,
}

/// A scripted server.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Upstream {
    /// What `{name}` stands for in the configuration.
    pub(crate) name: String,
    /// Records that it answers from as a resolver would.
    #[serde(default)]
    pub(crate) zone: String,
    /// The zones of these names are signed; the file NAME.anchor has the trust anchor.
    #[serde(default)]
    pub(crate) signed: Vec<String>,
    /// It is older than EDNS: FORMERR to every query that has it.
    #[serde(default)]
    pub(crate) no_edns: bool,
    /// Nothing listens on its TCP port.
    #[serde(default)]
    pub(crate) no_tcp: bool,
    /// Answers of their own, before those of the zone; the first that fits is used.
    #[serde(default)]
    pub(crate) says: Vec<Says>,
}

/// One scripted answer.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Says {
    /// To which question: `NAME TYPE`, each of which may be `*`; `*.NAME` is everything below.
    pub(crate) to: String,
    #[serde(default)]
    pub(crate) answer: String,
    #[serde(default)]
    pub(crate) authority: String,
    #[serde(default)]
    pub(crate) additional: String,
    pub(crate) rcode: Option<String>,
    /// `ra` where nothing is written.
    pub(crate) flags: Option<String>,
    /// Extended errors: `CODE` or `CODE text`.
    #[serde(default)]
    pub(crate) ede: Vec<String>,
    /// Only over this transport.
    pub(crate) over: Option<Transport>,
    /// Only so many times.
    pub(crate) times: Option<usize>,
    /// Only in this phase.
    pub(crate) during: Option<String>,
    /// Nothing at all.
    #[serde(default)]
    pub(crate) silence: bool,
    /// After this time.
    pub(crate) delay: Option<String>,
    /// With this fault.
    pub(crate) wrong: Option<Wrong>,
    /// An answer with this fault first, then the right one.
    pub(crate) wrong_first: Option<Wrong>,
    /// From the zone after all, so that the other keys apply to its answer.
    #[serde(default)]
    pub(crate) from_zone: bool,
}

/// What is wrong with an answer.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Wrong {
    /// Another id.
    Id,
    /// Another question.
    Question,
    /// No question.
    NoQuestion,
    /// From another port.
    Source,
    /// The id, then octets that mean nothing.
    Garbage,
    /// The first half of it.
    Half,
    /// QR=0.
    Query,
}

/// How a query travels.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Transport {
    /// In a datagram.
    #[default]
    Udp,
    /// On a connection.
    Tcp,
    /// On a connection with TLS (DoT).
    Tls,
}

/// One thing that happens.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Step {
    /// `NAME TYPE [CLASS]`, or several of them, all of which are answered as expected.
    pub(crate) ask: Option<Questions>,
    /// A packet in hexadecimal instead.
    pub(crate) raw: Option<String>,
    #[serde(default)]
    pub(crate) over: Transport,
    /// The client's address.
    pub(crate) from: Option<String>,
    /// A connection (or port) that other steps use, too.
    pub(crate) connection: Option<String>,
    /// `rd` where nothing is written; also `cd`, `ad`, `do`, `aa`, `tc`, `z`.
    pub(crate) flags: Option<String>,
    /// The UDP payload size, or "none"; 1232 where nothing is written.
    pub(crate) edns: Option<Edns>,
    pub(crate) edns_version: Option<u8>,
    /// EDNS options: `CODE:HEX`; `{cookie}` is the last COOKIE option that came.
    #[serde(default)]
    pub(crate) options: Vec<String>,
    /// QUERY, STATUS, NOTIFY, UPDATE or a number.
    pub(crate) opcode: Option<String>,
    /// Why it is not to be asked again.
    pub(crate) once: Option<String>,
    /// Why its answer is not in the store; it is asked again all the same.
    pub(crate) unkept: Option<String>,
    /// Do not wait: a later step receives the answer by this name.
    #[serde(rename = "as")]
    pub(crate) label: Option<String>,
    /// Receive the answer to what was asked by this name.
    pub(crate) receive: Option<String>,
    /// Time may pass until the answer comes, but not more.
    pub(crate) within: Option<String>,
    /// Time passes.
    pub(crate) pass: Option<String>,
    /// From now on upstreams are in this phase.
    pub(crate) phase: Option<String>,
    /// Files are written: path and text.
    #[serde(default)]
    pub(crate) files: BTreeMap<String, String>,
    /// Local zones are written.
    #[serde(default)]
    pub(crate) zones: BTreeMap<String, String>,
    /// The configuration is replaced.
    pub(crate) config: Option<String>,
    /// The gate reads everything again.
    #[serde(default)]
    pub(crate) reload: bool,
    /// The admin listener (`web.admin`) is asked `METHOD PATH` over HTTP, which must be good.
    pub(crate) admin: Option<String>,
    pub(crate) expect: Option<Expect>,
}

/// One or several.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum Questions {
    One(String),
    Several(Vec<String>),
}

impl Questions {
    /// All of them.
    pub(crate) fn all(&self) -> Vec<&str> {
        match self {
            Self::One(question) => vec![question],
            Self::Several(questions) => questions.iter().map(String::as_str).collect(),
        }
    }
}

/// EDNS of a query.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum Edns {
    Size(u16),
    Word(String),
}

/// What must come.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Expect {
    /// NOERROR where nothing is written.
    pub(crate) rcode: Option<String>,
    /// All of them but `qr`, as dig prints them; not looked at where nothing is written.
    pub(crate) flags: Option<String>,
    /// Records in zone-file form; "any" is not looked at, and nothing is none.
    #[serde(default)]
    pub(crate) answer: String,
    #[serde(default)]
    pub(crate) authority: String,
    #[serde(default)]
    pub(crate) additional: String,
    /// The order of the records does not matter.
    #[serde(default)]
    pub(crate) any_order: bool,
    /// The codes of the extended errors, all of them; not looked at where nothing is written.
    pub(crate) ede: Option<Vec<u16>>,
    /// EDNS options that are there: `CODE`, `CODE:HEX` or `CODE:HEX*`; `!CODE` is not there.
    #[serde(default)]
    pub(crate) options: Vec<String>,
    /// The UDP payload size that the gate says it takes.
    pub(crate) edns: Option<u16>,
    /// Nothing comes, or the connection is closed.
    #[serde(default)]
    pub(crate) silence: bool,
    /// The connection is closed.
    #[serde(default)]
    pub(crate) closed: bool,
    pub(crate) size_at_most: Option<usize>,
    /// The size is a multiple of this.
    pub(crate) size_multiple: Option<usize>,
    /// The answer does not come before this time has passed.
    pub(crate) after: Option<String>,
    /// The reload: "done" or "failed".
    pub(crate) reload: Option<String>,
    /// What servers were asked since the step (of the question) began.
    pub(crate) upstream_asked: Option<UpstreamAsked>,
}

/// What servers were asked.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum UpstreamAsked {
    /// How often each; those that are not named do not matter.
    Counts(BTreeMap<String, usize>),
    /// `SERVER NAME TYPE`, then `do`, `cd`, `tcp`, `no-edns` where they are so; all of them, in any order.
    Questions(Vec<String>),
}

/// Reads a file.
pub(crate) fn read(text: &str) -> Result<Scenario, String> {
    #[derive(Deserialize)]
    struct Places {
        #[serde(default)]
        step: Vec<toml::Spanned<toml::Table>>,
    }
    let mut scenario: Scenario = toml::from_str(text).map_err(|error| error.to_string())?;
    let places: Places = toml::from_str(text).map_err(|error| error.to_string())?;
    let line = |at: usize| {
        text.get(..at)
            .map_or(0, |before| before.matches('\n').count() + 1)
    };
    scenario.lines = places
        .step
        .iter()
        .map(|step| line(step.span().start))
        .collect();
    if scenario.about.trim().is_empty() || scenario.step.is_empty() {
        return Err("`about` says nothing, or there is no [[step]]".to_owned());
    }
    Ok(scenario)
}

/// `250ms`, `2s`, `5m`, `1h`, `1d`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let end = text
        .find(|character: char| !character.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let millis = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(format!("`{text}` is no time such as \"250ms\" or \"2s\"")),
    };
    let number: u64 = number
        .parse()
        .map_err(|_| format!("`{text}` is no time such as \"250ms\" or \"2s\""))?;
    Ok(Duration::from_millis(number * millis))
}
