//! The line at the end of a session.

use std::io::{self, Write};
use std::sync::Mutex;

use super::*;
use crate::telemetry::events;

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn one_line_with_every_field_tells_the_end_of_a_session() {
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_target(false)
        .with_writer(move || writer.clone())
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let origin = echo().await;
    let gate = Gate::new(settings(), [("a.example:443", Ok(origin))]);
    let mut stream = TcpStream::connect(gate.forward().await).await.unwrap();
    stream
        .write_all(b"CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\n\r\nhello")
        .await
        .unwrap();
    stream.shutdown().await.unwrap();
    rest(&mut stream).await;
    gate.proxy.stop();
    gate.proxy.drained().await;
    let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    let mut sessions = text
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .filter(|line| line["message"] == events::SESSION);
    let line = sessions.next().unwrap();
    assert_eq!(sessions.next(), None);
    assert!(line["client"].as_str().unwrap().starts_with("127.0.0.1:"));
    assert_eq!(line["inbound"], "connect");
    assert_eq!(line["family"], "ipv4");
    assert_eq!(line["address"], origin.to_string());
    assert_eq!(
        (&line["attempts"], &line["connect_ms"]),
        (&1.into(), &0.into())
    );
    assert_eq!((&line["sent"], &line["received"]), (&5.into(), &5.into()));
    assert!(line["duration_ms"].is_u64());
    assert_eq!(line["ended"], "closed");
    assert_eq!(line["target"], "a.example:443");
}
