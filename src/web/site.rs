//! What clients see over HTTP: the PAC file, on listeners of its own or on port 80 shared with the transparent proxy.
//!
//! A client that has found us by `wpad` sends that as Host, one that was told an address sends the address; on our own
//! listeners the path alone decides.

use std::future::ready;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use arc_swap::ArcSwap;
use hickory_proto::rr::Name;
use http::{Request, StatusCode};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use super::pac::{Pac, reachable};
use super::{Reply, connection, listen, plain, refuse_method, reply};
use crate::config::Lan;
use crate::net::{ClientAddr, Host, Prefixed};
use crate::steer::Steering;
use crate::telemetry::{Metrics, RefusalLabels};

/// Connections at once on one listener of our own; more wait in the kernel.
const CONNECTIONS: usize = 256;

/// What a wrong path is answered with.
const PATHS: &str = "nothing here; this gate serves:\n/proxy.pac\n/wpad.dat\n\n\
    Give the first one to a program as the address of its automatic proxy configuration.\n";

/// The web site of the gate.
#[derive(Debug)]
pub struct Site {
    live: ArcSwap<View>,
    metrics: Arc<Metrics>,
}

/// What a reload replaces as a whole.
#[derive(Debug)]
struct View {
    lan: Lan,
    names: Vec<Name>,
    gate: Option<SocketAddr>,
    steering: Arc<Steering>,
}

impl View {
    fn new(lan: &Lan, gate: Option<SocketAddr>, steering: Arc<Steering>) -> Self {
        let single = ["wpad", "sekisho"].map(|label| Name::from_labels([label.as_bytes()]));
        let single = single.into_iter().flatten();
        let mut names: Vec<Name> = single
            .flat_map(|name| [name.clone().append_domain(&lan.domain).ok(), Some(name)])
            .chain([Name::from_labels([&b"localhost"[..]]).ok()])
            .flatten()
            .collect();
        for name in &mut names {
            name.set_fqdn(true);
        }
        Self {
            lan: lan.clone(),
            names,
            gate: gate.map(|gate| reachable(gate, IpAddr::V4(lan.address))),
            steering,
        }
    }
}

impl Site {
    /// A site that tells clients to use the forward proxy `gate`, as it is bound; on all addresses (`0.0.0.0`) it
    /// stands for `lan.address`.
    pub fn new(
        lan: &Lan,
        gate: Option<SocketAddr>,
        steering: Arc<Steering>,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            live: ArcSwap::from_pointee(View::new(lan, gate, steering)),
            metrics,
        }
    }

    /// Shows this from the next request on.
    pub fn update(&self, lan: &Lan, gate: Option<SocketAddr>, steering: Arc<Steering>) {
        self.live.store(Arc::new(View::new(lan, gate, steering)));
    }

    /// Whether a request to this host is for us: `wpad`, `sekisho`, both below the local domain too, `localhost`,
    /// the gate's address on the LAN, and loopback.
    pub fn owns(&self, host: &Host) -> bool {
        let view = self.live.load();
        match host {
            Host::Name(name) => view.names.contains(name),
            Host::Addr(address) => address.is_loopback() || *address == view.lan.address,
        }
    }

    /// The PAC file for a client.
    pub fn pac(&self, client: IpAddr) -> String {
        let view = self.live.load();
        Pac {
            gate: view.gate,
            domain: &view.lan.domain,
            networks: &view.lan.networks,
            direct: &view.steering.direct_suffixes(client),
        }
        .render()
    }

    /// Serves one connection that the transparent proxy has found to be ours, until it ends or a minute has passed.
    pub async fn serve_stream(self: Arc<Self>, stream: Prefixed<TcpStream>, client: ClientAddr) {
        let never = CancellationToken::new();
        connection(stream, &never, |request| {
            ready(self.answer(client, request))
        })
        .await;
    }

    /// Serves a listener until `stop`; who is outside `lan.networks` is closed unread.
    pub async fn serve(self: Arc<Self>, listener: TcpListener, stop: CancellationToken) {
        let site = Arc::clone(&self);
        let answer = move |client, request: &Request<_>| ready(site.answer(client, request));
        let metrics = Arc::clone(&self.metrics);
        let admit = move |client| self.admits(client);
        listen(listener, stop, CONNECTIONS, metrics, admit, answer).await;
    }

    fn admits(&self, client: ClientAddr) -> bool {
        let known = self.live.load().lan.networks.contains(client.ip());
        if !known {
            tracing::debug!(%client, "a stranger came to the web listener");
            let reason = RefusalLabels { reason: "stranger" };
            self.metrics.sessions_refused.get_or_create(&reason).inc();
        }
        known
    }

    fn answer<B>(&self, client: ClientAddr, request: &Request<B>) -> Reply {
        if !matches!(request.uri().path(), "/proxy.pac" | "/wpad.dat") {
            return plain(StatusCode::NOT_FOUND, PATHS);
        }
        if let Some(refusal) = refuse_method(request.method()) {
            return refusal;
        }
        // Each client may be told something else, and a change should reach it within minutes.
        reply(
            StatusCode::OK,
            "application/x-ns-proxy-autoconfig",
            "private, max-age=60",
            self.pac(client.ip()),
        )
    }
}

#[cfg(test)]
mod tests {

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::super::DRAIN;
    use super::super::tests::{exchange, fetch};
    use super::*;
    use crate::config::Config;
    use crate::net::{Acl, Interfaces, bind_tcp};

    fn config(networks: &[&str], never: &[&str]) -> Config {
        let interfaces = Interfaces::of(&[("eth0", "192.168.1.1/24")], Some("eth0"));
        let text = "[steer]\nmode = \"address\"\n";
        let config = Config::parse(text, None, &interfaces, "nameserver 192.0.2.53\n");
        let mut config = config.unwrap();
        config.lan.networks = Acl::new(networks.iter().map(|network| network.parse().unwrap()));
        let never = never.iter().map(|name| Name::from_ascii(name).unwrap());
        config.steer.never = never.collect();
        config
    }

    fn site(networks: &[&str]) -> Arc<Site> {
        let config = config(networks, &["direct.example."]);
        let steering = Arc::new(Steering::new(&config, crate::steer::Lists::default()));
        let gate = Some("0.0.0.0:3128".parse().unwrap());
        let metrics = Arc::new(Metrics::new());
        Arc::new(Site::new(&config.lan, gate, steering, metrics))
    }

    async fn start(site: &Arc<Site>) -> (SocketAddr, CancellationToken) {
        let listener = bind_tcp("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = TcpListener::from_std(listener).unwrap();
        let (address, stop) = (listener.local_addr().unwrap(), CancellationToken::new());
        tokio::spawn(Arc::clone(site).serve(listener, stop.clone()));
        (address, stop)
    }

    #[tokio::test]
    async fn the_pac_file_is_served_at_both_paths_with_its_type() {
        let (address, _stop) = start(&site(&["127.0.0.0/8"])).await;
        for path in ["/proxy.pac", "/wpad.dat", "/wpad.dat?x=1"] {
            let answer = fetch(address, path).await;
            assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
            assert!(
                answer.contains("content-type: application/x-ns-proxy-autoconfig\r\n"),
                "{answer}"
            );
            assert!(
                answer.contains("cache-control: private, max-age=60\r\n"),
                "{answer}"
            );
            assert!(
                answer.contains("PROXY 192.168.1.1:3128; DIRECT"),
                "{answer}"
            );
            assert!(answer.contains("\".direct.example\": 1"), "{answer}");
        }
    }

    #[tokio::test]
    async fn head_has_no_body_other_methods_are_405_and_other_paths_404() {
        let (address, _stop) = start(&site(&["127.0.0.0/8"])).await;
        let head = "HEAD /proxy.pac HTTP/1.1\r\nHost: wpad\r\nConnection: close\r\n\r\n";
        let answer = exchange(address, head).await;
        assert!(
            answer.starts_with("HTTP/1.1 200") && answer.ends_with("\r\n\r\n"),
            "{answer}"
        );
        let post = "POST /proxy.pac HTTP/1.1\r\nHost: wpad\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        let answer = exchange(address, post).await;
        assert!(
            answer.starts_with("HTTP/1.1 405") && answer.contains("allow: GET, HEAD"),
            "{answer}"
        );
        let answer = fetch(address, "/secret").await;
        assert!(
            answer.starts_with("HTTP/1.1 404") && answer.contains("/proxy.pac\n"),
            "{answer}"
        );
    }

    #[tokio::test]
    async fn what_is_no_http_is_refused() {
        let (address, _stop) = start(&site(&["127.0.0.0/8"])).await;
        let answer = exchange(address, "\x16\x03\x01 nonsense\r\n\r\n").await;
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 400"),
            "{answer}"
        );
        let long = format!("GET / HTTP/1.1\r\nX: {}", "a".repeat(20_000));
        let answer = exchange(address, &long).await;
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 431"),
            "{answer}"
        );
    }

    #[tokio::test]
    async fn a_stranger_is_closed_unread_and_counted() {
        let site = site(&["192.0.2.0/24"]);
        let (address, _stop) = start(&site).await;
        assert_eq!(fetch(address, "/proxy.pac").await, "");
        let text = site.metrics.encode();
        assert!(
            text.contains("sekisho_sessions_refused_total{reason=\"stranger\"} 1"),
            "{text}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_says_nothing_is_closed() {
        let (address, _stop) = start(&site(&["127.0.0.0/8"])).await;
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET /pro").await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.ok();
        assert!(!answer.starts_with(b"HTTP/1.1 200"));
    }

    #[tokio::test]
    async fn a_stop_ends_idle_connections_and_the_listener() {
        let site = site(&["127.0.0.0/8"]);
        let listener =
            TcpListener::from_std(bind_tcp("127.0.0.1:0".parse().unwrap()).unwrap()).unwrap();
        let (address, stop) = (listener.local_addr().unwrap(), CancellationToken::new());
        let serving = tokio::spawn(site.serve(listener, stop.clone()));
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream
            .write_all(b"HEAD /wpad.dat HTTP/1.1\r\nHost: wpad\r\n\r\n")
            .await
            .unwrap();
        let mut first = [0; 12];
        stream.read_exact(&mut first).await.unwrap();
        assert_eq!(&first, b"HTTP/1.1 200");
        stop.cancel();
        let mut rest = Vec::new();
        // Far sooner than an idle connection would end by itself.
        let ending = async {
            stream.read_to_end(&mut rest).await.unwrap();
            serving.await.unwrap();
        };
        tokio::time::timeout(DRAIN, ending).await.unwrap();
        assert!(TcpStream::connect(address).await.is_err());
    }

    #[tokio::test]
    async fn a_stream_handed_over_with_its_first_bytes_is_served() {
        let site = site(&["127.0.0.0/8"]);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let far = tokio::spawn(async move { fetch(address, "/wpad.dat").await });
        let (mut stream, peer) = listener.accept().await.unwrap();
        let mut first = [0; 7];
        stream.read_exact(&mut first).await.unwrap();
        let stream = Prefixed::new(first.to_vec(), stream);
        let serving = tokio::spawn(site.serve_stream(stream, ClientAddr::new(peer)));
        assert!(far.await.unwrap().starts_with("HTTP/1.1 200"));
        serving.await.unwrap();
    }

    #[test]
    fn its_own_names_and_addresses_are_its_own_and_no_others() {
        let site = site(&["127.0.0.0/8"]);
        for own in [
            "wpad",
            "WPAD.Home.Arpa.",
            "sekisho",
            "sekisho.home.arpa",
            "localhost",
            "192.168.1.1",
            "127.0.0.1",
            "[::1]",
        ] {
            assert!(site.owns(&Host::parse(own).unwrap()), "{own}");
        }
        for other in [
            "home.arpa",
            "www.example",
            "wpad.example",
            "192.168.1.2",
            "x.wpad",
            "8.8.8.8",
        ] {
            assert!(!site.owns(&Host::parse(other).unwrap()), "{other}");
        }
    }

    #[test]
    fn an_update_is_seen_by_the_next_request() {
        let site = site(&["127.0.0.0/8"]);
        let client = "127.0.0.1".parse().unwrap();
        assert!(site.pac(client).contains("direct.example"));
        let config = config(&["127.0.0.0/8"], &[]);
        let steering = Arc::new(Steering::new(&config, crate::steer::Lists::default()));
        site.update(
            &config.lan,
            Some("10.0.0.1:8080".parse().unwrap()),
            steering,
        );
        let pac = site.pac(client);
        assert!(pac.contains("PROXY 10.0.0.1:8080; DIRECT") && !pac.contains("direct.example"));
    }
}
