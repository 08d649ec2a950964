//! WebSockets for programs without a runtime: the same connection, whose calls block the thread.
//!
//! ```no_run
//! # fn run() -> Result<(), openline::Error> {
//! let mut ws = openline::blocking::connect("wss://example.org/chat")?;
//! ws.send("hello")?;
//! while let Some(message) = ws.next() {
//!     println!("{:?}", message?);
//! }
//! # Ok(()) }
//! ```
//!
//! Each connection brings a small runtime along, which works only while a call blocks: pings are answered and deadlines
//! are kept during [`next`](WebSocket::next). What is dropped without a [`close`](WebSocket::close) sends nothing more, and tells
//! the peer nothing. None of this may be called inside of a tokio runtime: it would panic.

use std::net::TcpStream;

use http::Response;
use openline_proto::{CloseCode, Closed, Message};
use tokio::runtime::{Builder, Runtime};

use crate::client::Client;
use crate::error::Error;
use crate::outgoing::Outgoing;
use crate::server::Acceptor;
use crate::websocket::Traffic;

/// A WebSocket connection whose calls block. See [`openline::WebSocket`](crate::WebSocket).
#[derive(Debug)]
pub struct WebSocket {
    // Dropped first: a connection must not outlive its runtime.
    inner: crate::WebSocket,
    runtime: Runtime,
}

/// Connects to a `ws://` or `wss://` address; see [`openline::connect`](crate::connect).
///
/// # Errors
/// As [`Client::connect`].
pub fn connect(url: &str) -> Result<WebSocket, Error> {
    Client::new(url)?.connect_blocking().map(|(ws, _)| ws)
}

/// Accepts a WebSocket on a TCP stream; see [`openline::accept`](crate::accept).
///
/// ```no_run
/// # fn run() -> Result<(), Box<dyn std::error::Error>> {
/// for stream in std::net::TcpListener::bind("127.0.0.1:9001")?.incoming() {
///     let stream = stream?;
///     std::thread::spawn(move || {
///         let mut ws = openline::blocking::accept(stream)?;
///         while let Some(message) = ws.next() {
///             ws.send(message?)?;
///         }
///         Ok::<_, openline::Error>(())
///     });
/// }
/// # Ok(()) }
/// ```
///
/// # Errors
/// As [`Acceptor::accept`].
pub fn accept(stream: TcpStream) -> Result<WebSocket, Error> {
    Acceptor::default().accept_blocking(stream)
}

impl Client {
    /// [`connect`](Self::connect), blocking the thread.
    ///
    /// # Errors
    /// As there.
    pub fn connect_blocking(self) -> Result<(WebSocket, Response<()>), Error> {
        let runtime = runtime()?;
        let (inner, response) = runtime.block_on(self.connect())?;
        Ok((WebSocket { inner, runtime }, response))
    }
}

impl Acceptor {
    /// [`accept`](Self::accept), blocking the thread.
    ///
    /// # Errors
    /// As there.
    pub fn accept_blocking(&self, stream: TcpStream) -> Result<WebSocket, Error> {
        let runtime = runtime()?;
        stream.set_nonblocking(true)?;
        let inner = runtime
            .block_on(async { self.accept(tokio::net::TcpStream::from_std(stream)?).await })?;
        Ok(WebSocket { inner, runtime })
    }
}

impl WebSocket {
    /// Waits for the next message; see [`WebSocket::next`](crate::WebSocket::next).
    #[expect(
        clippy::should_implement_trait,
        reason = "an iterator could not be used while messages are sent"
    )]
    pub fn next(&mut self) -> Option<Result<Message, Error>> {
        self.runtime.block_on(self.inner.next())
    }

    /// Sends a message; see [`WebSocket::send`](crate::WebSocket::send).
    ///
    /// # Errors
    /// As there.
    pub fn send(&mut self, message: impl Outgoing) -> Result<(), Error> {
        self.runtime.block_on(self.inner.send(message))
    }

    /// Queues a message without sending it; see [`WebSocket::feed`](crate::WebSocket::feed).
    ///
    /// # Errors
    /// As there.
    pub fn feed(&mut self, message: impl Outgoing) -> Result<(), Error> {
        self.inner.feed(message)
    }

    /// Hands all that is queued to the operating system; see [`WebSocket::flush`](crate::WebSocket::flush).
    ///
    /// # Errors
    /// As there.
    pub fn flush(&mut self) -> Result<(), Error> {
        self.runtime.block_on(self.inner.flush())
    }

    /// Closes the connection; see [`WebSocket::close`](crate::WebSocket::close).
    ///
    /// # Errors
    /// As there.
    pub fn close(&mut self, code: CloseCode, reason: &str) -> Result<Closed, Error> {
        self.runtime.block_on(self.inner.close(code, reason))
    }

    /// How the connection was closed, as far as it got; `None` while it is open.
    pub fn closed(&self) -> Option<Closed> {
        self.inner.closed()
    }

    /// The subprotocol that the server chose.
    pub fn subprotocol(&self) -> Option<&str> {
        self.inner.subprotocol()
    }

    /// Bytes received and sent since the opening handshake.
    pub fn traffic(&self) -> Traffic {
        self.inner.traffic()
    }
}

fn runtime() -> std::io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
}
