//! One server of each kind, on loopback, and what it may do to us.

mod connections;
mod datagrams;
mod servers;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hickory_proto::op::Message;
use hickory_proto::rr::{Name, RData, Record, RecordType};
use tokio::task::JoinSet;

use super::{AskError, Client, Errno, MAX_QUERIES, Overload, Trust, io, io_failure};
use crate::config::{Config, Transport, Upstream};
use crate::net::Interfaces;
use crate::resolve::Question;
use crate::resolve::tests::server_at;

/// Long, so that a busy machine fails no test; those that wait for it shorten it.
const TIMEOUT: Duration = Duration::from_secs(20);

fn upstream(timeout: Duration) -> Upstream {
    let interfaces = Interfaces::of(&[("eth0", "192.168.1.2/24")], Some("eth0"));
    let config = Config::parse("", None, &interfaces, "nameserver 192.0.2.53\n");
    Upstream {
        timeout,
        ..config.unwrap().dns.upstream
    }
}

fn client(transport: Transport, address: SocketAddr, timeout: Duration) -> Client {
    let server = server_at(transport, address);
    Client::new(&server, &upstream(timeout), &Trust::nobody())
}

fn question(text: &str) -> Question {
    Question {
        name: Name::from_ascii(text).unwrap(),
        record_type: RecordType::A,
        dnssec_ok: false,
        checking_disabled: false,
    }
}

/// The good answer to a query: one address that ends in `last`.
fn answer(query: &Message, last: u8) -> Message {
    let mut message = Message::response(query.metadata.id, query.metadata.op_code);
    message.queries = query.queries.clone();
    let data = RData::A(Ipv4Addr::new(192, 0, 2, last).into());
    let owner = query.queries[0].name.clone();
    message.add_answer(Record::from_rdata(owner, 60, data));
    message
}

/// The last octet of the only address.
async fn asked(client: &Client, name: &str) -> Result<u8, AskError> {
    let answer = client.ask(&question(name), None).await?;
    assert_eq!(answer.answers.len(), 1);
    match answer.answers[0].data {
        RData::A(address) => Ok(address.0.octets()[3]),
        ref other => panic!("{other:?}"),
    }
}

/// So many questions at once, each with another name; every one must be answered.
async fn all_answered(client: &Arc<Client>, count: usize) {
    let mut askers = JoinSet::new();
    for index in 0..count {
        let client = Arc::clone(client);
        askers.spawn(async move { asked(&client, &format!("n{index}.example.")).await });
    }
    let outcomes = askers.join_all().await;
    let failed: Vec<_> = outcomes.iter().filter(|outcome| outcome.is_err()).collect();
    assert!(
        failed.is_empty(),
        "{} failed: {:?}",
        failed.len(),
        failed[0]
    );
    assert_eq!(outcomes.len(), count);
}

#[tokio::test(start_paused = true)]
async fn a_query_beyond_the_bound_is_our_fault_and_not_the_servers() {
    let address = SocketAddr::from(([127, 0, 0, 1], 9));
    let client = client(Transport::Udp, address, Duration::from_secs(2));
    assert_eq!(client.permits.forget_permits(MAX_QUERIES), MAX_QUERIES);
    assert_eq!(
        client.ask(&question("a.example."), None).await,
        Err(Overload::Queries.into())
    );
}

#[test]
fn what_we_lack_is_not_the_servers_fault_and_is_told_by_its_name() {
    for errno in [Errno::EMFILE, Errno::ENFILE] {
        let error = io::Error::from_raw_os_error(errno as i32);
        assert_eq!(io_failure(&error), Overload::Files.into());
    }
    let error = io_failure(&io::Error::from_raw_os_error(Errno::ECONNREFUSED as i32));
    assert_eq!(error, AskError::Network("connection refused".to_owned()));
}
