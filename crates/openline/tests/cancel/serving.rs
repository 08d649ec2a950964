//! A server, and a client that comes back, that are given up.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use openline::{Client, CloseCode, Config, Error, Event, Reconnecting, Server, WebSocket};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};

use crate::common::{once, poll_times, raw_server};

async fn echo(mut ws: WebSocket, _: http::Request<()>) -> Result<(), Error> {
    while let Some(message) = ws.next().await {
        ws.send(message?).await?;
    }
    Ok(())
}

/// Whoever drops a server drops all that it serves: its connections end, its handlers are dropped, its port is free.
#[tokio::test]
async fn attack_29_a_server_is_dropped_at_every_wait_server() {
    /// Tells that a handler has begun or is gone.
    struct Alive(Arc<AtomicUsize>);
    impl Drop for Alive {
        fn drop(&mut self) {
            self.0.fetch_sub(1, Ordering::SeqCst);
        }
    }

    for waits in 1..40 {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let alive = Arc::new(AtomicUsize::new(0));
        let counting = Arc::clone(&alive);
        let handler = move |ws: WebSocket, request| {
            counting.fetch_add(1, Ordering::SeqCst);
            let alive = Alive(Arc::clone(&counting));
            async move {
                let _alive = alive;
                echo(ws, request).await
            }
        };
        // Clients that come, talk, go and stay, so that it has something to wait for.
        let clients = tokio::spawn(async move {
            let mut staying = Vec::new();
            loop {
                let Ok(mut ws) = openline::connect(&format!("ws://{address}/")).await else {
                    return staying;
                };
                if ws.send("hello").await.is_err() || ws.next().await.is_none() {
                    return staying;
                }
                if staying.len() < 3 {
                    staying.push(ws);
                } else if ws.close(CloseCode::NORMAL, "").await.is_err() {
                    return staying;
                }
            }
        });
        let running = Server::default().run(listener, std::future::pending(), handler);
        assert!(poll_times(running, waits).await.is_none());
        for mut ws in clients.await.unwrap() {
            let end = ws.next().await;
            assert!(matches!(end, Some(Err(_))), "{end:?}");
        }
        // The tasks are cancelled with the server, and gone at the runtime's next turn.
        while alive.load(Ordering::SeqCst) > 0 {
            tokio::task::yield_now().await;
        }
        assert!(TcpStream::connect(address).await.is_err(), "nobody listens");
    }
}

/// What was queued by a send that was dropped is sent by whoever drives the connection next.
#[tokio::test]
async fn attack_29_a_reconnecting_clients_send_is_dropped_client() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}/", listener.local_addr().unwrap());
    let handler = async |ws: WebSocket, request: http::Request<()>| echo(ws, request).await;
    let running = tokio::spawn(Server::default().run(listener, std::future::pending(), handler));
    let client = Client::new(&url).unwrap().config(Config::default());
    let mut ws = Reconnecting::new(client);
    while !matches!(ws.next().await, Some(Event::Connected(_))) {}
    let expected: Vec<String> = (0..20).map(|number| format!("message {number}")).collect();
    for text in &expected {
        let _ = once(ws.send(text.as_str())).await;
    }
    for text in &expected {
        match ws.next().await {
            Some(Event::Message(message)) => assert_eq!(message.as_text(), Some(text.as_str())),
            other => panic!("{other:?}"),
        }
    }
    // A close, too, whose end is told by `next`.
    assert!(once(ws.close(CloseCode::GOING_AWAY, "")).await.is_none());
    let end = ws.next().await;
    assert!(
        matches!(end, Some(Event::Disconnected { retry_in: None, .. })),
        "{end:?}"
    );
    assert!(ws.next().await.is_none());
    running.abort();
}

/// A connection that is dropped ends at once, for its peer too.
#[tokio::test]
async fn attack_29_a_connection_that_is_dropped_ends_client() {
    let (mut there, mut ws) = raw_server().await;
    assert!(once(ws.next()).await.is_none());
    drop(ws);
    assert_eq!(there.read(&mut [0]).await.unwrap(), 0);
}
