//! The first message of a stream, taken from it to the byte: what follows stays in the kernel, so that the stream can
//! still be spliced or handed to a library from there on.

use std::io;

use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;

/// How much is looked at in one go, in bytes: most first messages are shorter.
const CHUNK: usize = 512;

/// What a parser makes of the bytes so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beginning<T> {
    /// The message is not complete, and all of the bytes belong to it.
    NeedMore,
    /// The message, and how many bytes it has.
    Found(T, usize),
    /// This is something else.
    NotThis(&'static str),
}

/// Why there is no first message.
#[derive(Debug, thiserror::Error)]
pub enum BeginningError {
    /// The connection broke.
    #[error("the connection broke")]
    Broken(#[from] io::Error),
    /// The stream ended before it.
    #[error("the connection ended too soon")]
    Ended,
    /// It has more bytes than it may have.
    #[error("the first message is too long")]
    TooLong,
    /// It is something else.
    #[error("{0}")]
    NotThis(&'static str),
}

/// Takes the first message of a stream, at most `most` bytes long, and not one byte more.
///
/// # Errors
///
/// [`BeginningError`]; the stream is then of no more use.
pub async fn take_beginning<T>(
    stream: &mut TcpStream,
    most: usize,
    parse: impl Fn(&[u8]) -> Beginning<T>,
) -> Result<T, BeginningError> {
    let mut bytes = Vec::new();
    loop {
        let known = bytes.len();
        if known >= most {
            return Err(BeginningError::TooLong);
        }
        bytes.resize((known + CHUNK).min(most), 0);
        let new = bytes.get_mut(known..).unwrap_or_default();
        let seen = stream.peek(new).await?;
        if seen == 0 {
            return Err(BeginningError::Ended);
        }
        bytes.truncate(known + seen);
        let (own, found) = match parse(&bytes) {
            Beginning::NeedMore => (bytes.len(), None),
            Beginning::Found(message, length) => (length.min(bytes.len()), Some(message)),
            Beginning::NotThis(why) => return Err(BeginningError::NotThis(why)),
        };
        let own = bytes.get_mut(known..own).unwrap_or_default();
        stream.read_exact(own).await?;
        if let Some(message) = found {
            return Ok(message);
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;
    use tokio::net::TcpListener;

    use super::*;

    /// A line, without its end.
    fn line(bytes: &[u8]) -> Beginning<usize> {
        match bytes.iter().position(|byte| *byte == b'\n') {
            Some(end) => Beginning::Found(end, end + 1),
            None if bytes.first() == Some(&b'x') => Beginning::NotThis("an x"),
            None => Beginning::NeedMore,
        }
    }

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let far = TcpStream::connect(listener.local_addr().unwrap());
        let (far, near) = tokio::join!(far, listener.accept());
        (far.unwrap(), near.unwrap().0)
    }

    #[tokio::test]
    async fn the_message_is_taken_to_the_byte_however_it_comes() {
        let (mut far, mut near) = pair().await;
        let long = "a".repeat(700);
        let sending = tokio::spawn(async move {
            far.write_all(b"ab\nrest").await.unwrap();
            for byte in b"er\n" {
                far.write_all(&[*byte]).await.unwrap();
                tokio::task::yield_now().await;
            }
            far.write_all(format!("{long}\nend").as_bytes())
                .await
                .unwrap();
        });
        for length in [2, 6, 700] {
            assert_eq!(take_beginning(&mut near, 701, line).await.unwrap(), length);
        }
        sending.await.unwrap();
        let mut end = String::new();
        near.read_to_string(&mut end).await.unwrap();
        assert_eq!(end, "end");
    }

    #[tokio::test]
    async fn what_is_too_long_or_ends_or_is_something_else_is_told() {
        for (words, wanted) in [
            ("aaaaaaaa", "the first message is too long"),
            ("aaa", "the connection ended too soon"),
            ("", "the connection ended too soon"),
            ("xaa", "an x"),
        ] {
            let (mut far, mut near) = pair().await;
            far.write_all(words.as_bytes()).await.unwrap();
            far.shutdown().await.unwrap();
            let error = take_beginning(&mut near, 8, line).await.unwrap_err();
            assert_eq!(error.to_string(), wanted, "{words}");
        }
    }
}
