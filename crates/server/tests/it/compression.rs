//! Publications that go compressed on WebSockets, where a namespace says so and the client can.

use openline::{Client, CloseCode, Config as Limits, Deflate, WebSocket};
use openline_server::{Config, Namespace};

use crate::common::{Connection, Harness, request, soon};

const OFFER: &str = "permessage-deflate; client_max_window_bits";
const AGREED: &str = "permessage-deflate; server_no_context_takeover; client_no_context_takeover; \
                      server_max_window_bits=12";

/// The first bits of a text message's only frame.
const PLAIN: u8 = 0x81;
const COMPRESSED: u8 = 0xc1;

/// `feed` compresses, but for `feed/plain`.
fn feed(config: &mut Config) {
    for (name, compression) in [("feed", true), ("feed/plain", false)] {
        let namespace = Namespace {
            compression: Some(compression),
            ..Namespace::default()
        };
        config.namespaces.insert(name.to_owned(), namespace);
    }
}

/// A raw WebSocket, and what was agreed on.
async fn raw(server: &Harness, path: &str, headers: &[(&str, &str)]) -> (Connection, String) {
    let upgrade = [
        ("Connection", "Upgrade"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("Sec-WebSocket-Version", "13"),
    ];
    let mut connection = server.connect().await;
    let headers = [&upgrade, headers].concat();
    connection.send(&request("GET", path, &headers, b"")).await;
    let (status, headers) = connection.head().await;
    assert_eq!(status, 101);
    let agreed = headers.get("sec-websocket-extensions").cloned();
    (connection, agreed.unwrap_or_default())
}

async fn offering(server: &Harness, path: &str) -> (Connection, String) {
    raw(server, path, &[("Sec-WebSocket-Extensions", OFFER)]).await
}

/// The next frame: its first byte, and its payload as it came.
async fn frame(connection: &mut Connection) -> (u8, Vec<u8>) {
    let header = connection.bytes(2).await;
    let length = match header[1] {
        126 => {
            let length = connection.bytes(2).await;
            usize::from(u16::from_be_bytes([length[0], length[1]]))
        }
        length => usize::from(length),
    };
    (header[0], connection.bytes(length).await)
}

/// Flights as JSON, of more than a kilobyte.
fn flights() -> String {
    let flight = |number| {
        format!("{{\"flight\":\"UA{number}\",\"gate\":\"C71\",\"status\":\"boarding\",\"late\":0}}")
    };
    let flights: Vec<_> = (1545..1570).map(flight).collect();
    format!("[{}]", flights.join(","))
}

async fn client(server: &Harness, path: &str) -> WebSocket {
    let url = format!("ws://{}{path}", server.address);
    let config = Limits::default().deflate(Some(Deflate::default()));
    let client = Client::new(&url).unwrap().config(config);
    soon(client.connect()).await.unwrap().0
}

#[tokio::test]
async fn it_is_agreed_on_where_everything_that_is_listened_to_is_to_be_compressed() {
    let server = Harness::with(feed).await;
    for (path, agreed) in [
        ("/channels/feed/x", AGREED),
        ("/channels/feed/x/*", AGREED),
        ("/channels/feed/plain/x", ""),
        ("/channels/feed/*", ""),
        ("/channels/else", ""),
        ("/channels/**", ""),
    ] {
        assert_eq!(offering(&server, path).await.1, agreed, "{path}");
    }
    let (_, unasked) = raw(&server, "/channels/feed/x", &[]).await;
    assert_eq!(unasked, "");
    let everywhere = Harness::with(|config| config.compression = true).await;
    assert_eq!(offering(&everywhere, "/channels/**").await.1, AGREED);
    let nowhere = Harness::start().await;
    assert_eq!(offering(&nowhere, "/channels/a").await.1, "");
}

#[tokio::test]
async fn a_reload_counts_for_connections_to_come() {
    let server = Harness::start().await;
    let (mut before, agreed) = offering(&server, "/channels/feed/x").await;
    assert_eq!(agreed, "");
    let mut config = Config {
        listen: "127.0.0.1:0".parse().unwrap(),
        ..Config::default()
    };
    feed(&mut config);
    assert_eq!(server.reload.apply(config).unwrap(), [""; 0]);
    let (mut after, agreed) = offering(&server, "/channels/feed/x").await;
    assert_eq!(agreed, AGREED);
    server.publish("feed/x", &flights()).await;
    assert_eq!(frame(&mut before).await.0, PLAIN);
    assert_eq!(frame(&mut after).await.0, COMPRESSED);
}

#[tokio::test]
async fn what_shrinks_goes_compressed_and_the_rest_as_it_is() {
    let server = Harness::with(feed).await;
    let (mut one, _) = offering(&server, "/channels/feed/x").await;
    let (mut other, _) = offering(&server, "/channels/feed/x").await;
    let (mut without, _) = raw(&server, "/channels/feed/x", &[]).await;
    let mut listener = client(&server, "/channels/feed/x").await;
    // Nothing in it comes twice.
    let dense: String = ('!'..='~').collect();
    for (body, kind) in [
        (flights(), COMPRESSED),
        (flights()[..63].to_owned(), PLAIN),
        (dense, PLAIN),
        (flights(), COMPRESSED),
    ] {
        server.publish("feed/x", &body).await;
        assert_eq!(
            frame(&mut without).await,
            (PLAIN, body.clone().into_bytes())
        );
        let (first, payload) = frame(&mut one).await;
        assert_eq!(first, kind, "{body}");
        if kind == COMPRESSED {
            assert!(payload.len() < body.len() / 4, "{}", payload.len());
        }
        assert_eq!(frame(&mut other).await, (first, payload));
        let heard = soon(listener.next()).await.unwrap().unwrap();
        assert_eq!(heard.as_text(), Some(body.as_str()));
    }
}

#[tokio::test]
async fn envelopes_and_what_was_missed_are_compressed_too() {
    let server = Harness::with(feed).await;
    server.publish("feed/x", &flights()).await;
    let headers = [
        ("Sec-WebSocket-Extensions", OFFER),
        ("Sec-WebSocket-Protocol", "openline.v1"),
    ];
    let (mut connection, agreed) = raw(&server, "/channels/feed/x", &headers).await;
    assert_eq!(agreed, AGREED);
    // Where the stream stands.
    frame(&mut connection).await;
    assert_eq!(frame(&mut connection).await.0, COMPRESSED);
    server.publish("feed/x", &flights()).await;
    assert_eq!(frame(&mut connection).await.0, COMPRESSED);
}

/// Bytes that each of a hundred listeners takes that ask for this, after publications that are large enough to compress.
fn memory(headers: &[(&str, &str)]) -> i64 {
    const COUNT: i64 = 100;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let (mut server, mut listeners) = (None, Vec::new());
    let mut listen = async |count| {
        let server = match &mut server {
            Some(server) => server,
            none => none.insert(Harness::with(feed).await),
        };
        let mut new = Vec::new();
        for _ in 0..count {
            new.push(raw(server, "/channels/feed/x", headers).await.0);
        }
        for _ in 0..3 {
            server.publish("feed/x", &flights()).await;
            for listener in &mut new {
                frame(listener).await;
            }
        }
        listeners.extend(new);
    };
    // What the thread keeps for all of them, and the channel's history, are there then.
    runtime.block_on(listen(1));
    let used = allocation_counter::measure(|| runtime.block_on(listen(COUNT)));
    used.bytes_current / COUNT
}

#[test]
fn a_listener_that_is_sent_compressed_frames_has_no_compressor_of_its_own() {
    let plain = memory(&[]);
    let compressed = memory(&[("Sec-WebSocket-Extensions", OFFER)]);
    // A compressor would be 100 KB at the least, and a window 32 KiB.
    assert!(compressed < plain + 2048, "{compressed}, {plain}");
}

#[tokio::test]
async fn attack_09_a_small_compressed_message_does_not_fill_the_memory_server() {
    let server = Harness::with(feed).await;
    let mut socket = client(&server, "/channels/feed/x").await;
    socket.send("x".repeat(8 << 20).as_str()).await.unwrap();
    assert!(soon(socket.next()).await.is_none());
    let closed = socket.closed().unwrap().received.unwrap();
    assert_eq!(closed.code, CloseCode::TOO_BIG);
}
