//! A proxy for those in a file.

use super::super::auth::test_users;
use super::*;

/// A gate for `ann`, whose password is `secret`, with one origin.
async fn gate() -> Gate {
    let (web, _heard) = scripted("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi").await;
    let mut settings = settings();
    settings.users = Some(test_users(&[("ann", "secret")]));
    Gate::new(settings, [("web.example:80", Ok(web))])
}

fn get(credential: &str) -> String {
    format!(
        "GET http://web.example/ HTTP/1.1\r\nHost: web.example\r\nConnection: close\r\n{credential}\r\n"
    )
}

#[tokio::test]
async fn http_asks_for_a_name_and_serves_who_has_one() {
    let gate = gate().await;
    let address = gate.forward().await;
    for (credential, status) in [
        ("", "407"),
        ("Proxy-Authorization: Basic YW5uOnNlY3JldA==\r\n", "200"),
        ("Proxy-Authorization: Basic YW5uOndyb25n\r\n", "407"),
        ("Proxy-Authorization: Bearer x\r\n", "407"),
        ("Authorization: Basic YW5uOnNlY3JldA==\r\n", "407"),
    ] {
        let answer = exchange(address, get(credential)).await;
        let expected = format!("HTTP/1.1 {status}");
        assert!(answer.starts_with(&expected), "{credential}: {answer}");
        let challenged = answer.contains("proxy-authenticate: Basic realm=\"sekisho\"");
        assert_eq!(challenged, status == "407", "{answer}");
    }
    let connect = "CONNECT web.example:80 HTTP/1.1\r\nHost: web.example\r\n\r\n";
    assert!(exchange(address, connect).await.starts_with("HTTP/1.1 407"));
    gate.counted("sekisho_logins_total{outcome=\"missing\"} 4")
        .await;
}

#[tokio::test]
async fn who_guesses_is_told_to_wait() {
    let gate = gate().await;
    let address = gate.forward().await;
    let wrong = "Proxy-Authorization: Basic YW5uOndyb25n\r\n";
    loop {
        let answer = exchange(address, get(wrong)).await;
        if answer.starts_with("HTTP/1.1 429") {
            break;
        }
        assert!(answer.starts_with("HTTP/1.1 407"), "{answer}");
    }
    gate.counted("sekisho_logins_total{outcome=\"limited\"} 1")
        .await;
}
