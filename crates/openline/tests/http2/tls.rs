//! ALPN tells the versions apart.

use std::sync::Arc;

use openline::http2::Http2Error;
use openline::tls::{ClientConfig, ServerConfig, Setup, TlsAcceptor, rustls};
use openline::{Client, Error, Server};
use rustls::pki_types::PrivateKeyDer;
use tokio::net::TcpListener;

use crate::{Running, echoes, http2, start};

/// A server for `localhost`, and a client's configuration that trusts it.
fn certified() -> (TlsAcceptor, Arc<ClientConfig>) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let trust = Setup::default()
        .trust_only(made.cert.pem().as_bytes())
        .unwrap();
    (
        TlsAcceptor::from(Arc::new(config)),
        Arc::new(trust.build().unwrap()),
    )
}

fn client(server: &Running, tls: &Arc<ClientConfig>) -> Client {
    let url = server.url.replace("ws://127.0.0.1", "wss://localhost");
    Client::new(&(url + "request"))
        .unwrap()
        .tls(Arc::clone(tls))
}

#[tokio::test]
async fn one_port_serves_both_versions_each_to_who_asks_for_it() {
    let (acceptor, tls) = certified();
    let server = start(http2().tls(acceptor)).await;
    let connection = client(&server, &tls).connect_http2().await.unwrap();
    let (mut two, _) = connection.open(client(&server, &tls)).await.unwrap();
    let shown = two.next().await.unwrap().unwrap();
    let shown = shown.as_text().unwrap();
    assert!(shown.starts_with("CONNECT https://localhost:"), "{shown}");
    assert!(shown.ends_with("/request HTTP/2.0"), "{shown}");
    echoes(&mut two, "hello").await;

    let (mut one, _) = client(&server, &tls).connect().await.unwrap();
    let shown = one.next().await.unwrap().unwrap();
    assert_eq!(shown.as_text(), Some("GET /request HTTP/1.1"));
    echoes(&mut one, "hello").await;
}

#[tokio::test]
async fn a_server_that_agrees_on_another_version_is_told_so() {
    let (acceptor, tls) = certified();
    let mut config = ServerConfig::clone(acceptor.config());
    for protocols in [vec![b"http/1.1".to_vec()], vec![]] {
        config.alpn_protocols = protocols;
        let acceptor = TlsAcceptor::from(Arc::new(config.clone()));
        let server = start(Server::default().tls(acceptor)).await;
        let error = client(&server, &tls).connect_http2().await.unwrap_err();
        assert!(
            matches!(error, Error::Http2(Http2Error::NotSpoken)),
            "{error:?}"
        );
        let (mut ws, _) = client(&server, &tls).connect().await.unwrap();
        ws.next().await.unwrap().unwrap();
        echoes(&mut ws, "hello").await;
    }
}

#[tokio::test]
async fn a_server_of_http_1_in_the_clear_is_told_as_well() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}/", listener.local_addr().unwrap());
    let handler = async |mut ws: openline::WebSocket, _| ws.send("never").await;
    tokio::spawn(Server::default().run(listener, std::future::pending(), handler));
    let connected = Client::new(&url).unwrap().connect_http2().await;
    assert!(
        matches!(connected, Err(Error::Http2(Http2Error::NotSpoken))),
        "{connected:?}"
    );
}
