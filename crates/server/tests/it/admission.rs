//! What one client may take, told by its address; and what all may take together.

use std::time::Duration;

use openline::{Client, CloseCode};
use openline_server::{Config, ForwardedBy};
use serde_json::json;

use crate::common::{Connection, Harness, Issuer, request, soon};

const LISTEN: (&str, &str) = ("Accept", "text/event-stream");

/// The tests' clients are a trusted proxy's.
fn behind_proxy(config: &mut Config, header: ForwardedBy) {
    config.proxies.trusted = vec!["127.0.0.0/8".parse().unwrap()];
    config.proxies.header = header;
}

/// A connection that a proxy hands on, and a request on it.
async fn proxied(server: &Harness, header: &[u8], headers: &[(&str, &str)]) -> Connection {
    let mut connection = server.connect().await;
    connection.send(header).await;
    connection
        .send(&request("GET", "/channels/a", headers, b""))
        .await;
    connection
}

/// Version 2, for an IPv4 client.
fn binary(client: [u8; 4]) -> Vec<u8> {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c".to_vec();
    header.extend(client);
    header.extend([127, 0, 0, 1, 0x10, 0, 0x20, 0]);
    header
}

#[tokio::test]
async fn an_address_has_so_many_connections_and_others_have_theirs() {
    let server = Harness::with(|config| {
        behind_proxy(config, ForwardedBy::None);
        config.proxies.protocol = true;
        config.max_connections_per_address = 2;
    })
    .await;
    let text = b"PROXY TCP4 192.0.2.7 127.0.0.1 4000 8000\r\n";
    let mut first = proxied(&server, text, &[LISTEN]).await;
    assert_eq!(first.head().await.0, 200);
    let mut second = proxied(&server, &binary([192, 0, 2, 7]), &[LISTEN]).await;
    assert_eq!(second.head().await.0, 200);
    let mut third = server.connect().await;
    third.send(text).await;
    assert!(third.is_at_end().await);
    let mut other = proxied(&server, &binary([192, 0, 2, 8]), &[]).await;
    assert_eq!(other.head().await.0, 404);
    // The proxy itself, which looks whether the server is there, is not counted.
    for _ in 0..5 {
        let mut own = proxied(&server, b"PROXY UNKNOWN\r\n", &[]).await;
        assert_eq!(own.head().await.0, 404);
    }
    drop(first);
    // It is seen to be gone soon, not at once.
    loop {
        let mut again = server.connect().await;
        again
            .send(&[text, &*request("GET", "/channels/a", &[], b"")].concat())
            .await;
        if !again.is_gone().await {
            break;
        }
    }
}

#[tokio::test]
async fn a_proxys_connection_without_a_proxy_header_is_closed() {
    let server = Harness::with(|config| {
        behind_proxy(config, ForwardedBy::None);
        config.proxies.protocol = true;
        config.header_timeout = Duration::from_millis(200);
    })
    .await;
    let long = [&b"PROXY TCP4 "[..], &[b'1'; 200]].concat();
    for begun in [
        &b"GET /channels/a HTTP/1.1\r\nHost: localhost\r\n\r\n"[..],
        b"PROXY TCP4 not-an-address 127.0.0.1 1 2\r\n",
        &long,
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff",
        b"PROXY TCP4 192.0",
        b"",
    ] {
        let mut connection = server.connect().await;
        connection.send(begun).await;
        assert!(connection.is_gone().await, "{begun:?}");
    }
}

#[tokio::test]
async fn requests_of_one_address_have_a_rate() {
    for (header, name, clients) in [
        (
            ForwardedBy::XForwardedFor,
            "X-Forwarded-For",
            ["1.1.1.1, 192.0.2.7", "192.0.2.8"],
        ),
        (
            ForwardedBy::Forwarded,
            "Forwarded",
            ["for=192.0.2.7", "for=\"[2001:db8::1]:5\""],
        ),
    ] {
        let server = Harness::with(|config| {
            behind_proxy(config, header);
            config.request_rate = 3;
        })
        .await;
        let [one, two] = clients.map(|client| (name, client));
        let mut statuses = Vec::new();
        let refused = loop {
            let got = server.get("/channels/a", &[one]).await;
            if got.status == 429 {
                break got;
            }
            statuses.push(got.status);
        };
        assert!(statuses.len() >= 3, "{statuses:?}");
        refused.problem(429, "too-many-requests");
        let after: u64 = refused.header("retry-after").parse().unwrap();
        assert!((1..=2).contains(&after), "{after}");
        assert_eq!(server.get("/channels/a", &[two]).await.status, 404);
        // Whoever asks the server itself from this machine is not counted.
        assert_eq!(server.get("/channels/a", &[]).await.status, 404);
    }
}

#[tokio::test]
async fn a_client_that_is_no_proxy_cannot_say_who_it_is() {
    let server = Harness::with(|config| {
        config.proxies.trusted = vec!["192.0.2.0/24".parse().unwrap()];
        config.proxies.header = ForwardedBy::XForwardedFor;
        config.request_rate = 1;
    })
    .await;
    for _ in 0..5 {
        let got = server
            .get("/channels/a", &[("X-Forwarded-For", "198.51.100.1")])
            .await;
        assert_eq!(got.status, 404, "it is this machine, which is not counted");
    }
}

#[tokio::test]
async fn behind_a_proxy_that_hands_requests_on_a_client_has_so_many_at_once() {
    let server = Harness::with(|config| {
        behind_proxy(config, ForwardedBy::XForwardedFor);
        config.max_connections_per_address = 1;
    })
    .await;
    let one = ("X-Forwarded-For", "192.0.2.7");
    let url = format!("ws://{}/channels/a", server.address);
    let client = Client::new(&url).unwrap().header(
        "x-forwarded-for".parse().unwrap(),
        "192.0.2.7".parse().unwrap(),
    );
    let (socket, _) = soon(client.connect()).await.unwrap();
    let got = server.get("/channels/a", &[one]).await;
    assert!(got.problem(503, "busy").contains("your address"));
    let two = ("X-Forwarded-For", "192.0.2.8");
    assert_eq!(server.get("/channels/a", &[two]).await.status, 404);
    drop(socket);
    while server.get("/channels/a", &[one]).await.status != 404 {}
}

#[tokio::test]
async fn connections_that_say_nothing_keep_nobody_out_for_long() {
    let server = Harness::with(|config| {
        config.max_handshakes = 2;
        config.header_timeout = Duration::from_millis(300);
    })
    .await;
    // One that has asked does not count.
    let _asked = server.stream("/channels/a", &[LISTEN]).await;
    let _silent = (server.connect().await, server.connect().await);
    let refused = loop {
        let got = server.get("/channels/a", &[]).await;
        if got.status == 503 {
            break got;
        }
    };
    assert!(refused.problem(503, "busy").contains("not asked"));
    while server.get("/channels/a", &[]).await.status != 404 {}
}

#[tokio::test]
async fn a_storm_of_connections_is_refused_and_passes() {
    let server = Harness::with(|config| config.accept_rate = 5).await;
    let mut refused = 0;
    for _ in 0..20 {
        let got = server.get("/channels/a", &[]).await;
        if got.status == 503 {
            assert!(got.problem(503, "busy").contains("at once"));
            refused += 1;
        }
    }
    assert!(refused >= 5, "{refused}");
    while server.get("/channels/a", &[]).await.status != 404 {}
}

#[tokio::test]
async fn a_publisher_has_a_rate_whatever_connection_it_comes_by() {
    let issuer = Issuer::secret();
    let server = Harness::with(|config| {
        config.token.secret = Some(issuer.shared());
        config.publish_rate = 2;
    })
    .await;
    let token = |subject: &str| {
        let rights = json!({"sub": subject, "openline": {"publish": ["**"]}});
        format!("Bearer {}", issuer.token(rights))
    };
    let (one, two) = (token("one"), token("two"));
    let publish = async |token: &str| {
        server
            .post("/channels/a", &[("Authorization", token)], b"1")
            .await
    };
    loop {
        let got = publish(&one).await;
        if got.status == 429 {
            got.problem(429, "too-many-requests");
            break;
        }
        assert_eq!(got.status, 201);
    }
    assert_eq!(publish(&two).await.status, 201);
    while publish(&one).await.status != 201 {}
}

#[tokio::test]
async fn over_its_memory_the_server_takes_nothing_new_and_goes_on() {
    let mut config = Config::default();
    let server = Harness::with(|own| config = own.clone()).await;
    let mut stream = server.stream("/channels/a", &[LISTEN]).await;
    stream.event().await.unwrap();
    let mut kept = server.connect().await;
    kept.send(&request("GET", "/channels/b", &[], b"")).await;
    assert_eq!(kept.response("GET").await.status, 404);

    config.max_memory = 1;
    server.reload.apply(config.clone()).unwrap();
    let got = server.get("/channels/a", &[]).await;
    assert!(got.problem(503, "busy").contains("memory"));
    for (method, headers, status) in [
        ("POST", &[][..], 503),
        ("GET", &[LISTEN][..], 503),
        ("GET", &[("Prefer", "wait=5")][..], 503),
        ("GET", &[][..], 404),
    ] {
        kept.send(&request(method, "/channels/b", headers, b""))
            .await;
        assert_eq!(
            kept.response(method).await.status,
            status,
            "{method} {headers:?}"
        );
    }
    server.publish("a", "1").await;
    assert_eq!(stream.event().await.unwrap().data, "1");

    config.max_memory = usize::MAX;
    server.reload.apply(config).unwrap();
    assert_eq!(server.get("/channels/a", &[]).await.status, 200);
}

#[tokio::test]
async fn bodies_under_way_have_a_bound_together() {
    let server = Harness::with(|config| config.max_bodies = 10_000).await;
    let mut slow = server.connect().await;
    let body = vec![b'x'; 9_000];
    let whole = request("POST", "/channels/a", &[("Expect", "100-continue")], &body);
    let (head, body) = whole.split_at(whole.len() - body.len());
    slow.send(head).await;
    assert_eq!(slow.head().await.0, 100, "it is under way");
    slow.send(&body[..8_999]).await;
    loop {
        let got = server.post("/channels/b", &[], &[b'y'; 5_000]).await;
        if got.status == 503 {
            assert!(got.problem(503, "busy").contains("bodies"));
            break;
        }
        assert_eq!(got.status, 201, "the other's had not come yet");
    }
    slow.send(&body[8_999..]).await;
    assert_eq!(slow.response("POST").await.status, 201);
    assert_eq!(
        server.post("/channels/b", &[], &[b'y'; 5_000]).await.status,
        201
    );
}

#[tokio::test]
async fn what_is_said_on_a_websocket_has_a_rate_and_a_size() {
    let issuer = Issuer::secret();
    let server = Harness::with(|config| {
        config.token.secret = Some(issuer.shared());
        config.anonymous.subscribe = Some(true);
        config.max_message = 1_000;
        config.message_rate = 3;
    })
    .await;
    let url = format!("ws://{}/channels/a", server.address);
    let open = async || {
        let client = Client::new(&url).unwrap().subprotocol("openline.v1");
        let (mut socket, _) = soon(client.connect()).await.unwrap();
        soon(socket.next()).await.unwrap().unwrap();
        socket
    };
    let renewal = json!({"token": issuer.token(json!({}))}).to_string();
    let mut socket = open().await;
    for _ in 0..20 {
        if socket.send(renewal.as_str()).await.is_err() {
            break;
        }
    }
    assert!(soon(socket.next()).await.is_none_or(|said| said.is_err()));
    let close = socket.closed().unwrap().received.unwrap();
    assert_eq!(close.code, CloseCode::POLICY);
    assert!(close.reason.contains("too often"));

    let mut socket = open().await;
    socket.send("x".repeat(1_001).as_str()).await.unwrap();
    assert!(soon(socket.next()).await.is_none_or(|said| said.is_err()));
    let close = socket.closed().unwrap().received.unwrap();
    assert_eq!(close.code, CloseCode::TOO_BIG);
}
