//! TLS, with and without proxies.

use std::net::SocketAddr;
use std::sync::Arc;

use openline::tls::{self, ServerConfig, Setup, TlsAcceptor, rustls};
use openline::{Error, Proxy, ProxyError, RedirectError};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::servers::{
    Asked, echo, echo_server, http_proxy, read_head, redirecting, relay_http, serve, socks_proxy,
};
use crate::{client, echoes, redirect_error};

struct Identity {
    pem: String,
    certificate: CertificateDer<'static>,
    key: Vec<u8>,
}

fn identity(name: &str) -> Identity {
    let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
    Identity {
        pem: made.cert.pem() + &made.signing_key.serialize_pem(),
        certificate: made.cert.der().clone(),
        key: made.signing_key.serialize_der(),
    }
}

impl Identity {
    /// Accepts as this; clients must be the one that is given.
    fn acceptor(&self, client: Option<&Self>) -> TlsAcceptor {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .unwrap();
        let builder = match client {
            None => builder.with_no_client_auth(),
            Some(client) => {
                let mut roots = rustls::RootCertStore::empty();
                roots.add(client.certificate.clone()).unwrap();
                let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider);
                builder.with_client_cert_verifier(verifier.build().unwrap())
            }
        };
        let key = PrivateKeyDer::try_from(self.key.clone()).unwrap();
        let mut config = builder
            .with_single_cert(vec![self.certificate.clone()], key)
            .unwrap();
        // The server would rather speak HTTP/2.
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        TlsAcceptor::from(Arc::new(config))
    }

    fn trusting(&self) -> tls::ClientConfig {
        Setup::default()
            .trust_only(self.pem.as_bytes())
            .unwrap()
            .build()
            .unwrap()
    }
}

async fn secure_echo(acceptor: TlsAcceptor) -> (SocketAddr, Asked) {
    let asked = Asked::default();
    let heard = asked.clone();
    let address = serve(move |stream| {
        let (acceptor, heard) = (acceptor.clone(), heard.clone());
        async move {
            if let Ok(stream) = acceptor.accept(stream).await {
                assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
                echo(stream, heard).await;
            }
        }
    })
    .await;
    (address, asked)
}

#[tokio::test]
async fn attack_16_through_a_proxy_the_certificate_is_the_servers_client() {
    let server = identity("server.invalid");
    let (address, _) = secure_echo(server.acceptor(None)).await;
    let (http, tunnels) = http_proxy(address, None).await;
    let (socks, _) = socks_proxy(address).await;
    for through in [format!("http://{http}"), format!("socks5://{socks}")] {
        let proxy = Proxy::new(&through).unwrap();
        let good = client("wss://server.invalid/")
            .tls(server.trusting())
            .proxy(proxy.clone());
        echoes(good.connect().await.unwrap().0).await;
        let other = client("wss://other.invalid/")
            .tls(server.trusting())
            .proxy(proxy);
        let result = other.connect().await;
        let Err(error @ Error::Tls(_)) = result else {
            panic!("{result:?}")
        };
        assert!(!error.is_transient(), "{error:?}");
    }
    assert!(tunnels.all()[0].starts_with("connect server.invalid:443 "));
}

#[tokio::test]
async fn through_a_proxy_behind_tls() {
    let (server, proxy) = (identity("server.invalid"), identity("localhost"));
    let (address, _) = secure_echo(server.acceptor(None)).await;
    let acceptor = proxy.acceptor(None);
    let port = serve(move |stream| {
        let acceptor = acceptor.clone();
        async move {
            if let Ok(stream) = acceptor.accept(stream).await {
                let _ = relay_http(stream, move |_| address, None, Asked::default()).await;
            }
        }
    })
    .await
    .port();
    let through = Proxy::new(&format!("https://localhost:{port}")).unwrap();
    let good = client("wss://server.invalid/").tls(server.trusting());
    let trusted = through.clone().tls(proxy.trusting());
    echoes(good.clone().proxy(trusted).connect().await.unwrap().0).await;
    let result = good.proxy(through).connect().await;
    assert!(
        matches!(
            result,
            Err(Error::Proxy {
                error: ProxyError::Tls(_),
                ..
            })
        ),
        "{result:?}"
    );
}

#[tokio::test]
async fn a_client_shows_its_certificate() {
    let (server, alice, eve) = (identity("localhost"), identity("alice"), identity("eve"));
    let (address, _) = secure_echo(server.acceptor(Some(&alice))).await;
    let url = format!("wss://localhost:{}/", address.port());
    let with = |who: &Identity| {
        let setup = Setup::default().trust_only(server.pem.as_bytes()).unwrap();
        let setup = setup.identity(who.pem.as_bytes()).unwrap();
        client(&url).tls(setup.build().unwrap())
    };
    echoes(with(&alice).connect().await.unwrap().0).await;
    assert!(with(&eve).connect().await.is_err());
    assert!(client(&url).tls(server.trusting()).connect().await.is_err());
    assert!(matches!(
        Setup::default().identity(b"nothing"),
        Err(Error::Tls(_))
    ));
    assert!(matches!(
        Setup::default().trust_only(b"nothing"),
        Err(Error::Tls(_))
    ));
}

#[tokio::test]
async fn attack_21_nothing_of_wss_goes_in_the_clear_client() {
    let said = Arc::new(std::sync::Mutex::new(Vec::new()));
    let heard = Arc::clone(&said);
    let plain = serve(move |mut stream| {
        let heard = Arc::clone(&heard);
        async move {
            let mut bytes = vec![0; 4096];
            let count = stream.read(&mut bytes).await.unwrap();
            heard.lock().unwrap().push(bytes[..count].to_vec());
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        }
    })
    .await;
    let (http, _) = http_proxy(plain, None).await;
    let (socks, _) = socks_proxy(plain).await;
    let url = format!("wss://alice:s3cret@localhost:{}/path", plain.port());
    assert!(matches!(client(&url).connect().await, Err(Error::Tls(_))));
    for through in [format!("http://{http}"), format!("socks5://{socks}")] {
        let client = client(&url).proxy(Proxy::new(&through).unwrap());
        assert!(matches!(client.connect().await, Err(Error::Tls(_))));
    }
    let said = said.lock().unwrap();
    assert_eq!(said.len(), 3);
    for bytes in said.iter() {
        assert_eq!(bytes[..2], [0x16, 3], "a TLS handshake record");
        let text = String::from_utf8_lossy(bytes);
        assert!(!text.contains("/path") && !text.contains("GET"), "{text}");
    }
}

#[tokio::test]
async fn attack_26_wss_does_not_step_down_to_ws_client() {
    let (plain, asked) = echo_server().await;
    let server = identity("localhost");
    let acceptor = server.acceptor(None);
    let answer =
        format!("HTTP/1.1 302 X\r\nLocation: http://{plain}/\r\nContent-Length: 0\r\n\r\n");
    let address = serve(move |stream| {
        let (acceptor, answer) = (acceptor.clone(), answer.clone());
        async move {
            let Ok(mut stream) = acceptor.accept(stream).await else {
                return;
            };
            read_head(&mut stream).await;
            let _ = stream.write_all(answer.as_bytes()).await;
            let _ = stream.read_to_end(&mut Vec::new()).await;
        }
    })
    .await;
    let client = client(&format!("wss://localhost:{}/", address.port())).tls(server.trusting());
    let result = client.redirects(5).connect().await;
    let location = format!("ws://{plain}/");
    assert_eq!(
        redirect_error(result),
        RedirectError::Downgrade { location }
    );
    assert!(asked.all().is_empty());
}

#[tokio::test]
async fn ws_may_step_up_to_wss() {
    let server = identity("localhost");
    let (address, asked) = secure_echo(server.acceptor(None)).await;
    let (from, _) = redirecting(301, format!("https://localhost:{}/", address.port())).await;
    let client = client(&format!("ws://a:b@{from}/")).tls(server.trusting());
    echoes(client.redirects(1).connect().await.unwrap().0).await;
    assert!(!asked.one().contains("authorization"));
}

#[tokio::test]
async fn a_server_without_tls_is_told_from_one_whose_tls_fails() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("wss://{}/", listener.local_addr().unwrap());
    let answers = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let _ = stream.read(&mut [0; 1000]).await;
        let answer = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n";
        stream.write_all(answer).await.unwrap();
        stream
    };
    let trusted = identity("localhost").trusting();
    let connecting = client(&url).tls(trusted).connect();
    let (connected, _stream) = tokio::join!(connecting, answers);
    let Err(Error::Tls(source)) = connected else {
        panic!("{connected:?}")
    };
    assert!(
        source.to_string().contains("does not speak TLS here"),
        "{source}"
    );
}
