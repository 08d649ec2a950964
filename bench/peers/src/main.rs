//! An echo server of each peer, on one current-thread runtime: `peer NAME PORT`.
//!
//! By the plain name a peer sends one answer after the other, as its own documentation shows it. A name that ends in
//! `+feed` is for those that can batch: what is ready is fed, and flushed when nothing more is.

use std::io;

use axum::extract::ws;
use bytes::{Bytes, BytesMut};
use fastwebsockets::OpCode;
use futures_util::{FutureExt as _, Sink, SinkExt as _, Stream, StreamExt as _, TryStreamExt as _};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::{Request, Response};
use openline_bench::kernel::raise_open_files;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

type Outcome = Result<(), Ended>;

/// Why a connection ended: nobody asks.
struct Ended;

impl<E: std::error::Error> From<E> for Ended {
    fn from(_: E) -> Self {
        Self
    }
}

fn main() -> io::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [name, port] = &arguments[..] else {
        return Err(io::Error::other("usage: peer NAME PORT"));
    };
    raise_open_files()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind(format!("127.0.0.1:{port}")).await?;
        match name.as_str() {
            "tokio-tungstenite" => accept(listener, |stream| tungstenite(stream, false)).await,
            "tokio-tungstenite+feed" => accept(listener, |stream| tungstenite(stream, true)).await,
            "fastwebsockets" => accept(listener, fastwebsockets).await,
            "tokio-websockets" => accept(listener, |stream| tokio_websockets(stream, false)).await,
            "tokio-websockets+feed" => {
                accept(listener, |stream| tokio_websockets(stream, true)).await
            }
            "sockudo-ws" => accept(listener, |stream| sockudo(stream, false)).await,
            "sockudo-ws+feed" => accept(listener, |stream| sockudo(stream, true)).await,
            "yawc" => accept(listener, |stream| yawc(stream, false)).await,
            "yawc+feed" => accept(listener, |stream| yawc(stream, true)).await,
            "axum" => axum(listener, false).await,
            "axum+feed" => axum(listener, true).await,
            _ => Err(io::Error::other(format!("no peer is called {name}"))),
        }
    })
}

async fn accept<F>(listener: TcpListener, serve: impl Fn(TcpStream) -> F) -> io::Result<()>
where
    F: Future<Output = Outcome> + Send + 'static,
{
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let served = serve(stream);
        // A client that leaves is no error here.
        tokio::spawn(async move { drop(served.await) });
    }
}

/// Echoes what is ready in one flush, if the peer can batch.
async fn feed<W, M, E>(mut ws: W, is_data: impl Fn(&M) -> bool) -> Outcome
where
    W: Stream<Item = Result<M, E>> + Sink<M, Error = E> + Unpin,
    E: std::error::Error,
{
    while let Some(message) = ws.next().await {
        let mut next = Some(message?);
        while let Some(message) = next {
            if is_data(&message) {
                ws.feed(message).await?;
            }
            next = match ws.next().now_or_never() {
                Some(Some(message)) => Some(message?),
                Some(None) => return Ok(()),
                None => None,
            };
        }
        ws.flush().await?;
    }
    Ok(())
}

async fn tungstenite(stream: TcpStream, batch: bool) -> Outcome {
    use tokio_tungstenite::tungstenite::Message;

    let mut ws = tokio_tungstenite::accept_async(stream).await?;
    let is_data = |message: &Message| message.is_text() || message.is_binary();
    if batch {
        // Its own echo example: `forward` feeds what is ready, and then flushes.
        let (sender, receiver) = ws.split();
        let data = receiver.try_filter(|message| std::future::ready(is_data(message)));
        return Ok(data.forward(sender).await?);
    }
    while let Some(message) = ws.next().await.transpose()? {
        if is_data(&message) {
            ws.send(message).await?;
        }
    }
    Ok(())
}

async fn tokio_websockets(stream: TcpStream, batch: bool) -> Outcome {
    use tokio_websockets::{Config, Limits, Message, ServerBuilder};

    let builder = ServerBuilder::new()
        .config(Config::default().frame_size(usize::MAX))
        .limits(Limits::unlimited());
    let (_, mut ws) = builder.accept(stream).await?;
    let is_data = |message: &Message| message.is_text() || message.is_binary();
    let mut ready = Vec::new();
    while let Some(message) = ws.next().await.transpose()? {
        if !batch {
            if is_data(&message) {
                ws.send(message).await?;
            }
            continue;
        }
        // Its `next` sends what was fed: so all that is ready is taken before any is.
        ready.push(message);
        while let Some(Some(message)) = ws.next().now_or_never() {
            ready.push(message?);
        }
        for message in ready.drain(..).filter(is_data) {
            ws.feed(message).await?;
        }
        ws.flush().await?;
    }
    Ok(())
}

async fn sockudo(mut stream: TcpStream, batch: bool) -> Outcome {
    use sockudo_ws::handshake::{build_response, generate_accept_key, parse_request};
    use sockudo_ws::protocol::Message;
    use sockudo_ws::{Config, WebSocketStream};

    let mut head = BytesMut::with_capacity(4096);
    loop {
        if stream.read_buf(&mut head).await? == 0 {
            return Ok(());
        }
        if let Some((request, _)) = parse_request(&head)? {
            let key = generate_accept_key(request.key);
            stream.write_all(&build_response(&key, None, None)).await?;
            break;
        }
    }
    drop(head);
    let mut ws = WebSocketStream::server(stream, Config::default());
    while let Some(message) = ws.next().await.transpose()? {
        match message {
            Message::Text(_) | Message::Binary(_) if batch => ws.feed(message).await?,
            Message::Text(_) | Message::Binary(_) => ws.send(message).await?,
            Message::Close(_) => break,
            _ => {}
        }
    }
    Ok(())
}

type Upgrade = io::Result<Response<Empty<Bytes>>>;

async fn hyper_http<F>(stream: TcpStream, upgrade: impl Fn(Request<Incoming>) -> F) -> Outcome
where
    F: Future<Output = Upgrade>,
{
    hyper::server::conn::http1::Builder::new()
        .serve_connection(
            hyper_util::rt::TokioIo::new(stream),
            hyper::service::service_fn(upgrade),
        )
        .with_upgrades()
        .await?;
    Ok(())
}

async fn fastwebsockets(stream: TcpStream) -> Outcome {
    async fn echo(upgrade: fastwebsockets::upgrade::UpgradeFut) -> Outcome {
        let mut ws = fastwebsockets::FragmentCollector::new(upgrade.await?);
        loop {
            let frame = ws.read_frame().await?;
            match frame.opcode {
                OpCode::Close => return Ok(()),
                OpCode::Text | OpCode::Binary => ws.write_frame(frame).await?,
                _ => {}
            }
        }
    }
    let serve = |mut request: Request<Incoming>| async move {
        let (response, upgrade) =
            fastwebsockets::upgrade::upgrade(&mut request).map_err(io::Error::other)?;
        tokio::spawn(tokio::task::unconstrained(async move {
            drop(echo(upgrade).await)
        }));
        Ok(response)
    };
    hyper_http(stream, serve).await
}

async fn yawc(stream: TcpStream, batch: bool) -> Outcome {
    use yawc::{Frame, OpCode, Options, UpgradeFut, WebSocket};

    async fn echo(upgrade: UpgradeFut, batch: bool) -> Outcome {
        let mut ws = upgrade.await?;
        let is_data = |frame: &Frame| matches!(frame.opcode(), OpCode::Text | OpCode::Binary);
        if batch {
            return feed(ws.map(Ok::<_, yawc::WebSocketError>), is_data).await;
        }
        while let Some(frame) = ws.next().await {
            if is_data(&frame) {
                ws.send(frame).await?;
            }
        }
        Ok(())
    }
    let serve = |mut request: Request<Incoming>| async move {
        let options = Options::default();
        let (response, upgrade) =
            WebSocket::upgrade_with_options(&mut request, options).map_err(io::Error::other)?;
        tokio::spawn(async move { drop(echo(upgrade, batch).await) });
        Ok(response)
    };
    hyper_http(stream, serve).await
}

async fn axum(listener: TcpListener, batch: bool) -> io::Result<()> {
    use axum::serve::ListenerExt as _;

    async fn echo(mut ws: ws::WebSocket, batch: bool) {
        let is_data = |message: &ws::Message| {
            matches!(message, ws::Message::Text(_) | ws::Message::Binary(_))
        };
        if batch {
            let _ = feed(ws, is_data).await;
            return;
        }
        while let Some(Ok(message)) = ws.recv().await {
            if is_data(&message) && ws.send(message).await.is_err() {
                return;
            }
        }
    }
    let upgrade = move |upgrade: ws::WebSocketUpgrade| async move {
        upgrade.on_upgrade(move |ws| echo(ws, batch))
    };
    let app = axum::Router::new().fallback(upgrade);
    let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
    axum::serve(listener, app).await
}
