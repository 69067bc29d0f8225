//! The walk of the demo: for each name, ask the world, ask the gate, and go through the gate; then have it judged.

use std::net::SocketAddr;

use hickory_proto::rr::RecordType;

use super::judge::{Answers, expected, judge_answers, judge_sessions};
use super::{Gate, Internet, Place, Row, Session, client};
use crate::telemetry::Inbound;

/// Walks every name.
pub(super) async fn steps(gate: &Gate, internet: &Internet) -> Vec<Row> {
    let mut rows = Vec::with_capacity(Place::ALL.len());
    for place in Place::ALL {
        rows.push(step(place, gate, internet).await);
    }
    rows
}

async fn step(place: Place, gate: &Gate, internet: &Internet) -> Row {
    let mut failures = Vec::new();
    let world = ask(internet.dns, "the world", place, &mut failures).await;
    let told = ask(gate.dns, "the gate", place, &mut failures).await;
    let sessions = sessions(place, gate, internet).await;
    let mut row = Row {
        place,
        name: place.host(),
        world: world.world(),
        told: told.told(gate.address, &world.ipv4()),
        sessions,
        failures,
    };
    row.failures
        .extend(judge_answers(place, &row.world, &told, gate));
    row.failures.extend(judge_sessions(&row.sessions));
    row
}

/// The three answers about a name; what went wrong is added to `failures`.
async fn ask(server: SocketAddr, whom: &str, place: Place, failures: &mut Vec<String>) -> Answers {
    let mut one = async |record_type| match client::ask(server, place.host(), record_type).await {
        Ok(answer) => Some(answer),
        Err(error) => {
            failures.push(format!("asked {whom} for {record_type}: {error}"));
            None
        }
    };
    Answers {
        a: one(RecordType::A).await,
        aaaa: one(RecordType::AAAA).await,
        https: one(RecordType::HTTPS).await,
    }
}

async fn sessions(place: Place, gate: &Gate, internet: &Internet) -> Vec<Session> {
    let (host, http, tls) = (
        place.host(),
        internet.http_port(place),
        internet.tls_port(place),
    );
    let session = |inbound: Inbound, result| {
        Session::new(inbound, result, expected(place, internet.has_ipv6), host)
    };
    let trust = || internet.client_tls();
    let mut done = vec![
        session(
            Inbound::Forward,
            client::forward(gate.http, host, http).await,
        ),
        session(
            Inbound::Connect,
            client::connect(gate.http, host, tls, trust()).await,
        ),
    ];
    if !gate.steers(place) {
        return done;
    }
    if let Some(listener) = gate.plain {
        done.push(session(
            Inbound::Http,
            client::plain(listener, host, http).await,
        ));
    }
    // SNI has no port: TLS is always taken to the one port on which IPv6 is alive.
    if let Some(listener) = gate.tls.filter(|_| place != Place::Dead6) {
        done.push(session(
            Inbound::Tls,
            client::tls(listener, host, trust()).await,
        ));
    }
    done
}

#[cfg(test)]
mod tests {
    use hickory_proto::op::ResponseCode;

    use super::super::client::EXTENDED_ERROR;
    use super::super::judge::{FILTERED, FORGED_ANSWER};
    use super::*;
    use crate::config::Mode;

    /// A gate in the fewest lines, with the answers of `ipv6-only`.
    mod small_gate {
        use std::net::{Ipv4Addr, Ipv6Addr};
        use std::sync::Arc;

        use hickory_proto::op::{Edns, Message};
        use hickory_proto::rr::rdata::opt::EdnsOption;
        use hickory_proto::rr::rdata::{A, SOA};
        use hickory_proto::rr::{Name, RData, Record};
        use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, copy_bidirectional};
        use tokio::net::{TcpListener, TcpStream, UdpSocket};

        use super::*;

        fn answer(packet: &[u8], internet: &Internet) -> Message {
            let asked = Message::from_vec(packet).unwrap();
            let query = asked.queries[0].clone();
            let host = query.name().to_ascii();
            let place = Place::ALL
                .into_iter()
                .find(|place| host == format!("{}.", place.host()));
            let place = place.unwrap();
            let mut told = Message::response(asked.metadata.id, asked.metadata.op_code);
            let mut edns = Edns::new();
            let mut explain = |code: u16| {
                let data = code.to_be_bytes().to_vec();
                edns.options_mut()
                    .insert(EdnsOption::Unknown(EXTENDED_ERROR, data));
            };
            match query.query_type() {
                RecordType::A if place.exists() => {
                    let real = place.has_ipv4();
                    let a = if real {
                        internet.ipv4
                    } else {
                        Ipv4Addr::LOCALHOST
                    };
                    told.add_answer(Record::from_rdata(query.name().clone(), 60, RData::A(A(a))));
                    if !real {
                        explain(FORGED_ANSWER);
                    }
                }
                RecordType::AAAA if place.has_ipv6() => explain(FILTERED),
                _ => {}
            }
            let root = Name::root();
            let soa = SOA::new(root.clone(), root.clone(), 1, 1, 1, 1, 60);
            told.add_authority(Record::from_rdata(root, 60, RData::SOA(soa)));
            told.metadata.response_code = if place.exists() {
                ResponseCode::NoError
            } else {
                ResponseCode::NXDomain
            };
            told.add_query(query).set_edns(edns);
            told
        }

        async fn dns(internet: Arc<Internet>) -> SocketAddr {
            let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            let address = socket.local_addr().unwrap();
            tokio::spawn(async move {
                let mut buffer = [0; 512];
                loop {
                    let (length, peer) = socket.recv_from(&mut buffer).await.unwrap();
                    let told = answer(&buffer[..length], &internet).to_vec().unwrap();
                    socket.send_to(&told, peer).await.unwrap();
                }
            });
            address
        }

        /// IPv6 first unless `old`, then IPv4, as far as the name has it.
        async fn dial(host: &str, port: u16, internet: &Internet, old: bool) -> Option<TcpStream> {
            let place = Place::ALL.into_iter().find(|place| place.host() == host)?;
            if place.has_ipv6()
                && !old
                && let Ok(stream) = TcpStream::connect((Ipv6Addr::LOCALHOST, port)).await
            {
                return Some(stream);
            }
            if !place.has_ipv4() {
                return None;
            }
            TcpStream::connect((internet.ipv4, port)).await.ok()
        }

        async fn carry(client: TcpStream, internet: &Internet, old: bool) {
            let mut client = BufReader::new(client);
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") {
                client.read_line(&mut head).await.unwrap();
            }
            let lines = || head.lines().map(str::to_ascii_lowercase);
            let host = lines()
                .find_map(|line| line.strip_prefix("host: ").map(str::to_owned))
                .unwrap();
            let (host, port) = host.split_once(':').unwrap();
            let Some(mut origin) = dial(host, port.parse().unwrap(), internet, old).await else {
                let answer = "HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n";
                client.write_all(answer.as_bytes()).await.unwrap();
                return;
            };
            if head.starts_with("CONNECT ") {
                client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
            } else {
                origin.write_all(head.as_bytes()).await.unwrap();
            }
            copy_bidirectional(&mut client, &mut origin).await.ok();
        }

        async fn http(internet: Arc<Internet>, old: bool) -> SocketAddr {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            tokio::spawn(async move {
                loop {
                    carry(listener.accept().await.unwrap().0, &internet, old).await;
                }
            });
            address
        }

        /// Without reading the SNI: in this mode only one name comes here.
        async fn tls(internet: Arc<Internet>) -> SocketAddr {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            tokio::spawn(async move {
                loop {
                    let mut client = listener.accept().await.unwrap().0;
                    let host = Place::Six.host();
                    if let Some(mut origin) = dial(host, internet.tls, &internet, false).await {
                        copy_bidirectional(&mut client, &mut origin).await.ok();
                    }
                }
            });
            address
        }

        pub(super) async fn start(internet: &Arc<Internet>, old: bool) -> Gate {
            Gate {
                dns: dns(Arc::clone(internet)).await,
                http: http(Arc::clone(internet), old).await,
                plain: Some(http(Arc::clone(internet), old).await),
                tls: Some(tls(Arc::clone(internet)).await),
                ..Gate::nowhere(Mode::Ipv6Only)
            }
        }
    }

    #[tokio::test]
    async fn in_front_of_a_gate_that_keeps_its_promises_every_row_holds() {
        let internet = std::sync::Arc::new(Internet::start().unwrap());
        let gate = small_gate::start(&internet, false).await;
        let rows = steps(&gate, &internet).await;
        for row in &rows {
            assert_eq!(row.failures, Vec::<String>::new(), "{}", row.name);
        }
        let sessions: Vec<usize> = rows.iter().map(|row| row.sessions.len()).collect();
        assert_eq!(sessions, [2, 4, 2, 2, 2]);
        let report = crate::cli::demo::Report::new(&gate, &internet, rows);
        assert!(report.ok());
        println!("{}", report.text(false));
        println!(
            "{}",
            report
                .commands(Some(std::path::Path::new("ca.pem")))
                .join("\n")
        );
    }

    #[tokio::test]
    async fn a_gate_that_does_not_leave_by_ipv6_is_found_out() {
        let internet = std::sync::Arc::new(Internet::start().unwrap());
        if !internet.has_ipv6 {
            println!("skipped: no ::1 on this machine");
            return;
        }
        let gate = small_gate::start(&internet, true).await;
        let rows = steps(&gate, &internet).await;
        let good: Vec<Place> = rows
            .iter()
            .filter(|row| row.ok())
            .map(|row| row.place)
            .collect();
        assert_eq!(good, [Place::Four, Place::Dead6, Place::Gone]);
        let dual = "forward must leave by ipv6: left by ipv4".to_owned();
        assert!(rows[0].failures.contains(&dual), "{:?}", rows[0].failures);
    }

    #[tokio::test]
    async fn without_a_gate_nothing_holds_and_the_walk_still_ends() {
        let internet = Internet::start().unwrap();
        let rows = steps(&Gate::nowhere(Mode::Ipv6Only), &internet).await;
        assert_eq!(rows.len(), Place::ALL.len());
        for row in rows {
            assert!(!row.ok(), "{row:?}");
            assert_eq!(row.world.exists, row.place.exists());
        }
    }
}
