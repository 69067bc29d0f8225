//! What the admin may ask of the running gate over HTTP, besides looking at it: to forget what the cache holds.
//!
//! `app` implements [`Control`], because `web` does not know the rooms that it reaches into; the admin listener calls
//! it. A browser that happens to stand in an admitted network must not be made to do any of this by a page that it
//! shows: a page's POST carries an `Origin`, and a name that a page's owner has pointed to the gate (DNS rebinding) is
//! a `Host` that is not ours. Both are refused.

use std::fmt;
use std::pin::Pin;

use hickory_proto::rr::Name;
use http::header::{ACCEPT, ALLOW, HOST, HeaderValue, ORIGIN};
use http::{Method, Request, StatusCode};
use serde::Serialize;

use super::explain::Explain;
use super::{Reply, plain, reply};
use crate::net::{Family, Host, Target};

/// The running gate, as far as the admin may reach into it.
pub trait Control: fmt::Debug + Send + Sync + 'static {
    /// Forgets what the cache holds of these names, and says how many answers and failures that were.
    fn flush(&self, what: &Flush) -> usize;

    /// What the cache holds and has done since the start.
    fn cache(&self) -> CacheReport;

    /// The families that sessions cannot leave by now, and why.
    fn ill(&self) -> Vec<(Family, &'static str)>;

    /// What the gate would tell a client of a name, and why; the error says why that cannot be said.
    fn explain(&self, what: Explain) -> Explaining;
}

/// An explanation on its way.
pub type Explaining = Pin<Box<dyn Future<Output = Result<serde_json::Value, String>> + Send>>;

/// Which names the cache is to forget.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Flush {
    /// All.
    All,
    /// This one.
    Name(Name),
    /// This one and everything below it.
    Suffix(Name),
}

impl Flush {
    /// Whether a name is to be forgotten.
    pub fn covers(&self, name: &Name) -> bool {
        match self {
            Self::All => true,
            Self::Name(only) => only == name,
            Self::Suffix(suffix) => suffix.zone_of(name),
        }
    }

    /// Reads the query of `/cache/flush`; the error says what to write.
    fn parse(query: &str) -> Result<Self, String> {
        const WRITE: &str =
            "write /cache/flush, /cache/flush?name=www.example or /cache/flush?suffix=example\n";
        let mut what = Self::All;
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let next = match key {
                "json" => continue,
                "name" => Self::Name(name(value)?),
                "suffix" => Self::Suffix(name(value)?),
                _ => return Err(format!("`{key}` means nothing here; {WRITE}")),
            };
            if what != Self::All {
                return Err(format!("only one name or suffix at a time; {WRITE}"));
            }
            what = next;
        }
        Ok(what)
    }
}

impl fmt::Display for Flush {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all"),
            Self::Name(name) => write!(f, "{name}"),
            Self::Suffix(name) if name.is_root() => f.write_str("all"),
            Self::Suffix(name) => write!(f, "*.{name}"),
        }
    }
}

/// A name of a query string.
pub(super) fn name(text: &str) -> Result<Name, String> {
    let decoded = decode(text);
    // It may come from anywhere, and the answer goes to a terminal.
    let shown = decoded.escape_debug();
    let absolute = decoded.strip_suffix('.').unwrap_or(&decoded);
    if decoded == "." {
        return Ok(Name::root());
    }
    match Host::parse(absolute) {
        Ok(Host::Name(name)) => Ok(name),
        Ok(Host::Addr(_)) => Err(format!(
            "`{shown}` is an address; write a name such as www.example\n"
        )),
        Err(error) => Err(format!(
            "`{shown}` is not a name: {error}; write one such as www.example\n"
        )),
    }
}

/// Takes the percent-encoding out (RFC 3986 section 2.1); what is none stays as it is.
pub(super) fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let encoded = tail
            .get(..2)
            .filter(|_| *first == b'%')
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match encoded {
            Some(byte) => {
                bytes.push(byte);
                rest = tail.get(2..).unwrap_or_default();
            }
            None => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// What the cache holds now, and what it has done since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct CacheReport {
    /// Answers held, stale ones included.
    pub entries: u64,
    /// The memory that they are estimated to take.
    pub bytes: u64,
    /// Questions answered from it.
    pub hits: u64,
    /// Questions asked of the upstreams.
    pub misses: u64,
    /// Stale answers told.
    pub stale: u64,
    /// Answers asked for again before their end.
    pub prefetches: u64,
    /// Failures told without asking again.
    pub failures: u64,
    /// Names denied because one above them is.
    pub cut: u64,
    /// Answers that had to give way while they still held.
    pub evictions: u64,
    /// Flushes.
    pub flushes: u64,
}

/// `/cache` and `/cache/flush`.
pub(super) fn answer<B>(control: &dyn Control, request: &Request<B>) -> Reply {
    if request.uri().path() == "/cache" {
        return json(&control.cache());
    }
    if request.method() != Method::POST {
        let mut reply = plain(
            StatusCode::METHOD_NOT_ALLOWED,
            "only POST: it changes something\n",
        );
        reply
            .headers_mut()
            .insert(ALLOW, HeaderValue::from_static("POST"));
        return reply;
    }
    if let Some(refusal) = refuse_page(request) {
        return refusal;
    }
    let query = request.uri().query().unwrap_or_default();
    let what = match Flush::parse(query) {
        Ok(what) => what,
        Err(text) => return plain(StatusCode::BAD_REQUEST, text),
    };
    let forgotten = control.flush(&what);
    if wants_json(request) {
        return json(&serde_json::json!({ "flushed": forgotten }));
    }
    plain(StatusCode::OK, format!("{forgotten}\n"))
}

/// `Some` refusal of a request that a page in a browser has made.
pub(super) fn refuse_page<B>(request: &Request<B>) -> Option<Reply> {
    let headers = request.headers();
    if headers.contains_key(ORIGIN) {
        return Some(plain(
            StatusCode::FORBIDDEN,
            "a page in a browser must not do this: requests with an Origin are refused\n",
        ));
    }
    let own = headers
        .get(HOST)
        .and_then(|host| host.to_str().ok())
        .and_then(|host| Target::parse(host, Some(80)).ok())
        .is_some_and(|target| match target.host {
            Host::Addr(_) => true,
            Host::Name(name) => name.is_localhost(),
        });
    (!own).then(|| {
        plain(
            StatusCode::MISDIRECTED_REQUEST,
            "write the address of the admin listener, or localhost, into the URL: any other Host is refused\n",
        )
    })
}

/// Whether the asker is a program.
pub(super) fn wants_json<B>(request: &Request<B>) -> bool {
    let query = request.uri().query().unwrap_or_default();
    query
        .split('&')
        .any(|pair| pair == "json" || pair.starts_with("json="))
        || request
            .headers()
            .get(ACCEPT)
            .and_then(|accept| accept.to_str().ok())
            .is_some_and(|accept| accept.contains("application/json"))
}

/// An answer for programs.
pub(super) fn json(value: &impl Serialize) -> Reply {
    match serde_json::to_string(value) {
        Ok(text) => reply(
            StatusCode::OK,
            "application/json",
            "no-store",
            format!("{text}\n"),
        ),
        Err(error) => plain(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use http_body_util::BodyExt as _;

    use super::*;

    #[derive(Debug, Default)]
    struct Told(Mutex<Vec<Flush>>);

    impl Control for Told {
        fn ill(&self) -> Vec<(Family, &'static str)> {
            Vec::new()
        }

        fn flush(&self, what: &Flush) -> usize {
            self.0.lock().unwrap().push(what.clone());
            7
        }

        fn cache(&self) -> CacheReport {
            CacheReport {
                entries: 3,
                ..CacheReport::default()
            }
        }

        fn explain(&self, _: Explain) -> Explaining {
            Box::pin(std::future::ready(Err("not here".to_owned())))
        }
    }

    async fn ask(told: &Told, request: http::request::Builder) -> (u16, String) {
        let reply = answer(told, &request.body(()).unwrap());
        let status = reply.status().as_u16();
        let body = reply.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    fn post(path: &str) -> http::request::Builder {
        Request::post(path).header(HOST, "127.0.0.1:9053")
    }

    fn parsed(text: &str) -> Name {
        Name::from_ascii(text).unwrap()
    }

    #[tokio::test]
    async fn all_or_a_name_or_a_suffix_is_flushed_and_counted() {
        let told = Told::default();
        for path in [
            "/cache/flush",
            "/cache/flush?name=www.Example",
            "/cache/flush?suffix=example.",
            "/cache/flush?suffix=ex%61mple&json",
        ] {
            let (status, body) = ask(&told, post(path)).await;
            assert_eq!(status, 200, "{body}");
            assert!(
                ["7\n", "{\"flushed\":7}\n"].contains(&body.as_str()),
                "{body}"
            );
        }
        assert_eq!(
            *told.0.lock().unwrap(),
            [
                Flush::All,
                Flush::Name(parsed("www.example.")),
                Flush::Suffix(parsed("example.")),
                Flush::Suffix(parsed("example.")),
            ]
        );
        let accepting = post("/cache/flush").header(ACCEPT, "application/json");
        assert_eq!(ask(&told, accepting).await.1, "{\"flushed\":7}\n");
    }

    #[tokio::test]
    async fn pages_and_wrong_methods_and_names_flush_nothing() {
        let told = Told::default();
        let get = Request::get("/cache/flush").header(HOST, "127.0.0.1");
        assert_eq!(ask(&told, get).await.0, 405);
        let page = post("/cache/flush").header(ORIGIN, "http://127.0.0.1:9053");
        assert_eq!(ask(&told, page).await.0, 403);
        for host in ["rebound.example", "localhost.example:9053", ""] {
            let rebound = Request::post("/cache/flush").header(HOST, host);
            assert_eq!(ask(&told, rebound).await.0, 421, "{host}");
        }
        for query in [
            "name=",
            "name=a..b",
            "name=192.0.2.1",
            "nmae=a",
            "name=a&suffix=b",
            "suffix=%00",
            "name=a%1b[2J",
        ] {
            let (status, body) = ask(&told, post(&format!("/cache/flush?{query}"))).await;
            assert_eq!(status, 400, "{query}");
            assert!(body.contains("write "), "{body}");
            assert!(!body.trim_end().contains(char::is_control), "{body:?}");
        }
        assert!(told.0.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn what_the_cache_holds_is_told_as_json() {
        let (status, body) = ask(&Told::default(), Request::get("/cache")).await;
        assert_eq!(status, 200);
        let value: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!((&value["entries"], &value["hits"]), (&3.into(), &0.into()));
    }

    #[test]
    fn a_suffix_covers_what_is_below_and_a_name_only_itself() {
        let below = parsed("www.example.");
        assert!(Flush::All.covers(&below));
        assert!(Flush::Suffix(parsed("example.")).covers(&below));
        assert!(!Flush::Suffix(parsed("ample.")).covers(&below));
        assert!(!Flush::Name(parsed("example.")).covers(&below));
    }
}
