//! WebSocket for tokio: RFC 6455, RFC 7692 and RFC 8441, client and server, strict, bounded and cancel-safe.
//!
//! # A client
//!
//! ```no_run
//! # async fn run() -> Result<(), openline::Error> {
//! let mut ws = openline::connect("wss://example.org/chat").await?;
//! ws.send("hello").await?;
//! while let Some(message) = ws.next().await {
//!     println!("{:?}", message?);
//! }
//! # Ok(()) }
//! ```
//!
//! # A server
//!
//! ```no_run
//! # async fn run() -> std::io::Result<()> {
//! use openline::{Error, Server, WebSocket};
//!
//! async fn echo(mut ws: WebSocket) -> Result<(), Error> {
//!     while let Some(message) = ws.next().await {
//!         ws.send(message?).await?;
//!     }
//!     Ok(())
//! }
//!
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:9001").await?;
//! let ctrl_c = async { _ = tokio::signal::ctrl_c().await };
//! Server::default().run(listener, ctrl_c, |ws, _request| echo(ws)).await;
//! # Ok(()) }
//! ```
//!
//! # TLS
//!
//! A client connects to `wss://` as to `ws://`; whom it trusts is the platform's choice, or [yours](Client::tls). A server is given
//! a [`tls::TlsAcceptor`]:
//!
//! ```no_run
//! # #[cfg(feature = "tls")]
//! # async fn run(config: openline::tls::ServerConfig) -> Result<(), Box<dyn std::error::Error>> {
//! use std::sync::Arc;
//!
//! use openline::{Server, tls::TlsAcceptor};
//!
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:9001").await?;
//! let server = Server::default().tls(TlsAcceptor::from(Arc::new(config)));
//! server.run(listener, std::future::pending(), async |mut ws, _| ws.send("hello").await).await;
//! # Ok(()) }
//! ```
//!
//! # Two tasks
//!
//! [`split`](WebSocket::split) gives a half that sends, of which there may be clones, and one that receives:
//!
//! ```
//! # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
//! # let (mut client, ws) = openline::WebSocket::pair();
//! let (mut sender, mut receiver) = ws.split();
//! let reading = tokio::spawn(async move {
//!     while let Some(message) = receiver.next().await {
//!         println!("{:?}", message?);
//!     }
//!     Ok::<_, openline::Error>(())
//! });
//! sender.send("hello").await?;
//! # assert_eq!(client.next().await.expect("open")?.as_text(), Some("hello"));
//! # client.close(openline::CloseCode::NORMAL, "").await?;
//! reading.await??;
//! # Ok::<_, Box<dyn std::error::Error>>(()) })?;
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! ```
//!
//! # Where to read on
//!
//! [`WebSocket`] first: it is the same for both roles, and `next`, `send` and `close` are all that most programs need. Then:
//!
//! | to | see |
//! |---|---|
//! | connect with credentials, a proxy, redirects, TLS of your own | [`Client`], [`Proxy`], [`tls`] |
//! | come back after a connection was lost | [`Reconnecting`] |
//! | run a whole server: admission, TLS, a graceful end | [`Server`] |
//! | accept on a stream of your own, and see the request before it is answered | [`accept`], [`Acceptor`], [`Opening`] |
//! | open WebSockets beside the routes of axum or hyper | [`axum`], [`upgrade`] |
//! | choose limits, deadlines and compression | [`Config`], [`Deflate`] |
//! | let web pages of other origins in | [`OriginPolicy`] |
//! | send many messages in one write | [`WebSocket::feed`] and [`flush`](WebSocket::flush), [`corked`] |
//! | send to many | [`Broadcast`], [`Sender::send_now`] |
//! | send or receive what does not fit into memory | [`WebSocket::writer`], [`WebSocket::next_reader`] |
//! | receive without a copy | [`Receiver::next_lent`] |
//! | have many WebSockets on one connection of HTTP/2 | [`http2`] |
//! | do without a runtime | [`blocking`] |
//! | test a program of your own without a socket | [`WebSocket::pair`] |
//! | drive the protocol yourself | [`proto`] |
//!
//! The folder `examples` has programs to begin with: `echo`, `echo_tls`, `client`, `chat`, `axum`, `stream_file`, `broadcast`,
//! `http2`.
//!
//! # Messages
//!
//! A [`Message`] is text or bytes, whole. Pings, pongs and the Close frame are no messages: the connection deals with them, *while it
//! is read*. So have each connection read, also where only its end is of interest. [`send`](WebSocket::send) takes
//! whatever makes a message ([`Outgoing`]), and makes no copy of its own where none is needed.
//!
//! To wait for a message or for something else, `select!` between [`next`](WebSocket::next) and the other: the future that
//! loses is dropped, and loses no message.
//!
//! ```
//! # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
//! # use openline::{Broadcast, Error, WebSocket};
//! # let (mut client, ws) = WebSocket::pair();
//! async fn follow(
//!     mut ws: WebSocket,
//!     mut news: tokio::sync::mpsc::Receiver<Broadcast>,
//! ) -> Result<(), Error> {
//!     loop {
//!         tokio::select! {
//!             message = ws.next() => match message {
//!                 Some(message) => println!("{:?}", message?),
//!                 None => return Ok(()), // closed
//!             },
//!             Some(broadcast) = news.recv() => ws.send(&broadcast).await?,
//!         }
//!     }
//! }
//! # let (news, heard) = tokio::sync::mpsc::channel(1);
//! # news.try_send(Broadcast::text("news")).unwrap();
//! # let following = tokio::spawn(follow(ws, heard));
//! # assert_eq!(client.next().await.expect("open")?.as_text(), Some("news"));
//! # client.close(openline::CloseCode::NORMAL, "").await?;
//! # following.await.expect("no panic")?;
//! # Ok::<_, Error>(()) })?;
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! ```
//!
//! # The end
//!
//! `next` gives `None` once the connection is closed, and [`closed`](WebSocket::closed) tells by whom, with which code, and
//! whether cleanly. A connection that is lost gives an [`Error`] first. [`close`](WebSocket::close) closes it and waits for the peer;
//! one that is just dropped hands what was queued to the peer, by its deadline, and closes nothing: the peer sees it as lost.
//! Connections whose handler the library runs ([`Server::run`], axum) are closed behind it.
//!
//! # What may be relied on
//!
//! - **Cancel safety**: every future may be dropped at any point. What was received is given by the next call, what was queued is
//!   sent by it. Three do more when they are dropped, and say so: a [`MessageWriter`] that is not finished closes the
//!   connection, what a dropped [`MessageReader`] has not read is discarded, and [`Server::run`] cuts all its connections.
//! - **Memory**: messages, fragments, heads and the queue of what is to be sent are bounded ([`Config`]); nothing is reserved
//!   by a length that the peer only claims. The worst case of a connection is [`max_message`](Config::max_message) +
//!   [`max_outbox`](Config::max_outbox) + one outgoing message + 64 KiB while what was read is not taken: 2 MiB, 64 KiB and that
//!   message by default. One that waits owns no buffer: those for reads belong to the thread. Compression costs memory for each
//!   connection, as [`Takeover`] says.
//! - **Deadlines**: the handshake, keepalive, slow messages, stalled writes and the close have one each ([`Config`]). They are kept
//!   by whoever waits for the connection, with tokio's clock: the runtime needs its time driver (`enable_all`). A program that is
//!   busy elsewhere fails no peer: what that one sent meanwhile is read first.
//! - **Few writes**: what a handler of [`Server::run`] or axum's `on_upgrade` sends leaves in one write when it is about to wait;
//!   [`corked`] does that for other tasks. Elsewhere each [`send`](WebSocket::send) writes by itself.
//! - **Safe by default**: web pages of other origins are refused, nothing is compressed, redirects are not followed, and
//!   credentials go to the origin that they are for.
//!
//! # Seeing it
//!
//! Each connection has a `tracing` span named `websocket` at DEBUG, inside of the one that it was made in, with its role and subprotocol.
//! What goes wrong in the background is told at DEBUG. Frames are told at TRACE by the target `openline::frames`, the way people
//! read them (`< TEXT 'hello' [5 bytes]`; `<` came, `>` goes), with the first 64 bytes of the payload: no payload is told at a
//! higher level.
//!
//! # Features
//!
//! | feature | what it adds |
//! |---|---|
//! | `tls` (default) | `wss://`, by rustls with the platform's verifier: [`tls`] |
//! | `http2` | WebSockets over HTTP/2 (RFC 8441), both roles: [`http2`] |
//! | `hyper` | [`upgrade`], for programs that serve HTTP with hyper, over HTTP/1.1 and HTTP/2 |
//! | `axum` | an extractor, [`axum::WebSocketUpgrade`] (with `hyper`) |
//! | `blocking` | [`blocking`], for programs without a runtime |
//!
//! The types of the crates [`http`] and [`bytes`] are part of the interface, and exported here.
#![cfg_attr(
    not(all(
        feature = "tls",
        feature = "http2",
        feature = "axum",
        feature = "blocking"
    )),
    allow(
        rustdoc::broken_intra_doc_links,
        reason = "what a feature adds is missing without it"
    )
)]

#[cfg(feature = "axum")]
pub mod axum;
#[cfg(feature = "blocking")]
pub mod blocking;
mod client;
mod cork;
mod error;
mod finish;
#[cfg(any(feature = "hyper", feature = "http2"))]
mod gather;
mod guests;
mod handled;
#[cfg(feature = "http2")]
pub mod http2;
mod lent;
mod outcome;
mod outgoing;
mod pieces;
mod receive;
mod runtimes;
mod scratch;
mod serve;
mod server;
mod shared;
mod slots;
mod split;
mod stream;
// Sockets of our own where there is epoll, tokio's elsewhere.
#[cfg_attr(any(target_os = "linux", target_os = "android"), path = "tcp/epoll.rs")]
#[cfg_attr(
    not(any(target_os = "linux", target_os = "android")),
    path = "tcp/tokio.rs"
)]
mod tcp;
mod timer;
#[cfg(feature = "tls")]
pub mod tls;
#[cfg(feature = "hyper")]
mod upgrade;
mod wakers;
mod websocket;
mod wheel;
mod writer;

pub use bytes;
pub use http;
pub use openline_proto as proto;
pub use openline_proto::handshake::{
    HandshakeError, HeadError, OriginPolicy, Rejection, RequestError, ServerOptions,
};
pub use openline_proto::{
    Broadcast, CloseCode, CloseReason, Closed, Config, Deflate, Kind, Message, ProtocolError,
    SendError, Takeover, Timeout, Utf8Bytes,
};

pub use client::{
    Attempt, Backoff, Cause, Client, ConnectError, CredentialsError, Event, Proxy, ProxyError,
    Reconnecting, RedirectError, connect,
};
pub use cork::{Corked, corked};
pub use error::Error;
pub use lent::MessageRef;
pub use outcome::Outcome;
pub use outgoing::{Outgoing, Uncompressed};
pub use pieces::{MessageReader, MessageWriter};
pub use serve::{Listener, Server};
pub use server::{Acceptor, Opening, accept};
pub use split::{Receiver, Sender};
pub use stream::Stream;
#[cfg(feature = "hyper")]
pub use upgrade::{Upgrade, upgrade};
pub use websocket::{Traffic, WebSocket};
