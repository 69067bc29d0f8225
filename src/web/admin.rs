//! What the admin sees over HTTP: health and metrics, on a thread of its own, so that they answer while the rest is
//! too busy to.
//!
//! `/live` says that the process runs, `/ready` whether it should be given work, `/metrics` the table of `telemetry`;
//! what begins with `/cache` is in `control`, `/explain` in `explain`.

use std::future::ready;
use std::io;
use std::net::TcpListener;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread::{Builder, JoinHandle};

use arc_swap::ArcSwap;
use http::{Request, StatusCode};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::control::{self, Control};
use super::explain;
use super::{Reply, listen, plain, refuse_method, reply};
use crate::net::{Acl, ClientAddr};
use crate::telemetry::{Metrics, RefusalLabels};

/// Connections at once on one listener; more wait in the kernel.
const CONNECTIONS: usize = 64;

/// What a wrong path is answered with.
const PATHS: &str = "nothing here; the admin listener serves:\n/live\n/ready\n/metrics\n/cache\n/cache/flush (POST)\n/explain?name=\n";

/// How far the gate is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Not everything is bound yet.
    Starting,
    /// Everything serves.
    Ready,
    /// The stop has begun.
    Draining,
}

impl State {
    /// The word that `/ready` answers with.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Draining => "draining",
        }
    }
}

/// The [`State`], set by `app`, read by `/ready`.
#[derive(Debug)]
pub struct Readiness(AtomicU8);

impl Default for Readiness {
    fn default() -> Self {
        Self::new()
    }
}

impl Readiness {
    /// Starting.
    pub fn new() -> Self {
        Self(AtomicU8::new(0))
    }

    /// Goes over to another state.
    pub fn set(&self, state: State) {
        let number = match state {
            State::Starting => 0,
            State::Ready => 1,
            State::Draining => 2,
        };
        self.0.store(number, Ordering::Release);
    }

    /// The state now.
    pub fn state(&self) -> State {
        match self.0.load(Ordering::Acquire) {
            0 => State::Starting,
            1 => State::Ready,
            _ => State::Draining,
        }
    }
}

/// The admin thread. Dropping it tells the thread to stop, without waiting.
#[derive(Debug)]
pub struct AdminHandle {
    networks: Arc<ArcSwap<Acl>>,
    stop: CancellationToken,
    ended: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

impl AdminHandle {
    /// Serves these networks, and nobody else, from the next connection on.
    pub fn update(&self, networks: Acl) {
        self.networks.store(Arc::new(networks));
    }

    /// Stops the thread and waits for it, at most a few seconds; blocks.
    pub fn stop(mut self) {
        self.stop.cancel();
        if self
            .thread
            .take()
            .is_some_and(|thread| thread.join().is_err())
        {
            tracing::error!("the admin thread had panicked");
        }
    }

    /// Waits until the thread has ended, told to or not.
    pub async fn ended(&self) {
        self.ended.cancelled().await;
    }
}

impl Drop for AdminHandle {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Serves `listeners` (non-blocking) on a new thread; who is outside `networks` is closed unread.
///
/// # Errors
///
/// What the system says where it gives no thread, or no runtime to it.
pub fn spawn(
    listeners: Vec<TcpListener>,
    metrics: Arc<Metrics>,
    readiness: Arc<Readiness>,
    control: Arc<dyn Control>,
    networks: Acl,
) -> io::Result<AdminHandle> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let listeners = {
        let _entered = runtime.enter();
        listeners
            .into_iter()
            .map(tokio::net::TcpListener::from_std)
            .collect::<io::Result<Vec<_>>>()?
    };
    let networks = Arc::new(ArcSwap::from_pointee(networks));
    let admin = Arc::new(Admin {
        metrics,
        readiness,
        control,
        networks: Arc::clone(&networks),
    });
    let (stop, ended) = (CancellationToken::new(), CancellationToken::new());
    let (stopped, guard) = (stop.clone(), ended.clone().drop_guard());
    let thread = Builder::new().name("admin".to_owned()).spawn(move || {
        let _guard = guard;
        runtime.block_on(admin.serve(listeners, stopped));
    })?;
    Ok(AdminHandle {
        networks,
        stop,
        ended,
        thread: Some(thread),
    })
}

#[derive(Debug)]
struct Admin {
    metrics: Arc<Metrics>,
    readiness: Arc<Readiness>,
    control: Arc<dyn Control>,
    networks: Arc<ArcSwap<Acl>>,
}

impl Admin {
    async fn serve(
        self: Arc<Self>,
        listeners: Vec<tokio::net::TcpListener>,
        stop: CancellationToken,
    ) {
        let tasks = TaskTracker::new();
        for listener in listeners {
            let (admin, stop) = (Arc::clone(&self), stop.clone());
            tasks.spawn(async move {
                let answering = Arc::clone(&admin);
                let answer = move |_, request: &Request<_>| answering.answer(request);
                let metrics = Arc::clone(&admin.metrics);
                let admit = move |client| admin.admits(client);
                listen(listener, stop, CONNECTIONS, metrics, admit, answer).await;
            });
        }
        stop.cancelled().await;
        tasks.close();
        tasks.wait().await;
    }

    fn admits(&self, client: ClientAddr) -> bool {
        let known = self.networks.load().contains(client.ip());
        if !known {
            tracing::debug!(%client, "a stranger came to the admin listener");
            let reason = RefusalLabels { reason: "stranger" };
            self.metrics.sessions_refused.get_or_create(&reason).inc();
        }
        known
    }

    fn answer<B>(&self, request: &Request<B>) -> Pin<Box<dyn Future<Output = Reply> + Send>> {
        if request.uri().path() != "/explain" {
            return Box::pin(ready(self.at_once(request)));
        }
        match refuse_method(request.method()) {
            Some(refusal) => Box::pin(ready(refusal)),
            None => explain::answer(&*self.control, request),
        }
    }

    fn at_once<B>(&self, request: &Request<B>) -> Reply {
        let path = request.uri().path();
        if path == "/cache/flush" {
            return control::answer(&*self.control, request);
        }
        if !matches!(path, "/live" | "/ready" | "/metrics" | "/cache") {
            return plain(StatusCode::NOT_FOUND, PATHS);
        }
        if let Some(refusal) = refuse_method(request.method()) {
            return refusal;
        }
        match path {
            "/metrics" => reply(
                StatusCode::OK,
                "application/openmetrics-text; version=1.0.0; charset=utf-8",
                "no-store",
                self.metrics.encode(),
            ),
            "/cache" => control::answer(&*self.control, request),
            "/ready" => {
                let state = self.readiness.state();
                let status = if state == State::Ready {
                    StatusCode::OK
                } else {
                    StatusCode::SERVICE_UNAVAILABLE
                };
                // A gate with one family left still does its work.
                let mut text = format!("{}\n", state.as_str());
                for (family, why) in self.control.ill() {
                    text.push_str(&format!("{family}: ill ({why})\n"));
                }
                plain(status, text)
            }
            _ => plain(StatusCode::OK, "live\n"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::super::control::{CacheReport, Explaining, Flush};
    use super::super::explain::Explain;
    use super::super::tests::{exchange, fetch};
    use super::*;
    use crate::net::{Family, bind_tcp};

    #[derive(Debug)]
    struct Nothing;

    impl Control for Nothing {
        fn ill(&self) -> Vec<(Family, &'static str)> {
            vec![(Family::V6, "no answers")]
        }

        fn flush(&self, _: &Flush) -> usize {
            0
        }

        fn cache(&self) -> CacheReport {
            CacheReport::default()
        }

        fn explain(&self, what: Explain) -> Explaining {
            let told = serde_json::json!({ "name": what.name.to_ascii() });
            Box::pin(ready(Ok(told)))
        }
    }

    fn start(networks: &[&str]) -> (SocketAddr, Arc<Readiness>, AdminHandle) {
        let listener = bind_tcp("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        let readiness = Arc::new(Readiness::new());
        let networks = Acl::new(networks.iter().map(|network| network.parse().unwrap()));
        let metrics = Arc::new(Metrics::new());
        let handle = spawn(
            vec![listener],
            metrics,
            Arc::clone(&readiness),
            Arc::new(Nothing),
            networks,
        )
        .unwrap();
        (address, readiness, handle)
    }

    #[tokio::test]
    async fn live_always_and_ready_only_between_start_and_drain() {
        let (address, readiness, handle) = start(&["127.0.0.0/8"]);
        assert!(fetch(address, "/live").await.starts_with("HTTP/1.1 200"));
        for (state, status) in [
            (State::Starting, "503"),
            (State::Ready, "200"),
            (State::Draining, "503"),
        ] {
            readiness.set(state);
            let answer = fetch(address, "/ready").await;
            assert!(
                answer.starts_with(&format!("HTTP/1.1 {status}")),
                "{answer}"
            );
            assert!(
                answer.ends_with(&format!(
                    "\r\n\r\n{}\nipv6: ill (no answers)\n",
                    state.as_str()
                )),
                "{answer}"
            );
        }
        assert!(fetch(address, "/live").await.starts_with("HTTP/1.1 200"));
        handle.stop();
    }

    #[tokio::test]
    async fn metrics_are_openmetrics_and_other_paths_list_what_there_is() {
        let (address, _, handle) = start(&["127.0.0.0/8"]);
        let answer = fetch(address, "/metrics").await;
        assert!(
            answer.contains(
                "content-type: application/openmetrics-text; version=1.0.0; charset=utf-8"
            )
        );
        assert!(answer.contains("\nsekisho_sessions_active 0\n") && answer.ends_with("# EOF\n"));
        let answer = fetch(address, "/nothing").await;
        assert!(answer.starts_with("HTTP/1.1 404") && answer.contains("\n/metrics\n"));
        let post =
            "POST /live HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        let answer = exchange(address, post).await;
        assert!(answer.starts_with("HTTP/1.1 405") && answer.contains("allow: GET, HEAD"));
        handle.stop();
    }

    #[tokio::test]
    async fn a_name_is_explained_to_the_admin_and_to_no_page() {
        let (address, _, handle) = start(&["127.0.0.0/8"]);
        let get = |more: &str| {
            format!("GET /explain?name=a.example HTTP/1.1\r\n{more}Connection: close\r\n\r\n")
        };
        let answer = exchange(address, &get("Host: 127.0.0.1\r\n")).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert!(answer.ends_with("{\"name\":\"a.example.\"}\n"), "{answer}");
        let page = "Host: 127.0.0.1\r\nOrigin: http://evil.example\r\n";
        assert!(
            exchange(address, &get(page))
                .await
                .starts_with("HTTP/1.1 403")
        );
        let rebound = "Host: evil.example\r\n";
        assert!(
            exchange(address, &get(rebound))
                .await
                .starts_with("HTTP/1.1 421")
        );
        let wrong = get("Host: 127.0.0.1\r\n").replace("name=a", "nmae=a");
        assert!(exchange(address, &wrong).await.starts_with("HTTP/1.1 400"));
        let post = get("Host: 127.0.0.1\r\n").replace("GET", "POST");
        assert!(exchange(address, &post).await.starts_with("HTTP/1.1 405"));
        handle.stop();
    }

    #[tokio::test]
    async fn a_stranger_is_closed_unread_until_a_reload_lets_it_in() {
        let (address, _, handle) = start(&["192.0.2.0/24"]);
        assert_eq!(fetch(address, "/live").await, "");
        handle.update(Acl::new(["127.0.0.0/8".parse().unwrap()]));
        assert!(fetch(address, "/live").await.starts_with("HTTP/1.1 200"));
        handle.stop();
    }

    #[tokio::test]
    async fn the_thread_ends_when_told_and_says_so() {
        let (address, _, mut handle) = start(&["127.0.0.0/8"]);
        let thread = handle.thread.take();
        handle.stop.cancel();
        handle.ended().await;
        thread.unwrap().join().unwrap();
        assert!(tokio::net::TcpStream::connect(address).await.is_err());
    }
}
