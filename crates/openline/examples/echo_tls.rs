//! The echo server over TLS 1.3: `cargo run --release -p openline --example echo_tls -- 127.0.0.1:9443`.
//!
//! It makes its own certificate as it starts, for `localhost`, so a client must be told to trust it, or not to ask.

use std::sync::Arc;

use openline::tls::rustls::pki_types::PrivateKeyDer;
use openline::tls::rustls::{self, crypto::ring};
use openline::tls::{ServerConfig, TlsAcceptor};
use openline::{Acceptor, Config, Error, Server, WebSocket};
use tokio::net::TcpListener;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = std::env::args()
        .nth(1)
        .unwrap_or_else(|| "127.0.0.1:9443".into());
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
    let tls = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.into()], key)?;
    let listener = TcpListener::bind(&address).await?;
    Server::default()
        .acceptor(Acceptor::default().config(Config::default().max_message(64 << 20)))
        .max_connections(100_000)
        .tls(TlsAcceptor::from(Arc::new(tls)))
        .run(
            listener,
            std::future::pending(),
            async |mut ws: WebSocket, _| {
                let (sender, receiver) = ws.halves();
                while let Some(message) = receiver.next_lent().await {
                    sender.send(message?).await?;
                }
                Ok::<_, Error>(())
            },
        )
        .await;
    Ok(())
}
