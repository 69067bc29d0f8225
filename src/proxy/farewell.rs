//! The last word to a client that is refused.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// How long a refused client may take to read why.
const FAREWELL: Duration = Duration::from_secs(1);

/// Says the last word and makes sure that it can be read: closing while the client still sends would throw it away.
pub(super) async fn farewell(mut stream: TcpStream, words: &[u8]) {
    const MOST_DISCARDED: u64 = 64 * 1024;
    let saying = async {
        stream.write_all(words).await?;
        stream.shutdown().await?;
        let mut rest = (&mut stream).take(MOST_DISCARDED);
        tokio::io::copy(&mut rest, &mut tokio::io::sink()).await
    };
    // The client need not listen.
    tokio::time::timeout(FAREWELL, saying).await.ok();
}

/// Says the last word to a client that was not let in, once it has said its first: words that come sooner belong to no
/// request. Whoever says nothing is reset.
pub(super) async fn turn_away(stream: TcpStream, words: &[u8]) {
    let heard = tokio::time::timeout(FAREWELL, stream.readable()).await;
    if heard.is_ok_and(|heard| heard.is_ok()) {
        farewell(stream, words).await;
    } else {
        stream.set_zero_linger().ok();
    }
}
