//! PURE. The one table that turns a failure into what the client is told: an HTTP status with Proxy-Status (RFC 9209)
//! and a few readable lines, or a TLS alert (RFC 8446 section 6).

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_TYPE, PROXY_AUTHENTICATE};
use http::{HeaderValue, Response, StatusCode};
use http_body_util::Full;

use super::screen::Fault;
use crate::dial::{DialError, DialErrorKind};
use crate::net::Target;
use crate::telemetry::{Side, chain};

/// The name by which we go in Proxy-Status.
const PSEUDONYM: &str = "sekisho";

/// What a name and a password are asked for by (RFC 7617 section 2).
const CHALLENGE: &str = "Basic realm=\"sekisho\", charset=\"UTF-8\"";

/// What kind of failure it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The origin was not reached.
    Dial(DialErrorKind),
    /// The request has no meaning for us.
    BadRequest,
    /// The head is longer than we read.
    HeadTooLarge,
    /// The head did not come in time.
    HeadTimeout,
    /// Another version of HTTP.
    Version,
    /// An upgrade that we cannot carry.
    Upgrade,
    /// All sessions are taken.
    Sessions,
    /// The client has its share of the sessions.
    ClientSessions,
    /// A transfer coding that we do not know.
    Coding,
    /// The request was here before.
    Loop,
    /// The origin did not answer the request in time.
    ResponseTimeout,
    /// The origin broke the connection or the rules.
    ResponseBroken,
    /// The origin's answer could be read in two ways.
    ResponseMalformed,
    /// The client makes new connections too fast.
    Rate,
    /// The client named no host.
    NoName,
    /// The client went away, or fell silent, before it said where to go.
    Gone,
    /// The proxy is for those in `proxy.users`, and this is none of them.
    Login,
    /// The client gave a wrong name or password too often.
    Logins,
    /// A bound of ours, and no matter of the request.
    Busy,
    /// A command of SOCKS that is not offered.
    Command,
    /// An address of SOCKS that is neither a name nor IPv4 or IPv6.
    AddressType,
}

/// How a row of the table reads.
struct Row {
    status: StatusCode,
    /// RFC 9209 section 2.3.
    proxy_error: &'static str,
    /// What the person in front of the client can do.
    hint: &'static str,
    /// RFC 8446 section 6.2.
    alert: u8,
}

const DECODE_ERROR: u8 = 50;
const INTERNAL_ERROR: u8 = 80;
const UNRECOGNIZED_NAME: u8 = 112;

impl Kind {
    fn row(self) -> Row {
        let (status, proxy_error, alert, hint) = match self {
            Self::Dial(DialErrorKind::Prohibited) => (
                StatusCode::FORBIDDEN,
                "destination_ip_prohibited",
                UNRECOGNIZED_NAME,
                "The gate does not lead to the LAN, to itself or to other addresses that are not on the internet. \
                 Go there without the proxy, or open the network with egress.allow.",
            ),
            Self::Dial(DialErrorKind::LeftOut) => (
                StatusCode::FORBIDDEN,
                "destination_ip_prohibited",
                UNRECOGNIZED_NAME,
                "Change families in the first [[rule]] that matches: `sekisho explain NAME` tells which one it is.",
            ),
            Self::Dial(DialErrorKind::NotFound) => (
                StatusCode::BAD_GATEWAY,
                "dns_error",
                UNRECOGNIZED_NAME,
                "Check the spelling of the name.",
            ),
            Self::Dial(DialErrorKind::ResolveFailed) => (
                StatusCode::BAD_GATEWAY,
                "dns_error",
                UNRECOGNIZED_NAME,
                "Check the servers in dns.upstream.servers.",
            ),
            Self::Dial(DialErrorKind::ResolveTimeout) => (
                StatusCode::GATEWAY_TIMEOUT,
                "dns_timeout",
                UNRECOGNIZED_NAME,
                "Check the servers in dns.upstream.servers and the gate's way to the internet.",
            ),
            Self::Dial(DialErrorKind::ConnectTimeout) => (
                StatusCode::GATEWAY_TIMEOUT,
                "connection_timeout",
                INTERNAL_ERROR,
                "The server may be down. If no site can be reached, check the gate's way to the internet.",
            ),
            Self::Dial(DialErrorKind::ConnectionRefused) => (
                StatusCode::BAD_GATEWAY,
                "connection_refused",
                INTERNAL_ERROR,
                "The server is there, but nothing listens on this port.",
            ),
            Self::Dial(DialErrorKind::Unroutable) => (
                StatusCode::BAD_GATEWAY,
                "destination_ip_unroutable",
                INTERNAL_ERROR,
                "Check whether the gate has IPv6 and IPv4.",
            ),
            Self::Dial(DialErrorKind::Unreachable) => (
                StatusCode::BAD_GATEWAY,
                "destination_unavailable",
                INTERNAL_ERROR,
                "The server may be down. Try again later.",
            ),
            Self::Dial(DialErrorKind::Descriptors) => (
                StatusCode::SERVICE_UNAVAILABLE,
                "connection_limit_reached",
                INTERNAL_ERROR,
                "The gate is overloaded. Raise its limit of open files, or lower proxy.max-sessions.",
            ),
            Self::Dial(DialErrorKind::Via) => (
                StatusCode::BAD_GATEWAY,
                "destination_unavailable",
                INTERNAL_ERROR,
                "Check egress.via, or via of the rule, and what the upstream proxy says.",
            ),
            Self::BadRequest => (
                StatusCode::BAD_REQUEST,
                "http_request_error",
                DECODE_ERROR,
                "Check the request, or the proxy settings of the program that sent it.",
            ),
            Self::HeadTooLarge => (
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
                "http_request_error",
                DECODE_ERROR,
                "Delete the cookies of the site, or raise proxy.header-bytes.",
            ),
            Self::HeadTimeout => (
                StatusCode::REQUEST_TIMEOUT,
                "http_request_error",
                INTERNAL_ERROR,
                "Send the request again.",
            ),
            Self::Version => (
                StatusCode::HTTP_VERSION_NOT_SUPPORTED,
                "http_request_error",
                INTERNAL_ERROR,
                "Use HTTP/1.1.",
            ),
            Self::Upgrade => (
                StatusCode::NOT_IMPLEMENTED,
                "http_upgrade_failed",
                INTERNAL_ERROR,
                "Use CONNECT without :protocol, and speak it in the tunnel.",
            ),
            Self::Sessions => (
                StatusCode::SERVICE_UNAVAILABLE,
                "connection_limit_reached",
                INTERNAL_ERROR,
                "The gate is overloaded. Try again later, or raise proxy.max-sessions.",
            ),
            Self::ClientSessions => (
                StatusCode::TOO_MANY_REQUESTS,
                "connection_limit_reached",
                INTERNAL_ERROR,
                "Close some of them, or raise proxy.max-sessions-per-client.",
            ),
            Self::Coding => (
                StatusCode::NOT_IMPLEMENTED,
                "http_request_error",
                INTERNAL_ERROR,
                "Send the body as it is, or in chunks.",
            ),
            Self::Loop => (
                StatusCode::LOOP_DETECTED,
                "proxy_loop_detected",
                INTERNAL_ERROR,
                "Check the proxy settings of the proxies on the way.",
            ),
            Self::ResponseTimeout => (
                StatusCode::GATEWAY_TIMEOUT,
                "http_response_timeout",
                INTERNAL_ERROR,
                "The server took the request and stayed silent. Try again later, or raise proxy.response-timeout.",
            ),
            Self::ResponseBroken => (
                StatusCode::BAD_GATEWAY,
                "http_response_incomplete",
                INTERNAL_ERROR,
                "The server ended the connection or sent what is not HTTP. Try again later.",
            ),
            Self::ResponseMalformed => (
                StatusCode::BAD_GATEWAY,
                "http_protocol_error",
                INTERNAL_ERROR,
                "The server, or whoever writes on its behalf, breaks the rules of HTTP. Tell its owner.",
            ),
            Self::Rate => (
                StatusCode::TOO_MANY_REQUESTS,
                "connection_limit_reached",
                INTERNAL_ERROR,
                "Wait a moment, or raise proxy.rate-limit.",
            ),
            Self::NoName | Self::Gone => (
                StatusCode::BAD_REQUEST,
                "http_request_error",
                UNRECOGNIZED_NAME,
                "The gate needs the name of the server.",
            ),
            Self::Login => (
                StatusCode::PROXY_AUTHENTICATION_REQUIRED,
                "http_request_denied",
                INTERNAL_ERROR,
                "Give the program the name and the password for the proxy.",
            ),
            Self::Logins => (
                StatusCode::TOO_MANY_REQUESTS,
                "http_request_denied",
                INTERNAL_ERROR,
                "Wait ten seconds, and check the name and the password for the proxy.",
            ),
            Self::Command | Self::AddressType => (
                StatusCode::NOT_IMPLEMENTED,
                "http_request_error",
                INTERNAL_ERROR,
                "Ask for a connection.",
            ),
            Self::Busy => (
                StatusCode::SERVICE_UNAVAILABLE,
                "connection_limit_reached",
                INTERNAL_ERROR,
                "The gate is overloaded. Try again later.",
            ),
        };
        Row {
            status,
            proxy_error,
            hint,
            alert,
        }
    }
}

/// Why a session came to nothing.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{text}")]
pub(super) struct Failure {
    pub(super) kind: Kind,
    pub(super) side: Side,
    /// The error with its causes.
    text: String,
    /// What the screen found, on that side.
    pub(super) fault: Option<Fault>,
}

impl From<DialError> for Failure {
    fn from(error: DialError) -> Self {
        Self::new(Kind::Dial(error.kind()), error.side(), chain(&error))
    }
}

impl Failure {
    pub(super) fn new(kind: Kind, side: Side, text: impl Into<String>) -> Self {
        Self {
            kind,
            side,
            text: text.into(),
            fault: None,
        }
    }

    /// A request that is not passed on.
    pub(super) fn of_request(fault: Fault) -> Self {
        let kind = match fault {
            Fault::TooLong | Fault::TooMany => Kind::HeadTooLarge,
            Fault::Version => Kind::Version,
            Fault::Coding => Kind::Coding,
            _ => Kind::BadRequest,
        };
        let text = format!("the request could not be understood: {fault}");
        Self {
            fault: Some(fault),
            ..Self::of_client(kind, text)
        }
    }

    /// An answer that is not passed on.
    pub(super) fn of_answer(fault: Fault, target: &Target) -> Self {
        let text = format!("the answer of {target} could not be understood: {fault}");
        Self {
            fault: Some(fault),
            ..Self::new(Kind::ResponseMalformed, Side::Origin, text)
        }
    }

    /// A failure that the client caused.
    pub(super) fn of_client(kind: Kind, text: impl Into<String>) -> Self {
        Self::new(kind, Side::Client, text)
    }

    pub(super) fn status(&self) -> StatusCode {
        self.kind.row().status
    }

    pub(super) fn body(&self) -> String {
        let Row { status, hint, .. } = self.kind.row();
        format!("{status}\n\n{PSEUDONYM}: {}\n{hint}\n", self.text)
    }

    fn proxy_status(&self) -> String {
        format!("{PSEUDONYM}; error={}", self.kind.row().proxy_error)
    }

    /// The answer of the forward proxy.
    pub(super) fn response(&self) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::from(self.body()));
        *response.status_mut() = self.status();
        let headers = response.headers_mut();
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("text/plain; charset=utf-8"),
        );
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
        if let Ok(value) = HeaderValue::try_from(self.proxy_status()) {
            headers.insert("proxy-status", value);
        }
        if self.kind == Kind::Login {
            let challenge = HeaderValue::from_static(CHALLENGE);
            headers.insert(PROXY_AUTHENTICATE, challenge);
        }
        response
    }

    /// The same answer as bytes, for a stream that no HTTP server looks after.
    pub(super) fn raw(&self) -> Vec<u8> {
        let body = self.body();
        format!(
            "HTTP/1.1 {}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\n\
             Connection: close\r\nProxy-Status: {}\r\n\r\n{body}",
            self.status(),
            body.len(),
            self.proxy_status(),
        )
        .into_bytes()
    }

    /// A fatal alert in a record of its own.
    pub(super) fn alert(&self) -> [u8; 7] {
        const ALERT: u8 = 21;
        const FATAL: u8 = 2;
        [ALERT, 3, 3, 0, 2, FATAL, self.kind.row().alert]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_promised_statuses_hold() {
        for (kind, status, proxy_error) in [
            (
                Kind::Dial(DialErrorKind::Prohibited),
                403,
                "destination_ip_prohibited",
            ),
            (
                Kind::Dial(DialErrorKind::LeftOut),
                403,
                "destination_ip_prohibited",
            ),
            (Kind::Dial(DialErrorKind::NotFound), 502, "dns_error"),
            (Kind::Dial(DialErrorKind::ResolveFailed), 502, "dns_error"),
            (
                Kind::Dial(DialErrorKind::ConnectTimeout),
                504,
                "connection_timeout",
            ),
            (
                Kind::Dial(DialErrorKind::ConnectionRefused),
                502,
                "connection_refused",
            ),
            (Kind::BadRequest, 400, "http_request_error"),
            (Kind::Rate, 429, "connection_limit_reached"),
            (Kind::HeadTooLarge, 431, "http_request_error"),
            (Kind::HeadTimeout, 408, "http_request_error"),
            (Kind::Login, 407, "http_request_denied"),
            (Kind::Logins, 429, "http_request_denied"),
        ] {
            let response = Failure::of_client(kind, "x").response();
            assert_eq!(response.status(), status, "{kind:?}");
            let expected = format!("sekisho; error={proxy_error}");
            assert_eq!(response.headers()["proxy-status"], expected.as_str());
            let challenged = response.headers().contains_key(PROXY_AUTHENTICATE);
            assert_eq!(challenged, status == 407);
        }
    }

    #[test]
    fn both_forms_of_an_answer_say_the_same() {
        let failure = Failure::new(
            Kind::Dial(DialErrorKind::ResolveTimeout),
            Side::Upstream,
            "no upstream answered in time",
        );
        let text = String::from_utf8(failure.raw()).unwrap();
        assert!(
            text.starts_with("HTTP/1.1 504 Gateway Timeout\r\n"),
            "{text}"
        );
        assert!(
            text.contains("\r\nProxy-Status: sekisho; error=dns_timeout\r\n"),
            "{text}"
        );
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(
            head.contains(&format!("Content-Length: {}\r\n", body.len())),
            "{text}"
        );
        assert!(body.contains("no upstream answered in time"), "{text}");
        assert_eq!(failure.body(), body);
    }

    #[test]
    fn an_unknown_name_is_told_by_its_alert() {
        let failure = Failure::of_client(Kind::Dial(DialErrorKind::NotFound), "x");
        assert_eq!(failure.alert(), [21, 3, 3, 0, 2, 2, 112]);
    }
}
