//! TLS on the port, and its renewal.

use std::path::PathBuf;

use openline::Client;
use openline_server::{BindError, Config};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::common::{Harness, Pair, request, soon};

/// The status of an answer on a connection that stays.
async fn get(stream: &mut TlsStream<TcpStream>) -> String {
    stream
        .write_all(&request("HEAD", "/channels/a", &[], b""))
        .await
        .unwrap();
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        bytes.push(soon(stream.read_u8()).await.unwrap());
    }
    String::from_utf8(bytes[9..12].to_vec()).unwrap()
}

#[tokio::test]
async fn tls_is_spoken_and_renewed_without_a_dropped_connection() {
    let first = Pair::write("renewed");
    let mut config = Config::default();
    let server = Harness::with(|own| {
        first.set(own);
        config = own.clone();
    })
    .await;
    server.publish("a", "1").await;
    let mut old = first.connect(server.address).await.unwrap();
    assert_eq!(old.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
    assert_eq!(get(&mut old).await, "200");
    let url = format!("wss://localhost:{}/channels/a", server.address.port());
    let client = Client::new(&url).unwrap().tls(first.client(&[]));
    let (mut socket, _) = soon(client.connect()).await.unwrap();
    let said = soon(socket.next()).await.unwrap().unwrap();
    assert_eq!(said.as_text(), Some("1"));

    let second = Pair::write("renewed");
    server.reload.apply(config.clone()).unwrap();
    let mut new = second.connect(server.address).await.unwrap();
    assert_eq!(get(&mut new).await, "200");
    first.connect(server.address).await.unwrap_err();
    assert_eq!(get(&mut old).await, "200");
    server.publish("a", "2").await;
    let said = soon(socket.next()).await.unwrap().unwrap();
    assert_eq!(said.as_text(), Some("2"));

    // What cannot be used changes nothing.
    std::fs::write(&first.key, "nonsense").unwrap();
    let error = server.reload.apply(config).unwrap_err();
    assert!(matches!(error, BindError::Tls(_)), "{error}");
    second.connect(server.address).await.unwrap();
}

#[tokio::test]
async fn what_is_not_tls_gets_nothing_on_a_tls_port_and_silence_has_an_end() {
    let pair = Pair::write("deadline");
    let server = Harness::with(|config| {
        pair.set(config);
        config.header_timeout = std::time::Duration::from_millis(200);
    })
    .await;
    for begun in [&b""[..], b"\x16\x03\x01\x02\x00\x01"] {
        let mut connection = server.connect().await;
        connection.send(begun).await;
        assert!(connection.is_gone().await);
    }
    let mut plain = TcpStream::connect(server.address).await.unwrap();
    plain
        .write_all(&request("GET", "/channels/a", &[], b""))
        .await
        .unwrap();
    let mut answer = Vec::new();
    let _ = soon(plain.read_to_end(&mut answer)).await;
    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
    // Others are served.
    let mut stream = pair.connect(server.address).await.unwrap();
    assert_eq!(get(&mut stream).await, "404");
}

#[tokio::test]
async fn half_a_pair_is_refused() {
    let pair = Pair::write("half");
    for (cert, key) in [
        (Some(pair.cert.clone()), None),
        (None, Some(pair.key.clone())),
        (Some(pair.key.clone()), Some(pair.key.clone())),
        (Some(pair.cert.clone()), Some(pair.cert.clone())),
        (
            Some(pair.cert.clone()),
            Some(PathBuf::from("there/is/none.pem")),
        ),
    ] {
        let mut config = Config::default();
        (config.tls.cert, config.tls.key) = (cert, key);
        let error = config.check().unwrap_err();
        assert!(matches!(error, BindError::Tls(_)), "{error}");
    }
}
