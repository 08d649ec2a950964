//! WebSockets: bare ones, and those that speak `openline.v1`.

use openline::{Client, CloseCode, Message, WebSocket};
use serde_json::{Value, json};

use crate::common::{Connection, Harness, Issuer, Response, request, soon};

async fn open(server: &Harness, path: &str, subprotocol: Option<&str>) -> WebSocket {
    let url = format!("ws://{}{path}", server.address);
    let mut client = Client::new(&url).unwrap();
    if let Some(name) = subprotocol {
        client = client.subprotocol(name);
    }
    let (socket, _) = soon(client.connect()).await.unwrap();
    assert_eq!(socket.subprotocol(), subprotocol);
    socket
}

async fn next(socket: &mut WebSocket) -> Message {
    soon(socket.next()).await.expect("it is open").unwrap()
}

async fn object(socket: &mut WebSocket) -> Value {
    let message = next(socket).await;
    serde_json::from_str(message.as_text().expect("it is text")).unwrap()
}

/// The code with which the server closes, and nothing else said.
async fn closed(socket: &mut WebSocket) -> CloseCode {
    if let Some(said) = soon(socket.next()).await {
        panic!("{said:?}");
    }
    socket.closed().unwrap().received.unwrap().code
}

#[tokio::test]
async fn a_bare_one_is_the_bodies_alone() {
    let server = Harness::start().await;
    server.publish("a", "old").await;
    server.publish("a", "latest").await;
    let mut socket = open(&server, "/channels/a", None).await;
    assert_eq!(next(&mut socket).await.as_text(), Some("latest"));
    for (content_type, body, is_text) in [
        ("text/html", &b"<p>"[..], true),
        ("application/json", b"{\r\n}", true),
        ("image/svg+xml", b"<svg/>", false),
        ("text/plain", b"\xff", false),
    ] {
        server
            .post("/channels/a", &[("Content-Type", content_type)], body)
            .await;
        let message = next(&mut socket).await;
        match &message {
            Message::Text(text) => assert_eq!(text.as_bytes(), body),
            Message::Binary(bytes) => assert_eq!(bytes, body),
        }
        assert_eq!(message.as_text().is_some(), is_text, "{content_type}");
    }
}

#[tokio::test]
async fn a_bare_one_resumes_or_is_refused() {
    let server = Harness::with(|config| config.history.count = 2).await;
    let first = server.publish("a", "1").await;
    server.publish("a", "2").await;
    server.publish("a", "3").await;
    let mut socket = open(&server, &format!("/channels/a?since={first}"), None).await;
    assert_eq!(next(&mut socket).await.as_text(), Some("2"));
    assert_eq!(next(&mut socket).await.as_text(), Some("3"));
    server.publish("a", "4").await;
    assert_eq!(next(&mut socket).await.as_text(), Some("4"));
    let got = handshake(&server, &format!("/channels/a?since={first}"), &[]).await;
    assert!(got.problem(410, "gone").contains("openline.v1"));
    let got = handshake(&server, "/channels/a?since=what", &[]).await;
    got.problem(400, "bad-cursor");
}

#[tokio::test]
async fn envelopes_follow_where_it_stands() {
    let server = Harness::with(|config| config.history.count = 2).await;
    let first = server.publish("a", "1").await;
    server.publish("a", "2").await;
    let mut socket = open(&server, "/channels/a", Some("openline.v1")).await;
    let standing = object(&mut socket).await;
    assert_eq!(standing["recovered"], true);
    assert_eq!(object(&mut socket).await["data"], "2");
    let third = server.publish("a", "3").await;
    let envelope = object(&mut socket).await;
    assert_eq!(
        (&envelope["cursor"], &envelope["data"]),
        (&json!(third), &json!("3"))
    );

    let path = format!("/channels/a?since={first}");
    let mut socket = open(&server, &path, Some("openline.v1")).await;
    assert_eq!(
        object(&mut socket).await,
        json!({"cursor": first, "recovered": true})
    );
    assert_eq!(object(&mut socket).await["data"], "2");
    assert_eq!(object(&mut socket).await["data"], "3");
    server.publish("a", "4").await;
    assert_eq!(object(&mut socket).await["data"], "4");

    let mut socket = open(&server, &path, Some("openline.v1")).await;
    assert_eq!(object(&mut socket).await["recovered"], false);
    assert_eq!(object(&mut socket).await["data"], "4");
}

#[tokio::test]
async fn a_pattern_is_envelopes_with_or_without_the_subprotocol() {
    let server = Harness::start().await;
    server.publish("f/a", "a").await;
    server.post("/channels/f/b", &[], b"\x00").await;
    for subprotocol in [None, Some("openline.v1")] {
        let mut socket = open(&server, "/channels/f/*", subprotocol).await;
        assert_eq!(object(&mut socket).await["recovered"], true);
        assert_eq!(object(&mut socket).await["channel"], "f/a");
        assert_eq!(object(&mut socket).await["base64"], "AA==");
    }
    let path = "/channels/f/*?since=zzzzzzzzzzzz:1";
    assert_eq!(
        object(&mut open(&server, path, None).await).await["recovered"],
        false
    );
}

#[tokio::test]
async fn clients_may_not_speak_but_for_a_token() {
    let server = Harness::start().await;
    for (path, subprotocol, message) in [
        ("/channels/a", None, Message::from("hello")),
        ("/channels/a", None, Message::from(r#"{"token":"x"}"#)),
        ("/channels/a", None, Message::from(vec![1])),
        ("/channels/*", None, Message::from(r#"{"token":"x"}"#)),
        ("/channels/a", Some("openline.v1"), Message::from("hello")),
        (
            "/channels/a",
            Some("openline.v1"),
            Message::from(r#"{"token":1}"#),
        ),
        (
            "/channels/a",
            Some("openline.v1"),
            Message::from(r#"{"token":"x","y":1}"#),
        ),
        (
            "/channels/a",
            Some("openline.v1"),
            Message::from(br#"{"token":"x"}"#.to_vec()),
        ),
    ] {
        let mut socket = open(&server, path, subprotocol).await;
        if path == "/channels/*" || subprotocol.is_some() {
            object(&mut socket).await;
        }
        socket.send(message).await.unwrap();
        assert_eq!(closed(&mut socket).await, CloseCode::POLICY);
    }
    let issuer = Issuer::secret();
    let server = Harness::with(|config| {
        config.token.secret = Some(issuer.shared());
        config.anonymous.subscribe = Some(true);
    })
    .await;
    let mut socket = open(&server, "/channels/a", Some("openline.v1")).await;
    object(&mut socket).await;
    let token = issuer.token(json!({}));
    for said in [
        format!(r#"{{"token":"{token}"}}"#),
        format!(r#" {{ "token" : "{}" }} "#, token.replace('.', "\\u002e")),
    ] {
        socket.send(said.as_str()).await.unwrap();
    }
    server.publish("a", "still open").await;
    assert_eq!(object(&mut socket).await["data"], "still open");
}

#[tokio::test]
async fn many_at_once_come_whole_and_in_order() {
    let server = Harness::start().await;
    let mut sockets = Vec::new();
    for _ in 0..20 {
        let mut socket = open(&server, "/channels/a", Some("openline.v1")).await;
        object(&mut socket).await;
        sockets.push(socket);
    }
    for number in 0..500 {
        server.publish("a", &number.to_string()).await;
    }
    for socket in &mut sockets {
        for number in 0..500 {
            assert_eq!(object(socket).await["data"], number.to_string());
        }
    }
}

#[tokio::test]
async fn one_that_is_slow_at_times_gets_all_in_order() {
    const COUNT: usize = 60;
    let server = Harness::with(|config| config.max_queue = 1 << 26).await;
    let mut slow = open(&server, "/channels/a", None).await;
    let mut quick = open(&server, "/channels/a", None).await;
    // More than the system takes of it at once.
    let filler = "x".repeat(200_000);
    for round in 0..3 {
        let begins = |number| format!("{round} {number} ");
        for number in 0..COUNT {
            server
                .publish("a", &format!("{}{filler}", begins(number)))
                .await;
            let got = next(&mut quick).await;
            assert!(got.as_text().unwrap().starts_with(&begins(number)));
        }
        for number in 0..COUNT {
            let got = next(&mut slow).await;
            assert!(got.as_text().unwrap().starts_with(&begins(number)));
        }
    }
}

#[tokio::test]
async fn attack_03_a_stalled_one_is_closed_and_costs_the_others_nothing_server() {
    const COUNT: usize = 100;
    let server = Harness::with(|config| config.max_queue = 1 << 20).await;
    let mut stalled = open(&server, "/channels/a", Some("openline.v1")).await;
    let mut quick = open(&server, "/channels/a", None).await;
    let filler = "x".repeat(200_000);
    for number in 0..COUNT {
        server.publish("a", &format!("{number} {filler}")).await;
        let got = next(&mut quick).await;
        assert!(got.as_text().unwrap().starts_with(&format!("{number} ")));
    }
    assert_eq!(object(&mut stalled).await["recovered"], true);
    let mut seen = 0;
    while let Some(message) = soon(stalled.next()).await {
        let envelope: Value = serde_json::from_str(message.unwrap().as_text().unwrap()).unwrap();
        assert!(
            envelope["data"]
                .as_str()
                .unwrap()
                .starts_with(&format!("{seen} "))
        );
        seen += 1;
    }
    assert!(seen < 200);
    assert_eq!(
        stalled.closed().unwrap().received.unwrap().code,
        CloseCode::TRY_AGAIN
    );
}

const KEY: (&str, &str) = ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==");
const VERSION: (&str, &str) = ("Sec-WebSocket-Version", "13");

/// The answer to an opening handshake that is good but for `headers`.
async fn handshake(server: &Harness, path: &str, headers: &[(&str, &str)]) -> Response {
    let mut all = vec![
        ("Connection", "Upgrade"),
        ("Upgrade", "websocket"),
        KEY,
        VERSION,
    ];
    all.retain(|(name, _)| !headers.iter().any(|(other, _)| other == name));
    all.extend(headers.iter().filter(|(_, value)| !value.is_empty()));
    server.get(path, &all).await
}

#[tokio::test]
async fn a_handshake_that_is_none_is_refused() {
    let server = Harness::start().await;
    server.publish("a", "1").await;
    for version in ["12", "14", ""] {
        let got = handshake(
            &server,
            "/channels/a",
            &[("Sec-WebSocket-Version", version)],
        )
        .await;
        got.problem(426, "handshake");
        assert_eq!(got.header("sec-websocket-version"), "13");
        assert_eq!(got.header("upgrade"), "websocket");
    }
    for key in ["", "short", "dGhlIHNhbXBsZSBub25jZQ"] {
        let got = handshake(&server, "/channels/a", &[("Sec-WebSocket-Key", key)]).await;
        got.problem(400, "handshake");
    }
    let got = handshake(&server, "/channels/a", &[("Connection", "close")]).await;
    let detail = got.problem(426, "handshake");
    assert!(detail.contains("`Connection: Upgrade`"), "{detail}");
    assert!(detail.contains("proxy"), "{detail}");
    handshake(&server, "/channels/a//b", &[])
        .await
        .problem(400, "bad-channel");
    // Another protocol's upgrade is declined by plain HTTP.
    let got = handshake(&server, "/channels/a", &[("Upgrade", "h2c")]).await;
    assert_eq!((got.status, got.text()), (200, "1"));
}

#[tokio::test]
async fn a_subprotocol_that_is_not_spoken_is_not_chosen() {
    let server = Harness::start().await;
    let mut connection = raw(&server, &[("Sec-WebSocket-Protocol", "chat, openline.v2")]).await;
    let (_, headers) = connection.head().await;
    assert_eq!(headers.get("sec-websocket-protocol"), None);
    let mut connection = raw(&server, &[("Sec-WebSocket-Protocol", "chat, openline.v1")]).await;
    let (_, headers) = connection.head().await;
    assert_eq!(headers["sec-websocket-protocol"], "openline.v1");
}

/// A connection on which a handshake was sent.
async fn raw(server: &Harness, headers: &[(&str, &str)]) -> Connection {
    let mut all = vec![
        ("Connection", "Upgrade"),
        ("Upgrade", "websocket"),
        KEY,
        VERSION,
    ];
    all.extend(headers);
    let mut connection = server.connect().await;
    connection
        .send(&request("GET", "/channels/a", &all, b""))
        .await;
    connection
}

#[tokio::test]
async fn attack_17_frames_that_break_the_protocol_end_one_connection_server() {
    let server = Harness::start().await;
    let mut good = open(&server, "/channels/b", None).await;
    for (frame, code) in [
        (&b"\x81\x01x"[..], 1002_u16),                 // not masked
        (b"\xc1\x81\0\0\0\0x", 1002),                  // a reserved bit
        (b"\x83\x81\0\0\0\0x", 1002),                  // a reserved opcode
        (b"\x81\xff\0\0\0\0\0\x10\0\0\0\0\0\0", 1009), // 1 MiB
        (b"\x81\x81\0\0\0\0\xff", 1007),               // not UTF-8
        (b"\x80\x81\0\0\0\0x", 1002),                  // nothing to continue
    ] {
        let mut connection = raw(&server, &[]).await;
        assert_eq!(connection.head().await.0, 101);
        connection.send(frame).await;
        let header = connection.bytes(4).await;
        assert_eq!(header[0], 0x88, "{frame:?}");
        assert_eq!(
            u16::from_be_bytes([header[2], header[3]]),
            code,
            "{frame:?}"
        );
        server.publish("b", "still here").await;
        assert_eq!(next(&mut good).await.as_text(), Some("still here"));
    }
}

#[tokio::test]
async fn frames_that_come_with_the_handshake_are_heard() {
    let server = Harness::start().await;
    let headers = [
        ("Connection", "Upgrade"),
        ("Upgrade", "websocket"),
        KEY,
        VERSION,
    ];
    let mut bytes = request("GET", "/channels/a", &headers, b"");
    bytes.extend(b"\x89\x82\0\0\0\0hi");
    let mut connection = server.connect().await;
    connection.send(&bytes).await;
    assert_eq!(connection.head().await.0, 101);
    assert_eq!(connection.bytes(4).await, b"\x8a\x02hi");
}
