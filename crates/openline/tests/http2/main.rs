//! WebSockets over HTTP/2 (RFC 8441), both sides.

mod axum;
mod cancel;
mod conversation;
mod ends;
mod floods;
mod flow;
mod peers;
mod raw;
mod refusals;
#[cfg(feature = "tls")]
mod tls;

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::Request;
use openline::http2::{Connection, Settings};
use openline::{Client, Error, Listener, Server, Stream, WebSocket};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// Connections that a server has seen.
struct Counted(TcpListener, Arc<AtomicUsize>);

impl Listener for Counted {
    async fn accept(&mut self) -> std::io::Result<Stream> {
        let stream = Listener::accept(&mut self.0).await?;
        self.1.fetch_add(1, Ordering::Relaxed);
        Ok(stream)
    }
}

struct Running {
    url: String,
    connections: Arc<AtomicUsize>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<usize>,
}

impl Running {
    fn client(&self, path: &str) -> Client {
        client(&self.url, path)
    }

    async fn connect(&self) -> Connection {
        self.client("").connect_http2().await.unwrap()
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    fn address(&self) -> &str {
        self.url.trim_start_matches("ws://").trim_end_matches('/')
    }
}

fn client(url: &str, path: &str) -> Client {
    Client::new(&format!("{url}{path}")).unwrap()
}

/// A server that handles each WebSocket by its path.
async fn start(server: Server) -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}/", listener.local_addr().unwrap());
    let connections = Arc::new(AtomicUsize::new(0));
    let (stop, stopped) = oneshot::channel::<()>();
    let listener = Counted(listener, Arc::clone(&connections));
    let shutdown = async move { drop(stopped.await) };
    Running {
        url,
        connections,
        stop,
        task: tokio::spawn(server.run(listener, shutdown, by_path)),
    }
}

fn http2() -> Server {
    Server::default().http2(Settings::default())
}

async fn by_path(mut ws: WebSocket, request: Request<()>) -> Result<(), Error> {
    match request.uri().path() {
        // Keeps the WebSocket, and does nothing with it.
        "/deaf" => match std::future::pending::<Infallible>().await {},
        // Is gone at once.
        "/gone" => return Ok(()),
        // Sends as much as it may, then listens.
        "/flood" => {
            for number in 0..10_000 {
                ws.send(format!("{number:>1000}")).await?;
            }
        }
        "/request" => {
            let shown = format!(
                "{} {} {:?}",
                request.method(),
                request.uri(),
                request.version()
            );
            ws.send(shown).await?;
        }
        "/authorization" => {
            let shown = request.headers()["authorization"].to_str().unwrap();
            ws.send(shown).await?;
        }
        _ => {}
    }
    while let Some(message) = ws.next().await {
        ws.send(message?).await?;
    }
    Ok(())
}

/// Says something and hears it back.
async fn echoes(ws: &mut WebSocket, text: &str) {
    ws.send(text).await.unwrap();
    assert_eq!(ws.next().await.unwrap().unwrap().as_text(), Some(text));
}
