//! `connect` dropped at every wait: no panic, and no connection that stays behind.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use openline::tls::{ServerConfig, Setup, TlsAcceptor, rustls};
use openline::{Client, Proxy};
use tokio::sync::mpsc;

use crate::common::poll_times;
use crate::servers::{Asked, echo, redirecting, relay_http, relay_socks, serve};

/// Through a proxy, by a redirect, with TLS: all that a connection can wait for.
#[tokio::test]
async fn attack_29_connect_is_dropped_at_every_wait_client() {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = made.signing_key.serialize_der().try_into().unwrap();
    let config =
        ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let server = serve(move |stream| {
        let acceptor = acceptor.clone();
        async move {
            if let Ok(stream) = acceptor.accept(stream).await {
                echo(stream, Asked::default()).await;
            }
        }
    })
    .await;
    let (first, _) = redirecting(302, format!("wss://localhost:{}/", server.port())).await;

    for scheme in ["http", "socks5"] {
        // Every connection of the client ends at the proxy, which tells when one is over.
        let began = Arc::new(AtomicUsize::new(0));
        let (ended, mut endings) = mpsc::unbounded_channel();
        let beginning = Arc::clone(&began);
        let proxy = serve(move |stream| {
            beginning.fetch_add(1, Ordering::SeqCst);
            let ended = ended.clone();
            let route = move |asked: &str| match asked.contains("localhost") {
                true => server,
                false => first,
            };
            async move {
                // That the client is gone is what the test is about.
                let _ = match scheme {
                    "http" => relay_http(stream, route, None, Asked::default()).await,
                    _ => relay_socks(stream, route, Asked::default()).await,
                };
                let _ = ended.send(());
            }
        })
        .await;
        let tls = Setup::default()
            .trust_only(made.cert.pem().as_bytes())
            .unwrap()
            .build()
            .unwrap();
        let proxy = format!("{scheme}://user:password@{proxy}");
        let client = Client::new("ws://first.invalid/")
            .unwrap()
            .tls(tls)
            .redirects(1)
            .proxy(Proxy::new(&proxy).unwrap());

        let mut waits = 1;
        let connected = loop {
            match poll_times(client.clone().connect(), waits).await {
                Some(connected) => break connected.unwrap(),
                None => waits += 1,
            }
        };
        assert!(waits > 5, "only {waits} waits");
        drop(connected);
        let mut over = 0;
        while over < began.load(Ordering::SeqCst) {
            endings.recv().await.unwrap();
            over += 1;
        }
    }
}
