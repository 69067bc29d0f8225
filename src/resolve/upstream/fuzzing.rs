//! What the targets in `fuzz` reach of this room: from the bytes of a server to an answer, by the same functions as in
//! the program.

use std::sync::Arc;

use hickory_proto::op::Message;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::message::{Query, Verdict, judge};
use super::random::Random;
use super::stream::Stream;
use super::told;
use crate::config::Transport;
use crate::resolve::{Answer, Question};

/// The query for a question, as it goes out with this ID; `random` decides the case of its letters.
pub fn query(question: &Question, id: u16, random: Option<&[u8]>) -> Option<Vec<u8>> {
    let query = Query::new(question, Transport::Udp, true).ok()?;
    Some(match random {
        Some(random) => query.disguised(id, random),
        None => query.with_id(id),
    })
}

/// What is made of a datagram that comes in after such a query: the message, where it is taken as the answer.
pub fn accepted(question: &Question, sent: &[u8], reply: &[u8]) -> Option<Message> {
    let query = Query::new(question, Transport::Udp, true).ok()?;
    match judge(sent.get(..query.question_end())?, reply) {
        Verdict::Answer(message) => Some(*message),
        _ => None,
    }
}

/// The answer in such a message, as it comes to the cache.
pub fn answer(question: &Question, message: Message) -> Option<Answer> {
    told(question, message).ok()
}

/// What is made of the bytes that come over a connection; `server` gives them, and is told the query.
pub async fn over_stream(
    question: &Question,
    server: impl FnOnce(&[u8]) -> Vec<u8>,
) -> Option<Message> {
    let query = Arc::new(Query::new(question, Transport::Tcp, true).ok()?);
    let (ours, mut theirs) = tokio::io::duplex(1 << 17);
    let stream = Stream::new(ours, Random);
    let serve = async {
        let length = theirs.read_u16().await.ok()?;
        let mut query = vec![0; length.into()];
        theirs.read_exact(&mut query).await.ok()?;
        let bytes = server(&query);
        theirs.write_all(&bytes).await.ok()?;
        theirs.shutdown().await.ok()
    };
    let (asked, _) = tokio::join!(stream.ask(&query), serve);
    asked.ok()
}
