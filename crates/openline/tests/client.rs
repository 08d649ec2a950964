//! The client on its way to a server: credentials, redirects, proxies, refusals.

mod proxies;

use http::header::COOKIE;
use http::{HeaderName, HeaderValue};
use openline::{
    Client, ConnectError, Error, HandshakeError, Proxy, ProxyError, RedirectError, WebSocket,
};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

use proxies::{Asked, answering, echo, echo_server, http_proxy, redirecting, serve, socks_proxy};

async fn echoes(mut ws: WebSocket) {
    ws.send("hello").await.unwrap();
    assert_eq!(ws.next().await.unwrap().unwrap().as_text(), Some("hello"));
}

fn client(url: &str) -> Client {
    Client::new(url).unwrap()
}

fn redirect_error(result: Result<(WebSocket, http::Response<()>), Error>) -> RedirectError {
    match result {
        Err(Error::Redirect { error, .. }) => error,
        other => panic!("{other:?}"),
    }
}

// Credentials

#[tokio::test]
async fn user_info_of_the_url_is_sent_as_basic_and_not_in_the_target() {
    let (server, asked) = echo_server().await;
    let client = client(&format!("ws://al%40ice:open%20sesame@{server}/chat?x=1"));
    echoes(client.connect().await.unwrap().0).await;
    let asked = asked.one();
    assert!(asked.starts_with("get /chat?x=1\n"), "{asked}");
    assert!(
        asked.contains("authorization: basic ywxaawnlom9wzw4gc2vzyw1l\n"),
        "{asked}"
    );
    assert!(asked.contains(&format!("host: {server}\n")), "{asked}");
}

#[tokio::test]
async fn the_last_authorization_is_the_one() {
    let (server, asked) = echo_server().await;
    let client = client(&format!("ws://a:b@{server}/"))
        .basic("c", "d")
        .unwrap();
    client.bearer("t0ken").unwrap().connect().await.unwrap();
    assert_eq!(
        asked.one().matches("authorization: bearer t0ken").count(),
        1
    );
    assert_eq!(asked.one().matches("authorization").count(), 1);
}

#[test]
fn no_credential_is_ever_shown() {
    let client = client("wss://alice:s3cret@h/?token=s3cret")
        .header(COOKIE, HeaderValue::from_static("s3cret"))
        .proxy(Proxy::new("http://bob:s3cret@proxy").unwrap());
    let client_and_more = format!("{client:?} {:?}", client.clone().bearer("s3cret").unwrap());
    assert!(!client_and_more.contains("s3cret"), "{client_and_more}");
    assert!(client_and_more.contains("wss://h/"), "{client_and_more}");
    for wrong in [
        "http://alice:s3cret@h/",
        "wss://alice:s3cret@h h/",
        "wss://alice:s3cr%3aet@h:x/?s3cret",
    ] {
        let error = Client::new(wrong).unwrap_err();
        let shown = format!("{error} {error:?}");
        assert!(
            !shown.contains("s3cr") && !shown.contains("alice"),
            "{shown}"
        );
    }
}

#[test]
fn attack_12_no_line_break_gets_into_a_request() {
    assert!(Client::new("ws://h/a\r\nx: y").is_err());
    let plain = client("ws://h/");
    for wrong in [
        plain.clone().bearer("a\r\nx: y"),
        plain.clone().basic("a\r\nx: y", ""),
        plain.basic("a", "b\r\nx: y"),
    ] {
        assert!(matches!(wrong, Err(Error::Credentials(_))));
    }
}

// Refusals

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

// Redirects

#[tokio::test]
async fn redirects_are_followed_only_when_asked() {
    let (server, asked) = echo_server().await;
    let (from, _) = redirecting(302, format!("http://user:s3cret@{server}/there?s3cret")).await;
    let url = format!("ws://{from}/");
    let error = client(&url).connect().await.unwrap_err();
    let shown = format!("{error}");
    assert!(
        shown.contains(&format!("`ws://{server}/there?…`")),
        "{shown}"
    );
    assert!(!shown.contains("s3cret"), "{shown}");
    assert_eq!(error.response().unwrap().status(), 302);
    assert!(asked.all().is_empty());

    let (ws, _) = client(&url).redirects(1).connect().await.unwrap();
    echoes(ws).await;
    let asked = asked.one();
    assert!(asked.starts_with("get /there?s3cret\n"), "{asked}");
    assert!(!asked.contains("authorization"), "{asked}");
}

#[tokio::test]
async fn attack_26_credentials_do_not_go_to_another_origin() {
    let (server, asked) = echo_server().await;
    let (from, first) = redirecting(307, format!("ws://{server}/")).await;
    let mut key = HeaderValue::from_static("s3cret");
    key.set_sensitive(true);
    client(&format!("ws://alice:s3cret@{from}/"))
        .header(COOKIE, HeaderValue::from_static("s3cret"))
        .header(
            http::header::PROXY_AUTHORIZATION,
            HeaderValue::from_static("s3cret"),
        )
        .header(HeaderName::from_static("x-api-key"), key)
        .header(
            http::header::HOST,
            HeaderValue::from_static("inner.example"),
        )
        .header(http::header::USER_AGENT, HeaderValue::from_static("me"))
        .subprotocol("chat")
        .redirects(3)
        .connect()
        .await
        .unwrap();
    let first = first.one();
    assert!(
        first.contains("s3cret") && first.contains("authorization: basic"),
        "{first}"
    );
    assert!(first.contains("host: inner.example"), "{first}");
    let then = asked.one();
    assert!(
        !then.contains("s3cret") && !then.contains("authorization"),
        "{then}"
    );
    assert!(
        then.contains("user-agent: me\n") && then.contains(&format!("host: {server}\n")),
        "{then}"
    );
    assert!(then.contains("sec-websocket-protocol: chat\n"), "{then}");
}

#[tokio::test]
async fn within_an_origin_credentials_stay_and_relative_locations_are_resolved() {
    let asked = Asked::default();
    let heard = asked.clone();
    let server = serve(move |mut stream| {
        let heard = heard.clone();
        async move {
            let mut first = [0; 8];
            stream.peek(&mut first).await.unwrap();
            if &first == b"GET /a/b" {
                heard.add(&proxies::read_head(&mut stream).await);
                let answer = b"HTTP/1.1 308 X\r\nLocation: ../c?d#e\r\nContent-Length: 0\r\n\r\n";
                stream.write_all(answer).await.unwrap();
            } else {
                echo(stream, heard).await;
            }
        }
    })
    .await;
    let client = client(&format!("ws://{server}/a/b"))
        .bearer("t0ken")
        .unwrap();
    echoes(client.redirects(1).connect().await.unwrap().0).await;
    let asked = asked.all();
    assert!(asked[1].starts_with("get /c?d\n"), "{asked:?}");
    assert!(
        asked
            .iter()
            .all(|head| head.contains("authorization: bearer t0ken")),
        "{asked:?}"
    );
}

#[tokio::test]
async fn circles_chains_and_other_schemes_end() {
    let (circle, asked) = redirecting(301, "/").await;
    let result = client(&format!("ws://{circle}/"))
        .redirects(9)
        .connect()
        .await;
    assert!(matches!(
        redirect_error(result),
        RedirectError::Circle { .. }
    ));
    assert_eq!(asked.all().len(), 1);

    let (last, _) = redirecting(302, "/further").await;
    let (middle, _) = redirecting(302, format!("ws://{last}/")).await;
    let (first, _) = redirecting(302, format!("ws://{middle}/")).await;
    let result = client(&format!("ws://{first}/"))
        .redirects(2)
        .connect()
        .await;
    let location = format!("ws://{last}/further");
    assert_eq!(
        redirect_error(result),
        RedirectError::TooMany { limit: 2, location }
    );

    for wrong in ["ftp://h/", "javascript:alert(1)", "http://"] {
        let (server, _) = redirecting(302, wrong).await;
        let result = client(&format!("ws://{server}/"))
            .redirects(9)
            .connect()
            .await;
        assert_eq!(
            redirect_error(result),
            RedirectError::Address {
                location: wrong.into()
            }
        );
    }
    // Without a place to go it is a refusal as others.
    let (server, _) = answering("HTTP/1.1 302 X\r\nContent-Length: 0\r\n\r\n").await;
    let result = client(&format!("ws://{server}/"))
        .redirects(9)
        .connect()
        .await;
    assert!(matches!(result, Err(Error::Handshake { .. })));
}

// Proxies

#[tokio::test]
async fn through_an_http_proxy_with_credentials() {
    let (server, asked) = echo_server().await;
    let (proxy, tunnels) = http_proxy(server, Some("YWxpY2U6b3BlbiBzZXNhbWU=")).await;
    let through = Proxy::new(&format!("http://alice:open%20sesame@{proxy}")).unwrap();
    let client = client("ws://nowhere.invalid:8080/chat")
        .bearer("t0ken")
        .unwrap();
    let (ws, _) = client.clone().proxy(through).connect().await.unwrap();
    echoes(ws).await;
    assert_eq!(
        tunnels.one(),
        "connect nowhere.invalid:8080 http/1.1\r\nhost: nowhere.invalid:8080\r\n\
         proxy-authorization: basic ywxpy2u6b3blbibzzxnhbwu=\r\n\r\n"
    );
    let asked = asked.one();
    assert!(asked.contains("host: nowhere.invalid:8080\n"), "{asked}");
    assert!(!asked.contains("proxy-"), "{asked}");

    let wrong = Proxy::new(&format!("http://{proxy}"))
        .unwrap()
        .credentials("eve", "s3cret")
        .unwrap();
    let error = client.proxy(wrong).connect().await.unwrap_err();
    assert!(
        !format!("{error} {error:?}").contains("s3cret"),
        "{error:?}"
    );
    let Error::Proxy {
        proxy: named,
        error: ProxyError::Refused(response),
    } = error
    else {
        panic!("{error:?}")
    };
    assert_eq!(named, format!("http://{proxy}"));
    assert_eq!(response.status(), 407);
    assert_eq!(
        response.headers()["proxy-authenticate"],
        "Basic realm=\"it\""
    );
    assert_eq!(&response.body()[..], b"who are you?");
}

#[tokio::test]
async fn through_a_socks_proxy_by_name() {
    let (server, _) = echo_server().await;
    let (proxy, asked) = socks_proxy(server).await;
    for through in [
        format!("socks5://alice:pw@{proxy}"),
        format!("socks5h://{proxy}"),
    ] {
        let proxy = Proxy::new(&through).unwrap();
        let client = client("ws://nowhere.invalid/").proxy(proxy);
        echoes(client.connect().await.unwrap().0).await;
    }
    assert_eq!(
        asked.all(),
        ["alice:pw@nowhere.invalid:80", "nowhere.invalid:80"]
    );
}

#[tokio::test]
async fn a_redirect_takes_the_proxy_too() {
    let (elsewhere, _) = redirecting(302, "ws://second.invalid/").await;
    let (server, _) = echo_server().await;
    let asked = Asked::default();
    let heard = asked.clone();
    let proxy = serve(move |stream| {
        let heard = heard.clone();
        let to = if heard.all().is_empty() {
            elsewhere
        } else {
            server
        };
        proxies::relay_http(stream, to, None, heard)
    })
    .await;
    let through = Proxy::new(&proxy.to_string()).unwrap();
    let client = client("ws://first.invalid/").proxy(through).redirects(1);
    echoes(client.connect().await.unwrap().0).await;
    let asked: Vec<_> = asked
        .all()
        .iter()
        .map(|head| head.lines().next().unwrap().to_owned())
        .collect();
    assert_eq!(
        asked,
        [
            "connect first.invalid:80 http/1.1",
            "connect second.invalid:80 http/1.1"
        ]
    );
}

#[tokio::test]
async fn a_proxy_that_is_not_there_is_told() {
    let address = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let proxy = Proxy::new(&address.to_string()).unwrap();
    let result = client("ws://h/").proxy(proxy).connect().await;
    assert!(
        matches!(
            result,
            Err(Error::Proxy {
                error: ProxyError::Connect(_),
                ..
            })
        ),
        "{result:?}"
    );
}

/// What the environment says can't be changed inside of a process without `unsafe`: the test runs itself in another.
#[test]
fn the_proxy_of_the_environment_is_taken_unless_told_otherwise() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (server, proxy, asked) = runtime.block_on(async {
        let (server, _) = echo_server().await;
        let (proxy, asked) = http_proxy(server, None).await;
        (server, proxy, asked)
    });
    let run = |url: &str, no_proxy: &str| {
        let status = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "--ignored", "connects_by_the_environment"])
            .env("URL", url)
            .env("http_proxy", proxy.to_string())
            .env("NO_PROXY", no_proxy)
            .stdout(std::process::Stdio::null())
            .status();
        assert!(status.unwrap().success(), "{url}");
    };
    run("ws://nowhere.invalid/", "");
    assert!(asked.one().starts_with("connect nowhere.invalid:80 "));
    run(&format!("ws://{server}/"), "");
    run(&format!("ws://{server}/"), "127.0.0.0/8");
    assert_eq!(asked.all().len(), 1, "this machine needs no proxy");
}

#[tokio::test]
#[ignore = "run by the test of the environment"]
async fn connects_by_the_environment() {
    let url = std::env::var("URL").unwrap();
    echoes(client(&url).connect().await.unwrap().0).await;
    if url.contains("invalid") {
        let direct = client(&url).no_proxy().connect().await;
        assert!(matches!(
            direct,
            Err(Error::Connect {
                source: ConnectError::Resolve(_),
                ..
            })
        ));
    }
}

#[cfg(feature = "tls")]
mod tls {
    use super::*;
    use openline::tls::{self, ServerConfig, Setup, TlsAcceptor, rustls};
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    use rustls::server::WebPkiClientVerifier;
    use std::net::SocketAddr;
    use std::sync::Arc;
    use tokio::io::AsyncReadExt;

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
                    let verifier =
                        WebPkiClientVerifier::builder_with_provider(roots.into(), provider);
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
    async fn through_a_proxy_the_certificate_is_the_servers() {
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
            let attack_16 = client("wss://other.invalid/")
                .tls(server.trusting())
                .proxy(proxy);
            let result = attack_16.connect().await;
            assert!(matches!(result, Err(Error::Tls(_))), "{result:?}");
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
                    proxies::relay_http(stream, address, None, Asked::default()).await;
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
    async fn attack_21_nothing_of_wss_goes_in_the_clear() {
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
    async fn attack_26_wss_does_not_step_down_to_ws() {
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
                proxies::read_head(&mut stream).await;
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
}
