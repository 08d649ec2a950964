//! Openings that are not meant to be one.

use openline::{Acceptor, Client, Error, HandshakeError, OriginPolicy, Rejection, Stream};
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

use crate::common::{REQUEST, opening_answer, read_head};

/// All that a server says to these bytes, and what it tells its program.
async fn asked(acceptor: Acceptor, bytes: &str) -> (String, Result<(), Error>) {
    let (here, mut there) = duplex(1 << 16);
    there.write_all(bytes.as_bytes()).await.unwrap();
    there.shutdown().await.unwrap();
    let result = acceptor.accept(Stream::new(here)).await.map(drop);
    let mut said = String::new();
    there.read_to_string(&mut said).await.unwrap();
    (said, result)
}

#[tokio::test]
async fn attack_23_foreign_pages_are_refused_by_default_server() {
    for origin in [
        "https://evil.example",
        "null",
        "http://x.evil.example",
        "http://x:81",
    ] {
        let request = REQUEST.replace("\r\n\r\n", &format!("\r\nOrigin: {origin}\r\n\r\n"));
        let (said, result) = asked(Acceptor::default(), &request).await;
        assert!(said.starts_with("HTTP/1.1 403 Forbidden\r\n"), "{said}");
        assert!(matches!(result, Err(Error::Rejected(Rejection::Origin))));
    }
    let own = REQUEST.replace("\r\n\r\n", "\r\nOrigin: http://x\r\n\r\n");
    assert!(asked(Acceptor::default(), &own).await.1.is_ok());
    let named = Acceptor::default().origins(OriginPolicy::Also(vec!["https://app.example".into()]));
    let app = REQUEST.replace("\r\n\r\n", "\r\nOrigin: https://app.example\r\n\r\n");
    assert!(asked(named, &app).await.1.is_ok());
}

/// A proxy that does not look at the answer takes the connection for a tunnel; what comes then must not be a request.
#[tokio::test]
async fn attack_24_what_follows_a_refused_request_is_no_second_one_server() {
    for wrong in [
        REQUEST.replace("Version: 13", "Version: 1337"),
        REQUEST.replace("Upgrade: websocket\r\n", ""),
        REQUEST.replace("Host: x", "Host: x\r\nContent-Length: 5"),
        REQUEST.replace("Host: x", "Host: x\r\nTransfer-Encoding: chunked"),
        REQUEST.replace("HTTP/1.1", "HTTP/1.0"),
        REQUEST.replace("Host: x\r\n", ""),
        REQUEST.replace("Host: x", "Host: x\nSmuggled: 1"),
    ] {
        let (said, result) = asked(Acceptor::default(), &(wrong + REQUEST)).await;
        assert!(result.is_err(), "{said}");
        let answers = said.lines().filter(|line| line.starts_with("HTTP/1.1 "));
        assert_eq!(answers.count(), 1, "{said}");
        assert!(!said.starts_with("HTTP/1.1 101"), "{said}");
        assert!(
            said.to_lowercase().contains("\r\nconnection: close\r\n"),
            "{said}"
        );
    }
}

/// What a client makes of an answer, which is made out of the right one.
async fn answered(answer: impl FnOnce(String) -> String) -> HandshakeError {
    let (here, mut there) = duplex(1 << 16);
    let talk = async {
        let request = read_head(&mut there).await;
        let answer = answer(opening_answer(&request));
        there.write_all(answer.as_bytes()).await.unwrap();
        there.shutdown().await.unwrap();
    };
    let client = Client::new("ws://x/").unwrap();
    let (result, ()) = tokio::join!(client.connect_over(Stream::new(here)), talk);
    match result {
        Err(Error::Handshake { error, .. }) => error,
        other => panic!("{other:?}"),
    }
}

/// Frames behind an answer that opens nothing are nobody's message.
#[tokio::test]
async fn attack_24_only_a_whole_101_opens_client() {
    let frame = "\r\n\u{1}\u{5}hello";
    for status in ["200 OK", "102 X", "204 X", "304 X", "426 X"] {
        let error = answered(|good| good.replace("101 Switching Protocols", status) + frame).await;
        assert!(matches!(error, HandshakeError::Status(_)), "{error:?}");
    }
    for (field, error) in [
        ("upgrade", HandshakeError::Upgrade),
        ("connection", HandshakeError::Connection),
        ("sec-websocket-accept", HandshakeError::Accept),
    ] {
        let other = format!("\r\nx-{field}: ");
        let wrong = |good: String| good.replace(&format!("\r\n{field}: "), &other) + frame;
        assert_eq!(answered(wrong).await, error);
    }
    for field in ["Content-Length: 5", "Transfer-Encoding: chunked"] {
        let wrong = |good| format!("{good}{field}\r\n{frame}");
        assert_eq!(answered(wrong).await, HandshakeError::Body);
    }
}

#[tokio::test]
async fn defect_8_a_server_that_keeps_alive_as_well_is_understood_client() {
    let (here, mut there) = duplex(1 << 16);
    let talk = async {
        let request = read_head(&mut there).await;
        let answer = opening_answer(&request)
            .replace("connection: upgrade", "Connection: keep-alive, Upgrade");
        assert!(answer.contains("keep-alive"));
        there.write_all((answer + "\r\n").as_bytes()).await.unwrap();
    };
    let client = Client::new("ws://x/").unwrap();
    let (result, ()) = tokio::join!(client.connect_over(Stream::new(here)), talk);
    assert!(result.is_ok(), "{result:?}");
}

#[tokio::test]
async fn defect_9_a_request_that_asks_for_no_upgrade_gets_none_server() {
    for wrong in [
        REQUEST.replace("Connection: upgrade", "Connection: keep-alive"),
        REQUEST.replace("Upgrade: websocket", "Upgrade: h2c"),
    ] {
        let (said, result) = asked(Acceptor::default(), &wrong).await;
        assert!(said.starts_with("HTTP/1.1 426 "), "{said}");
        assert!(matches!(
            result,
            Err(Error::Rejected(Rejection::NotWebSocket))
        ));
    }
}

#[tokio::test]
async fn attack_28_compression_is_neither_offered_nor_granted_by_default() {
    let offer = "\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n";
    let (said, result) = asked(Acceptor::default(), &REQUEST.replace("\r\n\r\n", offer)).await;
    assert!(result.is_ok());
    assert!(
        !said.to_lowercase().contains("permessage-deflate"),
        "{said}"
    );
    let (here, mut there) = duplex(1 << 16);
    let client = Client::new("ws://x/").unwrap();
    let ask = tokio::spawn(async move { client.connect_over(Stream::new(here)).await.map(drop) });
    let request = read_head(&mut there).await;
    assert!(!request.contains("sec-websocket-extensions"), "{request}");
    ask.abort();
}
