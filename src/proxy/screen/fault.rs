//! PURE. What is wrong with a message of HTTP/1.x that is not passed on.

/// Why a message has more than one meaning, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// RFC 9110 section 5.5: NUL and its like.
    #[error("the head has a control character in it")]
    Control,
    /// RFC 9112 section 2.2.
    #[error("a line of the head has a CR without LF in it")]
    BareCr,
    /// RFC 9112 section 2.2: requests of ours end their lines in CRLF.
    #[error("a line of the head ends in LF without CR")]
    BareLf,
    /// RFC 9112 section 5.2.
    #[error("a header goes on in a second line")]
    Fold,
    /// RFC 9112 section 5.1.
    #[error("a header has no colon, or a space or another forbidden character in its name")]
    Name,
    /// RFC 9112 section 3; HTTP/0.9 among them.
    #[error("the first line is not `METHOD target HTTP/1.1`")]
    RequestLine,
    /// RFC 9112 section 4.
    #[error("the first line is not `HTTP/1.1 200 reason`")]
    StatusLine,
    /// RFC 9112 section 2.3.
    #[error("the version is neither HTTP/1.0 nor HTTP/1.1")]
    Version,
    /// RFC 9112 section 3.2.
    #[error("the target of the request is no address")]
    Target,
    /// RFC 9112 section 3.2.
    #[error("the request has no Host")]
    NoHost,
    /// RFC 9112 section 3.2.
    #[error("the request has more than one Host")]
    Hosts,
    /// RFC 9112 section 3.2.
    #[error("Host is not the name of a host")]
    Host,
    /// RFC 9110 section 8.6.
    #[error("Content-Length is not a number")]
    Length,
    /// RFC 9112 section 6.3.
    #[error("there is more than one Content-Length")]
    Lengths,
    /// RFC 9112 section 6.3.
    #[error("there are Content-Length and Transfer-Encoding")]
    LengthAndCoding,
    /// RFC 9112 section 6.1: no fault of form, but none of the codings is undone here.
    #[error("the body has a transfer coding besides chunked")]
    Coding,
    /// RFC 9112 section 6.1.
    #[error("Transfer-Encoding is something else than `chunked`")]
    NotChunked,
    /// RFC 9112 section 6.1.
    #[error("HTTP/1.0 has no Transfer-Encoding")]
    OldCoding,
    /// RFC 9110 sections 9.3.6 and 15.
    #[error("a message that has no body states its length")]
    Body,
    /// RFC 9112 section 7.1.
    #[error("the size of a chunk, or its end, is malformed")]
    Chunk,
    /// RFC 9112 section 9.2.
    #[error("the answer to no request")]
    Unasked,
    /// RFC 9110 section 15.2.
    #[error("too many interim answers")]
    Interim,
    /// RFC 9110 section 5.4.
    #[error("the head is too long")]
    TooLong,
    /// RFC 9110 section 5.4.
    #[error("the head has more than 100 headers")]
    TooMany,
}

impl Fault {
    /// As the metric calls it: few words, one for each technique of request smuggling.
    pub fn label(self) -> &'static str {
        match self {
            Self::Control => "control",
            Self::BareCr => "bare-cr",
            Self::BareLf => "bare-lf",
            Self::Fold => "fold",
            Self::Name => "header-name",
            Self::RequestLine | Self::StatusLine | Self::Version | Self::Target => "first-line",
            Self::NoHost | Self::Hosts | Self::Host => "host",
            Self::Length | Self::Lengths | Self::Body => "length",
            Self::LengthAndCoding => "length-and-coding",
            Self::Coding | Self::NotChunked | Self::OldCoding => "coding",
            Self::Chunk => "chunk",
            Self::Unasked | Self::Interim => "unasked",
            Self::TooLong | Self::TooMany => "size",
        }
    }
}
