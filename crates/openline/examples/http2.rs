//! A page over HTTPS and its WebSocket, on one connection of HTTP/2: axum, with TLS and windows of one's own.
//!
//! `cargo run -p openline --features axum --example http2 -- 127.0.0.1:9443`, then open https://localhost:9443 in a browser, which will
//! ask what to think of the certificate.

use std::io::Write as _;
use std::sync::Arc;

use axum::response::{Html, Response};
use axum::routing::{any, get};
use axum::{Extension, Router};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use openline::axum::WebSocketUpgrade;
use openline::tls::rustls::crypto::ring;
use openline::tls::rustls::pki_types::PrivateKeyDer;
use openline::tls::{ServerConfig, TlsAcceptor};
use tokio::net::TcpListener;

const PAGE: &str = "<!doctype html><meta charset=utf-8><title>WebSocket over HTTP/2</title>
<input autofocus placeholder='say something'><p>This page: <output id=page></output></p><p>Its WebSocket: <output id=socket></output></p>
<pre></pre>
<script>
  const [input, log] = [document.querySelector('input'), document.querySelector('pre')]
  const { nextHopProtocol } = performance.getEntriesByType('navigation')[0]
  document.querySelector('#page').value = `${nextHopProtocol}, connection CONNECTION`
  const socket = new WebSocket(`wss://${location.host}/echo`)
  socket.onmessage = ({ data }) => {
    document.querySelector('#socket').value = data
    socket.onmessage = ({ data }) => log.append(data + '\\n')
  }
  input.onchange = () => { socket.send(input.value); input.value = '' }
</script>";

const STREAMS: u32 = 100;
const WINDOW: u32 = 64 * 1024;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = std::env::args()
        .nth(1)
        .unwrap_or_else(|| "127.0.0.1:9443".into());
    let listener = TcpListener::bind(&address).await?;
    let port = listener.local_addr()?.port();
    writeln!(std::io::stdout(), "https://localhost:{port}")?;

    let mut http = auto::Builder::new(TokioExecutor::new());
    http.http2()
        .enable_connect_protocol()
        .max_concurrent_streams(STREAMS)
        .initial_stream_window_size(WINDOW)
        // One WebSocket that is not read must not hold up the others.
        .initial_connection_window_size(STREAMS * WINDOW);
    let app = Router::new()
        .route("/", get(page))
        .route("/echo", any(echo));
    let tls = tls()?;
    for number in 1_u32.. {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let (tls, http) = (tls.clone(), http.clone());
        let app = TowerToHyperService::new(app.clone().layer(Extension(number)));
        tokio::spawn(async move {
            let stream = TokioIo::new(tls.accept(stream).await?);
            http.serve_connection_with_upgrades(stream, app).await
        });
    }
    Ok(())
}

async fn page(Extension(connection): Extension<u32>) -> Html<String> {
    Html(PAGE.replace("CONNECTION", &connection.to_string()))
}

/// Tells the version first; then it echoes.
async fn echo(
    version: http::Version,
    Extension(connection): Extension<u32>,
    upgrade: WebSocketUpgrade,
) -> Response {
    upgrade.on_upgrade(async move |mut ws| {
        ws.send(format!("{version:?}, connection {connection}"))
            .await?;
        while let Some(message) = ws.next().await {
            ws.send(message?).await?;
        }
        Ok::<_, openline::Error>(())
    })
}

/// A certificate that nobody but this process has vouched for.
fn tls() -> Result<TlsAcceptor, Box<dyn std::error::Error>> {
    let made = rcgen::generate_simple_self_signed(["localhost".into(), "127.0.0.1".into()])?;
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der())?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}
