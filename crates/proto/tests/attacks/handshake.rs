//! The opening handshake: heads without end, heads that mean two things, and answers that open nothing.

use std::time::Duration;

use http::{HeaderName, HeaderValue, Request, Response, StatusCode, Version};
use openline_proto::Config;
use openline_proto::handshake::{
    ClientOptions, HandshakeError, HeadError, HeadReader, Key, OriginPolicy, Rejection,
    ServerOptions, accept, request, verify,
};

use crate::memory;
use crate::pair::start;

const KEY: Key = Key::new(*b"the sample nonce");
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// The beginning of a request, and of an answer.
const BEGINNINGS: [&str; 2] = ["GET / HTTP/1.1\r\n", "HTTP/1.1 101 Switching Protocols\r\n"];

/// A request that is good but for these fields; without a value, the field is left out.
pub(crate) fn asking(changes: &[(&'static str, Option<&[u8]>)]) -> Request<()> {
    let uri = "ws://server.example.com/chat".parse().unwrap();
    let mut request = request(&uri, KEY, &ClientOptions::default()).unwrap();
    change(request.headers_mut(), changes);
    request
}

/// An answer that is good but for these fields.
pub(crate) fn answer(changes: &[(&'static str, Option<&[u8]>)]) -> Response<()> {
    let mut response = accept(&asking(&[]), &ServerOptions::default())
        .unwrap()
        .response;
    change(response.headers_mut(), changes);
    response
}

fn change(headers: &mut http::HeaderMap, changes: &[(&'static str, Option<&[u8]>)]) {
    for (name, value) in changes {
        headers.remove(*name);
        if let Some(value) = value {
            headers.insert(*name, HeaderValue::from_bytes(value).unwrap());
        }
    }
}

fn rejected(request: &Request<()>) -> Option<Rejection> {
    accept(request, &ServerOptions::default()).err()
}

fn judged(response: &Response<()>) -> Option<HandshakeError> {
    verify(response, KEY, &ClientOptions::default()).err()
}

/// Four million reads of one byte: looked at from the start each time, the head would be read eight million million times
/// over.
#[test]
fn attack_01_a_head_in_single_bytes_is_scanned_once() {
    let size = 4 << 20;
    let config = Config::default().max_head(size);
    for beginning in BEGINNINGS {
        let mut reader = HeadReader::new(&config, start());
        assert_eq!(reader.handle_input(beginning.as_bytes()), Ok(false));
        assert_eq!(reader.handle_input(b"X: "), Ok(false));
        for _ in beginning.len() + 3..size {
            assert_eq!(reader.handle_input(b"x"), Ok(false));
        }
        assert_eq!(
            reader.handle_input(b"x"),
            Err(HeadError::TooLong { limit: size })
        );
    }
}

#[test]
fn attack_01_a_head_that_never_ends_is_bounded_in_bytes_and_in_time() {
    let limit = 16 << 10;
    let config = Config::default();
    for beginning in BEGINNINGS {
        for size in [1, 1000] {
            let piece = vec![b'x'; size];
            let mut refused = None;
            memory(|| {
                let mut reader = HeadReader::new(&config, start());
                assert_eq!(reader.handle_input(beginning.as_bytes()), Ok(false));
                let mut fed = beginning.len();
                while refused.is_none() {
                    assert!(fed <= limit + size, "{fed} bytes were taken");
                    refused = reader.handle_input(&piece).err();
                    fed += size;
                }
            })
            // A buffer that doubles.
            .is_within(3 * limit + 2 * size, 0, (beginning, size));
            assert_eq!(refused, Some(HeadError::TooLong { limit }));
        }
    }
    let now = start();
    let reader = HeadReader::new(&config, now);
    assert_eq!(reader.poll_timeout(), now + Duration::from_secs(10));
}

/// Half of the fields dropped, `Upgrade` among them, once made a server read a field that was not there.
#[test]
fn attack_07_too_many_fields_are_an_error_and_none_is_dropped() {
    for beginning in BEGINNINGS {
        let head = |count: usize| {
            let fields = "a:\r\n".repeat(count);
            format!("{beginning}{fields}Upgrade: websocket\r\n\r\n")
        };
        let read = |count| {
            let mut reader = HeadReader::new(&Config::default(), start());
            assert_eq!(reader.handle_input(head(count).as_bytes()), Ok(true));
            match beginning.starts_with("GET") {
                true => reader
                    .into_request()
                    .map(|(head, _)| head.headers().clone()),
                false => reader
                    .into_response()
                    .map(|(head, _)| head.headers().clone()),
            }
        };
        let most = read(99).unwrap();
        assert_eq!(
            (most.len(), &most["upgrade"]),
            (100, &"websocket".parse().unwrap())
        );
        // As many as fit the limit in bytes: they are counted while they are read.
        for count in [100, 4000] {
            memory(|| assert_eq!(read(count), Err(HeadError::TooManyFields))).is_within(
                80 * 1024,
                0,
                (beginning, count),
            );
        }
    }
    assert_eq!(HeadError::TooManyFields.status(), 431);
}

#[test]
fn attack_07_a_field_that_is_missing_is_an_error_server() {
    for (name, rejection) in [
        ("upgrade", Rejection::NotWebSocket),
        ("connection", Rejection::NotWebSocket),
        ("host", Rejection::Host),
        ("sec-websocket-key", Rejection::Key),
        ("sec-websocket-version", Rejection::Version),
    ] {
        assert_eq!(rejected(&asking(&[(name, None)])), Some(rejection));
        assert_eq!(
            rejected(&asking(&[(name, Some(b""))])).is_some(),
            name != "host"
        );
    }
    let empty = Request::new(());
    assert_eq!(rejected(&empty), Some(Rejection::NotWebSocket));
}

#[test]
fn attack_07_a_field_that_is_missing_is_an_error_client() {
    for (name, error) in [
        ("upgrade", HandshakeError::Upgrade),
        ("connection", HandshakeError::Connection),
        ("sec-websocket-accept", HandshakeError::Accept),
    ] {
        for value in [None, Some(&b""[..])] {
            assert_eq!(judged(&answer(&[(name, value)])), Some(error.clone()));
        }
    }
    let mut bare = Response::new(());
    *bare.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    assert_eq!(judged(&bare), Some(HandshakeError::Upgrade));
}

#[test]
fn attack_12_no_line_break_gets_into_a_head_client() {
    let evil = "chat\r\nX-Evil: 1";
    let uri = "ws://h/".parse().unwrap();
    let options = ClientOptions::default().subprotocol(evil);
    assert!(request(&uri, KEY, &options).is_err());
    for byte in [b'\r', b'\n', 0, 0x7f] {
        assert!(
            HeaderValue::from_bytes(&[b'a', byte, b'b']).is_err(),
            "{byte}"
        );
        assert!(
            HeaderName::from_bytes(&[b'a', byte, b'b']).is_err(),
            "{byte}"
        );
        let path = format!("ws://h/a{}b", char::from(byte));
        assert!(path.parse::<http::Uri>().is_err(), "{byte}");
    }
}

/// A subprotocol of the program's own that is no token is never the answer, whatever a client offers.
#[test]
fn attack_12_no_line_break_gets_into_a_head_server() {
    let evil = "chat\r\nX-Evil: 1";
    let options = ServerOptions::default().subprotocol(evil);
    let offer = asking(&[("sec-websocket-protocol", Some(b"chat, X-Evil"))]);
    let accepted = accept(&offer, &options).unwrap();
    assert_eq!(accepted.subprotocol, None);
    let mut head = Vec::new();
    openline_proto::handshake::write_response(&accepted.response, &mut head);
    assert!(
        !String::from_utf8(head)
            .unwrap()
            .to_lowercase()
            .contains("evil")
    );
}

#[test]
fn attack_23_foreign_pages_are_refused_unless_they_are_named_server() {
    let foreign: [&[u8]; 7] = [
        b"https://evil.example",
        b"https://server.example.com.evil.example",
        b"https://server.example.com@evil.example",
        b"http://server.example.com:8080",
        b"null",
        b"",
        b"https://server.example.com\xff",
    ];
    for origin in foreign {
        let asked = asking(&[("origin", Some(origin))]);
        assert_eq!(rejected(&asked), Some(Rejection::Origin), "{origin:?}");
        let named = OriginPolicy::Also(vec!["https://app.example".into()]);
        let named = ServerOptions::default().origins(named);
        assert_eq!(accept(&asked, &named).err(), Some(Rejection::Origin));
    }
    assert_eq!(Rejection::Origin.status(), 403);
    // Two are none: a proxy may read the other one.
    let mut twice = asking(&[("origin", Some(b"https://server.example.com"))]);
    twice
        .headers_mut()
        .append("origin", HeaderValue::from_static("https://evil.example"));
    assert_eq!(rejected(&twice), Some(Rejection::Origin));
    assert_eq!(
        rejected(&asking(&[("origin", Some(b"https://server.example.com"))])),
        None
    );
}

/// Two messages in one: whoever believes the other length, or the other end of the head, reads a request of the attacker's.
#[test]
fn attack_24_a_request_with_a_body_is_refused_server() {
    for (name, value) in [
        ("content-length", "10"),
        ("content-length", "+0"),
        ("content-length", "0, 0"),
        ("transfer-encoding", "chunked"),
        ("transfer-encoding", "identity"),
        ("transfer-encoding", ""),
    ] {
        let asked = asking(&[(name, Some(value.as_bytes()))]);
        assert_eq!(rejected(&asked), Some(Rejection::Body), "{name}: {value}");
    }
    let mut twice = asking(&[("content-length", Some(b"0"))]);
    twice
        .headers_mut()
        .append("content-length", HeaderValue::from_static("5"));
    assert_eq!(rejected(&twice), Some(Rejection::Body));
    assert_eq!(rejected(&asking(&[("content-length", Some(b"0"))])), None);
}

/// `101` alone opens nothing, and nothing but `101` does.
#[test]
fn attack_24_only_a_whole_101_opens_client() {
    for status in [100, 102, 200, 204, 301, 400, 426, 500] {
        let mut answer = answer(&[]);
        *answer.status_mut() = StatusCode::from_u16(status).unwrap();
        let error = HandshakeError::Status(answer.status());
        assert_eq!(judged(&answer), Some(error));
    }
    for (name, value) in [
        ("content-length", "10"),
        ("transfer-encoding", "chunked"),
        ("transfer-encoding", "identity"),
    ] {
        let answer = answer(&[(name, Some(value.as_bytes()))]);
        assert_eq!(judged(&answer), Some(HandshakeError::Body));
    }
    // The answer to another's key: a cache's.
    let other = Key::new(*b"another's nonce!");
    let answered = verify(&answer(&[]), other, &ClientOptions::default());
    assert_eq!(answered, Err(HandshakeError::Accept));
    let mut twice = answer(&[]);
    twice
        .headers_mut()
        .append("sec-websocket-accept", HeaderValue::from_static(ACCEPT));
    assert_eq!(judged(&twice), Some(HandshakeError::Accept));
}

/// Fields that must stand once, twice: one reader takes the first and another the last.
#[test]
fn attack_24_fields_that_stand_twice_are_refused_server() {
    for (name, value, rejection) in [
        ("host", "evil.example", Rejection::Host),
        (
            "sec-websocket-key",
            "AAAAAAAAAAAAAAAAAAAAAA==",
            Rejection::Key,
        ),
        ("sec-websocket-version", "13", Rejection::Version),
    ] {
        let mut twice = asking(&[]);
        twice
            .headers_mut()
            .append(name, HeaderValue::from_static(value));
        assert_eq!(rejected(&twice), Some(rejection));
    }
}

#[test]
fn attack_24_heads_that_two_parsers_read_differently_are_refused() {
    for fields in [
        "A: b\nSMUGGLED: 1",
        "A: b\n\nSMUGGLED: 1",
        "A: b\n\r\nSMUGGLED: 1",
        "A: b\r\n\nC: d",
        "A: b\r\n folded: c",
        "A : b",
        "A: b\rC: d",
        "A: b\0c",
        "no field",
    ] {
        for beginning in BEGINNINGS {
            let head = format!("{beginning}Host: x\r\n{fields}\r\n\r\n");
            let mut reader = HeadReader::new(&Config::default(), start());
            assert_eq!(reader.handle_input(head.as_bytes()), Ok(true), "{fields:?}");
            let read = match beginning.starts_with("GET") {
                true => reader.into_request().map(|_| ()),
                false => reader.into_response().map(|_| ()),
            };
            assert!(
                matches!(read, Err(HeadError::Malformed(_))),
                "{fields:?}: {read:?}"
            );
        }
    }
}

/// Two clients compared the whole value, and refused what many servers send.
#[test]
fn defect_8_lists_in_connection_are_read_client() {
    for value in ["keep-alive, Upgrade", "upgrade,keep-alive", ", Upgrade ,"] {
        assert_eq!(
            judged(&answer(&[("connection", Some(value.as_bytes()))])),
            None
        );
    }
    for value in ["keep-alive", "upgraded", "not upgrade"] {
        let answer = answer(&[("connection", Some(value.as_bytes()))]);
        assert_eq!(judged(&answer), Some(HandshakeError::Connection));
    }
}

/// A server looked at neither, and opened a WebSocket for any request with a key.
#[test]
fn defect_9_connection_and_upgrade_are_looked_at_server() {
    for (name, value) in [
        ("connection", "keep-alive"),
        ("connection", "not-upgrade"),
        ("upgrade", "h2c"),
        ("upgrade", "websockets"),
        ("upgrade", "web socket"),
    ] {
        let asked = asking(&[(name, Some(value.as_bytes()))]);
        assert_eq!(rejected(&asked), Some(Rejection::NotWebSocket), "{value}");
    }
    let mut old = asking(&[]);
    *old.version_mut() = Version::HTTP_10;
    assert_eq!(rejected(&old), Some(Rejection::HttpVersion));
}
