//! `https://` and `wss://`: certificates are checked, by the roots that the system names.
//!
//! Where the system keeps its roots elsewhere than in files, a test cannot name its own.
#![cfg(all(unix, not(target_vendor = "apple"), not(target_os = "android")))]

use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;

use openline::tls::rustls::{self, pki_types::PrivateKeyDer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::support::{Server, command, text};

/// A server with a certificate of its own. Speaks TLS on two connections: answers a publication on the first, and
/// opens a WebSocket on the second.
struct Secured {
    port: u16,
    root: PathBuf,
    served: JoinHandle<()>,
}

impl Secured {
    fn start(test: &str) -> Self {
        let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let root = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{test}.pem"));
        std::fs::write(&root, pair.cert.pem()).unwrap();
        let key = PrivateKeyDer::try_from(pair.signing_key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![pair.cert.der().clone()], key)
            .unwrap();

        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let port = listener.local_addr().unwrap().port();
        let served = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let listener = TcpListener::from_std(listener).unwrap();
                serve(listener, openline::tls::TlsAcceptor::from(Arc::new(config))).await;
            });
        });
        Self { port, root, served }
    }
}

async fn serve(listener: TcpListener, acceptor: openline::tls::TlsAcceptor) {
    let (stream, _) = listener.accept().await.unwrap();
    if let Ok(mut stream) = acceptor.accept(stream).await {
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\nx") {
            stream.read_buf(&mut request).await.unwrap();
        }
        let answer = "HTTP/1.1 201 Created\r\ncontent-length: 2\r\n\r\n{}";
        stream.write_all(answer.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
    } else {
        return;
    }
    let (stream, _) = listener.accept().await.unwrap();
    let stream = acceptor.accept(stream).await.unwrap();
    let open = openline::Acceptor::default().subprotocol("openline.v1");
    let mut socket = open.accept(stream).await.unwrap();
    socket
        .send(r#"{"cursor":"e:0","recovered":true}"#)
        .await
        .unwrap();
    socket
        .send(r#"{"channel":"a","cursor":"e:1","data":1}"#)
        .await
        .unwrap();
    while let Some(Ok(_)) = socket.next().await {}
}

#[test]
fn a_trusted_server_is_spoken_to() {
    let server = Secured::start("trusted");
    let url = format!("https://localhost:{}", server.port);
    for args in [
        vec!["publish", "a", "x"],
        vec!["listen", "a", "--count", "1"],
    ] {
        let output = command(&args)
            .args(["--server", &url])
            .env("SSL_CERT_FILE", &server.root)
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{args:?}: {}",
            text(&output.stderr)
        );
    }
    server.served.join().unwrap();
}

#[test]
fn a_server_without_tls_is_found_out() {
    let server = Server::start();
    let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let root = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("plain.pem");
    std::fs::write(&root, pair.cert.pem()).unwrap();
    for via in ["sse", "ws"] {
        let output = command(&["listen", "a", "--via", via])
            .args(["--server", &format!("https://{}", server.address())])
            .env("SSL_CERT_FILE", &root)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(1), "{via}");
        let stderr = text(&output.stderr);
        assert!(stderr.contains("try http://"), "{via}: {stderr}");
    }
}

#[test]
fn a_server_that_nobody_vouches_for_is_not() {
    for args in [vec!["listen", "a", "--via", "sse"], vec!["listen", "a"]] {
        let server = Secured::start(&format!("unknown{}", args.len()));
        let other = Secured::start(&format!("other{}", args.len()));
        let output = command(&args)
            .args(["--server", &format!("https://localhost:{}", server.port)])
            .env("SSL_CERT_FILE", &other.root)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(1), "{args:?}");
        let stderr = text(&output.stderr);
        assert!(stderr.contains("certificate"), "{stderr}");
        server.served.join().unwrap();
    }
}
