//! Connections that do not come about: what is told, and how soon.

use std::time::Duration;

use openline::{
    Client, Config, ConnectError, Error, HandshakeError, Proxy, ProxyError, RequestError, Timeout,
};
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use tokio::time::Instant;

use crate::servers::{answering, echo_server, serve};
use crate::{client, echoes};

#[tokio::test]
async fn a_refusal_is_told_at_once_and_whole() {
    let (server, _) = answering(
        "HTTP/1.1 503 Busy\r\nRetry-After: 7\r\nSet-Cookie: s3cret\r\nTransfer-Encoding: chunked\r\n\r\n\
         4\r\nbusy\r\n0\r\n\r\n",
    )
    .await;
    let error = client(&format!("ws://{server}/"))
        .connect()
        .await
        .unwrap_err();
    assert_eq!(error.retry_after().unwrap().as_secs(), 7);
    assert!(!format!("{error:?}").contains("s3cret"));
    let Error::Handshake { error, response } = error else {
        panic!("{error:?}")
    };
    assert_eq!(
        error,
        HandshakeError::Status(http::StatusCode::SERVICE_UNAVAILABLE)
    );
    assert_eq!(&response.body()[..], b"busy");
    // An answer that claims to be a WebSocket's and is none has no body to wait for.
    let (server, _) =
        answering("HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n").await;
    let result = client(&format!("ws://{server}/")).connect().await;
    assert!(matches!(
        result,
        Err(Error::Handshake {
            error: HandshakeError::Accept,
            ..
        })
    ));
}

#[tokio::test]
async fn every_address_that_was_tried_is_told() {
    // A port that was free a moment ago.
    let address = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let result = client(&format!("ws://{address}/")).connect().await;
    let Err(Error::Connect {
        authority,
        source: ConnectError::Attempts(attempts),
    }) = result
    else {
        panic!("{result:?}")
    };
    assert_eq!(authority, address.to_string());
    assert_eq!(attempts.len(), 1);
    assert_eq!(attempts[0].address, address);
    assert_eq!(
        attempts[0].error.kind(),
        std::io::ErrorKind::ConnectionRefused
    );
}

#[tokio::test]
async fn a_name_is_resolved() {
    let (server, _) = echo_server().await;
    let url = format!("ws://localhost:{}/", server.port());
    echoes(client(&url).connect().await.unwrap().0).await;
}

/// Accepts connections and is silent.
async fn silent() -> std::net::SocketAddr {
    serve(|mut stream| async move {
        let _ = stream.read_to_end(&mut Vec::new()).await;
    })
    .await
}

#[tokio::test(start_paused = true)]
async fn attack_30_the_way_and_the_handshake_have_deadlines_of_their_own_client() {
    let silent = silent().await;
    let config = Config::default().handshake_timeout(Duration::from_secs(7));
    let patient = client(&format!("ws://{silent}/"))
        .config(config)
        .connect_timeout(Duration::from_secs(3));
    let began = Instant::now();
    let result = patient.clone().connect().await;
    assert!(
        matches!(result, Err(Error::Timeout(Timeout::Handshake))),
        "{result:?}"
    );
    assert_eq!(began.elapsed().as_secs(), 7);

    for scheme in ["http", "socks5"] {
        let proxy = Proxy::new(&format!("{scheme}://{silent}")).unwrap();
        let began = Instant::now();
        let result = patient.clone().proxy(proxy).connect().await;
        let Err(Error::Proxy {
            error: ProxyError::Timeout,
            ..
        }) = result
        else {
            panic!("{result:?}")
        };
        assert_eq!(began.elapsed().as_secs(), 3);
    }
}

#[cfg(feature = "tls")]
#[tokio::test(start_paused = true)]
async fn attack_30_tls_has_a_deadline_client() {
    let silent = silent().await;
    let result = client(&format!("wss://{silent}/")).connect().await;
    assert!(
        matches!(result, Err(Error::Timeout(Timeout::Handshake))),
        "{result:?}"
    );
    let proxy = Proxy::new(&format!("https://{silent}")).unwrap();
    let result = client("ws://h/").proxy(proxy).connect().await;
    let Err(Error::Proxy {
        error: ProxyError::Timeout,
        ..
    }) = result
    else {
        panic!("{result:?}")
    };
}

#[tokio::test]
async fn a_wait_without_end_is_no_overflow() {
    let (server, _) = echo_server().await;
    let client = client(&format!("ws://{server}/")).connect_timeout(Duration::MAX);
    echoes(client.connect().await.unwrap().0).await;
}

#[test]
fn what_is_no_address_is_refused_before_anything_is_tried() {
    for wrong in [
        "http://example.org/",
        "/path",
        "example.org",
        "ws://127.0.0.1:99999/",
        "ws://127.0.0.1:port/",
        "ws://[::1]:65536/",
    ] {
        let refused = Client::new(wrong);
        assert!(
            matches!(refused, Err(Error::Request(RequestError::Address(_)))),
            "{wrong}: {refused:?}"
        );
    }
}
