//! The opening handshake over sockets: refusals, slow and endless heads, answers that open nothing, TLS.

mod common;

use common::{REQUEST, opening_answer, read_head};
use openline::{Acceptor, Client, Config, Error, HandshakeError, HeadError, Rejection, Timeout};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::net::{TcpListener, TcpStream};

/// What a server answers to `request`, and what it tells its program.
async fn answer(request: &str) -> (String, Result<(), Error>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut stream = TcpStream::connect(listener.local_addr().unwrap())
        .await
        .unwrap();
    let accept = async {
        let (stream, _) = listener.accept().await.unwrap();
        openline::accept(stream).await.map(drop)
    };
    let ask = async {
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut head = vec![0; 4096];
        let count = stream.read(&mut head).await.unwrap();
        stream.shutdown().await.unwrap();
        String::from_utf8(head[..count].to_vec()).unwrap()
    };
    tokio::join!(ask, accept)
}

#[tokio::test]
async fn refusals_reach_the_client_as_http() {
    let (said, result) = answer("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(
        said.starts_with("HTTP/1.1 426 Upgrade Required\r\n"),
        "{said}"
    );
    assert!(
        said.contains("sec-websocket-version: 13\r\n") && said.contains("connection: close\r\n"),
        "{said}"
    );
    assert!(matches!(
        result,
        Err(Error::Rejected(Rejection::NotWebSocket))
    ));

    let (said, result) = answer(&REQUEST.replace("Version: 13", "Version: 7")).await;
    assert!(said.starts_with("HTTP/1.1 426"), "{said}");
    assert!(matches!(result, Err(Error::Rejected(Rejection::Version))));

    let (said, _) = answer(&REQUEST.replace("dGhlIHNhbXBsZSBub25jZQ==", "tooshort")).await;
    assert!(
        said.starts_with("HTTP/1.1 400") && said.ends_with('\n'),
        "{said}"
    );

    let (said, result) = answer("this is not HTTP\r\n\r\n").await;
    assert!(said.starts_with("HTTP/1.1 400"), "{said}");
    assert!(matches!(result, Err(Error::Head(HeadError::Malformed(_)))));

    let (said, _) = answer(REQUEST).await;
    assert!(
        said.starts_with("HTTP/1.1 101 Switching Protocols\r\n"),
        "{said}"
    );
    assert!(
        said.contains("sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"),
        "{said}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_refused_client_that_stays_does_not_change_what_is_told() {
    for (request, status) in [
        ("GET / HTTP/1.1\r\nHost: x\r\n\r\n", "426"),
        ("this is not HTTP\r\n\r\n", "400"),
    ] {
        let (mut here, there) = tokio::io::duplex(4096);
        here.write_all(request.as_bytes()).await.unwrap();
        let began = tokio::time::Instant::now();
        let result = openline::accept(openline::Stream::new(there)).await;
        assert!(
            matches!(result, Err(Error::Rejected(_) | Error::Head(_))),
            "{result:?}"
        );
        assert!(began.elapsed().as_secs() <= 2, "{:?}", began.elapsed());
        let mut said = String::new();
        here.read_to_string(&mut said).await.unwrap();
        assert!(said.starts_with(&format!("HTTP/1.1 {status} ")), "{said}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_was_delivered_is_no_error_though_the_client_stays() {
    let (mut here, there) = tokio::io::duplex(4096);
    here.write_all(REQUEST.as_bytes()).await.unwrap();
    let stream = openline::Stream::new(there);
    let opening = Acceptor::default().read(stream).await.unwrap();
    let refused = opening.reject(http::Response::new("not here")).await;
    assert!(refused.is_ok(), "{refused:?}");
}

#[tokio::test(start_paused = true)]
async fn attack_30_an_answer_that_is_not_taken_runs_into_the_deadline_server() {
    let (mut here, there) = tokio::io::duplex(REQUEST.len());
    here.write_all(REQUEST.as_bytes()).await.unwrap();
    let stream = openline::Stream::new(there);
    let opening = Acceptor::default().read(stream).await.unwrap();
    let refused = opening.reject(http::Response::new("x".repeat(1000))).await;
    assert!(
        matches!(refused, Err(Error::Timeout(Timeout::Handshake))),
        "{refused:?}"
    );
}

#[tokio::test]
async fn small_messages_do_not_wait_for_acknowledgements() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap())
        .await
        .unwrap();
    client.write_all(REQUEST.as_bytes()).await.unwrap();
    let (stream, _) = listener.accept().unwrap();
    let same_socket = stream.try_clone().unwrap();
    stream.set_nonblocking(true).unwrap();
    let stream = TcpStream::from_std(stream).unwrap();
    let _ws = openline::accept(stream).await.unwrap();
    assert!(same_socket.nodelay().unwrap(), "Nagle's algorithm is on");
}

#[tokio::test]
async fn attack_01_an_endless_head_is_cut_off_server() {
    let (said, result) = answer(&format!("GET / HTTP/1.1\r\nX: {}", "x".repeat(20_000))).await;
    assert!(said.starts_with("HTTP/1.1 431"), "{said}");
    assert!(matches!(
        result,
        Err(Error::Head(HeadError::TooLong { limit: 16_384 }))
    ));
}

#[tokio::test]
async fn attack_07_a_head_with_too_many_fields_is_refused_server() {
    let (said, result) = answer(&format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(101))).await;
    assert!(said.starts_with("HTTP/1.1 431"), "{said}");
    assert!(matches!(result, Err(Error::Head(HeadError::TooManyFields))));
}

#[tokio::test(start_paused = true)]
async fn attack_30_a_request_that_never_ends_runs_into_the_deadline_server() {
    let (mut here, there) = tokio::io::duplex(1000);
    let began = tokio::time::Instant::now();
    let drip = async {
        for byte in REQUEST.bytes() {
            tokio::time::sleep(std::time::Duration::from_secs(1)).await;
            if here.write_all(&[byte]).await.is_err() {
                break;
            }
        }
    };
    let accept = openline::accept(openline::Stream::new(there));
    let (_, result) = tokio::join!(drip, accept);
    assert!(matches!(result, Err(Error::Timeout(Timeout::Handshake))));
    assert!(began.elapsed().as_secs() <= 11);
}

#[tokio::test]
async fn the_request_is_seen_before_it_is_answered() {
    let (here, there) = tokio::io::duplex(4096);
    let server = async {
        let opening = Acceptor::default()
            .read(openline::Stream::new(there))
            .await
            .unwrap();
        assert_eq!(opening.request().uri(), "/secret?key=1");
        assert_eq!(opening.request().headers()["authorization"], "Bearer wrong");
        let refusal = http::Response::builder()
            .status(401)
            .header("www-authenticate", "Bearer");
        opening
            .reject(refusal.body("who are you?").unwrap())
            .await
            .unwrap();
    };
    let client = Client::new("ws://h/secret?key=1").unwrap();
    let bearer = http::HeaderValue::from_static("Bearer wrong");
    let connect = client
        .header(http::header::AUTHORIZATION, bearer)
        .connect_over(openline::Stream::new(here));
    let ((), result) = tokio::join!(server, connect);
    let Err(Error::Handshake { error, response }) = result else {
        panic!("accepted")
    };
    assert_eq!(
        error,
        HandshakeError::Status(http::StatusCode::UNAUTHORIZED)
    );
    assert_eq!(response.headers()["www-authenticate"], "Bearer");
    assert_eq!(&response.body()[..], b"who are you?");
}

/// What a client makes of an answer, which is made out of the right one.
async fn client_reads(answer: impl FnOnce(String) -> String) -> Result<(), Error> {
    let (here, mut there) = tokio::io::duplex(1 << 20);
    let server = async {
        let request = read_head(&mut there).await;
        let answer = answer(opening_answer(&request));
        there.write_all(answer.as_bytes()).await.unwrap();
        there.shutdown().await.unwrap();
    };
    let connect = Client::new("ws://x/")
        .unwrap()
        .connect_over(openline::Stream::new(here));
    let ((), result) = tokio::join!(server, connect);
    result.map(drop)
}

#[tokio::test]
async fn a_client_opens_nothing_on_a_wrong_answer() {
    assert!(client_reads(|good| good + "\r\n").await.is_ok());
    let error = |result| match result {
        Err(Error::Handshake { error, .. }) => error,
        other => panic!("{other:?}"),
    };
    let wrong = client_reads(|good| good.replace("accept: ", "accept: A") + "\r\n").await;
    assert_eq!(error(wrong), HandshakeError::Accept);
    for (field, expected) in [
        (
            "Sec-WebSocket-Extensions: permessage-deflate",
            HandshakeError::Extension,
        ),
        ("Sec-WebSocket-Protocol: chat", HandshakeError::Subprotocol),
        ("Content-Length: 100", HandshakeError::Body),
    ] {
        let wrong = client_reads(|good| format!("{good}{field}\r\n\r\n")).await;
        assert_eq!(error(wrong), expected);
    }
    let cut = client_reads(|_| "HTTP/1.1 101 X\r\n".into()).await;
    assert!(matches!(cut, Err(Error::Head(HeadError::Eof))), "{cut:?}");
}

#[tokio::test(start_paused = true)]
async fn attack_30_an_answer_that_never_comes_runs_into_the_deadline_client() {
    let (here, _there): (DuplexStream, DuplexStream) = tokio::io::duplex(4096);
    let client = Client::new("ws://x/").unwrap().config(Config::default());
    let result = client.connect_over(openline::Stream::new(here)).await;
    assert!(matches!(result, Err(Error::Timeout(Timeout::Handshake))));
}

#[cfg(feature = "tls")]
mod tls {
    use super::*;
    use openline::tls::TlsAcceptor;
    use openline::tls::rustls::crypto::ring;
    use openline::tls::rustls::pki_types::PrivateKeyDer;
    use openline::tls::rustls::{ClientConfig, RootCertStore, ServerConfig};
    use std::sync::Arc;

    /// A server with a certificate for `localhost`, and the client's configuration that trusts it.
    async fn server() -> (u16, ClientConfig) {
        let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let key = PrivateKeyDer::try_from(certified.signing_key.serialize_der()).unwrap();
        let provider = Arc::new(ring::default_provider());
        let config = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certified.cert.der().clone()], key)
            .unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(certified.cert.der().clone()).unwrap();
        let client = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else {
                        return;
                    };
                    let mut ws = openline::accept(stream).await.unwrap();
                    while let Some(Ok(message)) = ws.next().await {
                        ws.send(message).await.unwrap();
                    }
                });
            }
        });
        (port, client)
    }

    #[tokio::test]
    async fn wss_carries_messages_whole_and_in_halves() {
        let (port, config) = server().await;
        let client = Client::new(&format!("wss://localhost:{port}/"))
            .unwrap()
            .tls(config);
        let (mut ws, _) = client.connect().await.unwrap();
        for size in [5, 100_000] {
            ws.send(vec![7; size]).await.unwrap();
            assert_eq!(ws.next().await.unwrap().unwrap().as_bytes().len(), size);
        }
        let (mut sender, mut receiver) = ws.split();
        let reader = tokio::spawn(async move {
            let mut count = 0;
            while let Some(message) = receiver.next().await {
                count += message.unwrap().as_bytes().len();
            }
            count
        });
        for _ in 0..50 {
            sender.send(vec![7; 50_000]).await.unwrap();
        }
        sender.close(openline::CloseCode::NORMAL, "").await.unwrap();
        assert_eq!(reader.await.unwrap(), 50 * 50_000);
    }

    #[tokio::test]
    async fn attack_16_a_certificate_that_is_not_trusted_or_of_another_name_is_refused_client() {
        let (port, config) = server().await;
        let stranger = Client::new(&format!("wss://localhost:{port}/"))
            .unwrap()
            .connect()
            .await;
        assert!(matches!(stranger, Err(Error::Tls(_))), "{stranger:?}");
        let other = Client::new(&format!("wss://127.0.0.1:{port}/"))
            .unwrap()
            .tls(config)
            .connect()
            .await;
        assert!(matches!(other, Err(Error::Tls(_))), "{other:?}");
    }
}
