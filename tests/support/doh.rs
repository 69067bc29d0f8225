//! A server of DNS over HTTPS on HTTP/2 that answers as HTTP allows and RFC 8484 does not.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use hickory_proto::op::Message;
use http::{Request, Response};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::certificate;
use super::liar::tls_server;

/// The body of an answer.
#[derive(Clone, Debug)]
pub(crate) enum Body {
    /// These bytes, and the end.
    Whole(Vec<u8>),
    /// These bytes, and then the stream is reset.
    Cut(Vec<u8>),
    /// These bytes, one each 100 ms.
    Drip(Vec<u8>),
    /// Zeroes as long as they are taken.
    Endless,
}

/// An answer of HTTP.
#[derive(Clone, Debug)]
pub(crate) struct Page {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Body,
}

impl Page {
    /// An answer with this body, of the right type.
    pub(crate) fn of(body: Body) -> Self {
        let headers = vec![("content-type", "application/dns-message".to_owned())];
        Self {
            status: 200,
            headers,
            body,
        }
    }
}

/// What is said to a query.
type Script = dyn Fn(&Message) -> Page + Send + Sync;

/// The server; it ends with the test run.
#[derive(Debug)]
pub(crate) struct Doh {
    address: SocketAddr,
    requests: Arc<AtomicUsize>,
    certificate: (tempfile::TempDir, PathBuf),
}

impl Doh {
    /// Serves with a certificate of its own.
    pub(crate) fn start<S>(script: S) -> Self
    where
        S: Fn(&Message) -> Page + Send + Sync + 'static,
    {
        let (chain, key) = certificate();
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("ca.pem");
        std::fs::write(&path, &chain).expect("written");
        let acceptor = TlsAcceptor::from(tls_server(&chain, &key, b"h2"));
        let requests = Arc::<AtomicUsize>::default();
        let script: Arc<Script> = Arc::new(script);
        let (bound, told) = mpsc::channel();
        let count = Arc::clone(&requests);
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            runtime.block_on(async move {
                let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
                bound
                    .send(listener.local_addr().expect("bound"))
                    .expect("heard");
                while let Ok((stream, _)) = listener.accept().await {
                    let serve = serve(
                        stream,
                        acceptor.clone(),
                        Arc::clone(&script),
                        Arc::clone(&count),
                    );
                    tokio::spawn(serve);
                }
            });
        });
        Self {
            address: told.recv().expect("bound"),
            requests,
            certificate: (folder, path),
        }
    }

    /// As in `dns.upstream.servers`.
    pub(crate) fn server(&self) -> String {
        format!("https://{}/dns-query", self.address)
    }

    /// The file of its certificate.
    pub(crate) fn certificate(&self) -> &PathBuf {
        &self.certificate.1
    }

    /// How many requests came.
    pub(crate) fn requests(&self) -> usize {
        self.requests.load(Ordering::Relaxed)
    }
}

async fn serve(
    stream: TcpStream,
    acceptor: TlsAcceptor,
    script: Arc<Script>,
    requests: Arc<AtomicUsize>,
) -> Option<()> {
    let stream = acceptor.accept(stream).await.ok()?;
    let mut http = h2::server::handshake(stream).await.ok()?;
    while let Some(Ok((request, respond))) = http.accept().await {
        requests.fetch_add(1, Ordering::Relaxed);
        tokio::spawn(answer(request, respond, Arc::clone(&script)));
    }
    Some(())
}

async fn answer(
    request: Request<RecvStream>,
    mut respond: SendResponse<bytes::Bytes>,
    script: Arc<Script>,
) -> Option<()> {
    let query = request.into_body().data().await?.ok()?;
    let page = script(&Message::from_vec(&query).ok()?);
    let mut head = Response::builder().status(page.status);
    for (name, value) in page.headers {
        head = head.header(name, value);
    }
    let mut body = respond.send_response(head.body(()).ok()?, false).ok()?;
    match page.body {
        Body::Whole(bytes) => body.send_data(bytes.into(), true).ok()?,
        Body::Cut(bytes) => {
            body.send_data(bytes.into(), false).ok()?;
            tokio::task::yield_now().await;
            body.send_reset(Reason::INTERNAL_ERROR);
        }
        Body::Drip(bytes) => {
            for byte in bytes {
                body.send_data(vec![byte].into(), false).ok()?;
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
        Body::Endless => loop {
            body.reserve_capacity(16_384);
            let room = std::future::poll_fn(|context| body.poll_capacity(context)).await;
            let room = room?.ok()?;
            body.send_data(vec![0; room].into(), false).ok()?;
        },
    }
    Some(())
}
