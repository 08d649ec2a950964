//! Many WebSockets on one connection of HTTP/2.

use std::fmt;

use bytes::{Bytes, BytesMut};
use h2::client::{Builder, ResponseFuture, SendRequest};
use h2::{Ping, RecvStream, SendStream};
use http::{Request, Response};
use openline_proto::handshake::{self, RequestError};
use openline_proto::{Connection as WebSocketConnection, Timeout};
use tokio::time::{Instant, timeout_at};

use super::Client;
use super::address::Address;
use super::answer::{MAX_BODY, mark_secrets};
use super::redirect::{self, Redirects};
use crate::error::Error;
use crate::gather::Gathered;
use crate::http2::stream::Http2Stream;
use crate::http2::{self, Code, Http2Error, MAX_SEND_BUFFER, MAX_WINDOW};
use crate::stream::Stream;
use crate::timer::now;
use crate::websocket::WebSocket;

/// What a client may receive on a stream before it is taken. It opens few, and mostly receives.
pub(super) const WINDOW: u32 = 256 * 1024;

impl Client {
    /// Makes a connection of HTTP/2 to the address's server, on which [`Connection::open`] opens WebSockets: see
    /// [`http2`](crate::http2). The path, fields and subprotocols of this client are not used, its way to the server, TLS, deadlines
    /// and [`Config::max_head`](crate::Config::max_head) are.
    ///
    /// # Errors
    /// As [`connect`](Self::connect) on the way to the server; [`Error::Http2`] if it does not speak HTTP/2, or opens no
    /// WebSockets over it: then [`connect`](Self::connect) as usual.
    pub async fn connect_http2(self) -> Result<Connection, Error> {
        let stream = self.reach().await?;
        let deadline = self.handshake_deadline();
        let secured = timeout_at(deadline, self.secure_http2(stream)).await;
        let stream = secured.map_err(|_| Timeout::Handshake)??;
        Connection::begin(stream, self, deadline).await
    }

    /// The same on a stream of your own, to which TLS, if it is wanted, was added already.
    ///
    /// # Errors
    /// As [`connect_http2`](Self::connect_http2).
    pub async fn connect_http2_over(self, stream: impl Into<Stream>) -> Result<Connection, Error> {
        let deadline = self.handshake_deadline();
        Connection::begin(stream.into(), self, deadline).await
    }

    /// How many bytes the server may send on a stream of HTTP/2 before they are taken, from 16 KiB to 16 MiB; a value beyond
    /// is brought to the bound. Default: 256 KiB. [`connect_http2`](Self::connect_http2) makes use of it, no other.
    #[must_use]
    pub const fn http2_window(mut self, bytes: u32) -> Self {
        self.http2_window = http2::window(bytes);
        self
    }

    #[cfg(feature = "tls")]
    async fn secure_http2(&self, stream: Stream) -> Result<Stream, Error> {
        if !self.address.is_secure() {
            return Ok(stream);
        }
        let host = self.address.host().to_string();
        let secured = crate::tls::connect_http2(stream, &host, self.tls.clone()).await;
        secured
            .map_err(Error::Tls)?
            .ok_or(Http2Error::NotSpoken.into())
    }

    #[cfg(not(feature = "tls"))]
    async fn secure_http2(&self, stream: Stream) -> Result<Stream, Error> {
        Ok(stream)
    }
}

/// A connection of HTTP/2 to a server, on which WebSockets are opened.
///
/// Clones are handles to the same connection. When it is lost its WebSockets tell, each by itself, and [`open`](Self::open) fails:
/// at once where that is known, by [`Timeout::Handshake`] where the server is just silent. Make a new one then. It ends when the last handle and the last WebSocket on it are gone; it is served by
/// a task of its own, so make it within a tokio runtime. [`http2`](crate::http2) tells more.
#[derive(Clone)]
pub struct Connection {
    requests: SendRequest<Bytes>,
    server: Address,
}

impl Connection {
    async fn begin(stream: Stream, client: Client, deadline: Instant) -> Result<Self, Error> {
        let begun = timeout_at(deadline, Self::handshake(stream, &client)).await;
        let requests = begun.map_err(|_| Timeout::Handshake)??;
        if !requests.is_extended_connect_protocol_enabled() {
            return Err(Http2Error::NoExtendedConnect.into());
        }
        Ok(Self {
            requests,
            server: client.address,
        })
    }

    async fn handshake(stream: Stream, client: &Client) -> Result<SendRequest<Bytes>, Error> {
        let handshake = Builder::new()
            .enable_push(false)
            .initial_window_size(client.http2_window)
            .initial_connection_window_size(MAX_WINDOW)
            .max_header_list_size(http2::header_list(client.config.limits().max_head))
            .max_send_buffer_size(MAX_SEND_BUFFER)
            .data_frame_budget(http2::FRAME_BUDGET)
            .handshake::<_, Bytes>(stream);
        let (requests, mut connection) = handshake.await.map_err(http2::error)?;
        // The server's settings are the first that it sends, so they are here when the answer to a ping is: they tell
        // whether it knows extended CONNECT, and how many streams it takes.
        let pings = connection.ping_pong();
        let mut driving = tokio::spawn(connection);
        if let Some(mut pings) = pings {
            // A connection that fails tells why better than its ping does.
            let failed = match pings.ping(Ping::opaque()).await {
                Ok(_) => return Ok(requests),
                Err(error) => error,
            };
            let ended = (&mut driving).await;
            let error = match ended {
                Ok(Err(error)) => error,
                _ => failed,
            };
            return Err(match http2::error(error) {
                // What HTTP/1.1 answers to the preface would be a frame that is far too long.
                Error::Http2(Http2Error::Protocol(Code::FRAME_SIZE)) => {
                    Http2Error::NotSpoken.into()
                }
                error => error,
            });
        }
        Ok(requests)
    }

    /// Opens a WebSocket to the client's address, which must be of this connection's origin (scheme, host and port), and gives
    /// the server's response along. While the server takes no more streams it waits.
    ///
    /// Of the client, the fields, subprotocols, [`Config`](crate::Config) and [`redirects`](Client::redirects) hold; those are followed
    /// within the origin only. One that is dropped before it is done is taken back.
    ///
    /// # Errors
    /// [`Error::Handshake`] and [`Error::Redirect`] with the response if it is no WebSocket's, [`Timeout::Handshake`], and
    /// [`Error::Http2`]: [`Http2Error::Refused`] and [`Http2Error::GoAway`] tell that the server has not looked at the request,
    /// so that it may be sent again.
    pub async fn open(&self, mut client: Client) -> Result<(WebSocket, Response<()>), Error> {
        if !self.server.same_origin(&client.address) {
            return Err(Http2Error::Origin {
                connected: self.server.authority(),
                asked: client.address.authority(),
            }
            .into());
        }
        let mut redirects = Redirects::new(client.redirects, client.address.clone());
        loop {
            match self.try_open(&client).await {
                Err(error) => {
                    let there = redirects.follow_within(error, &mut client.headers)?;
                    client.address = there;
                }
                opened => return opened,
            }
        }
    }

    async fn try_open(&self, client: &Client) -> Result<(WebSocket, Response<()>), Error> {
        let deadline = client.handshake_deadline();
        let options = client.whole_options();
        let address = || RequestError::Address(client.address.to_string());
        let uri = client.address.uri().ok_or_else(address)?;
        let mut request = handshake::connect_request(&uri, &options)?;
        let protocol = h2::ext::Protocol::from_static(handshake::PROTOCOL);
        request.extensions_mut().insert(protocol);

        let exchange = timeout_at(deadline, self.exchange(request)).await;
        let (response, send) = exchange.map_err(|_| Timeout::Handshake)??;
        let (mut parts, receive) = response.into_parts();
        mark_secrets(&mut parts.headers);
        let response = Response::from_parts(parts, ());
        match handshake::verify_connect(&response, &options) {
            Ok(established) => {
                let config = client.config.clone();
                let connection = WebSocketConnection::client(config, rand::random, now())
                    .with_deflate(established.deflate);
                let stream = Stream::new(Gathered(Http2Stream::new(send, receive)));
                let subprotocol = established.subprotocol;
                let ws = WebSocket::new(stream, connection, Bytes::new(), subprotocol);
                Ok((ws, response))
            }
            Err(error) => {
                let body = read_body(receive, deadline).await;
                let response = Box::new(response.map(|()| body));
                Err(redirect::refusal(&client.address, error, response))
            }
        }
    }

    async fn exchange(
        &self,
        request: Request<()>,
    ) -> Result<(Response<RecvStream>, SendStream<Bytes>), Error> {
        let ready = self.requests.clone().ready().await;
        let mut requests = ready.map_err(http2::error)?;
        let sent: Result<(ResponseFuture, _), _> = requests.send_request(request, false);
        let (response, send) = sent.map_err(http2::error)?;
        let response = response.await.map_err(http2::error)?;
        Ok((response, send))
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("server", &self.server.authority())
            .finish_non_exhaustive()
    }
}

/// A refusal's body, as much of it as comes until the deadline.
async fn read_body(mut receive: RecvStream, deadline: Instant) -> Bytes {
    let mut body = BytesMut::new();
    while body.len() < MAX_BODY
        && let Ok(Some(Ok(data))) = timeout_at(deadline, receive.data()).await
    {
        body.extend_from_slice(&data);
        // It fails on a stream that is over, and the next read tells.
        let _ = receive.flow_control().release_capacity(data.len());
    }
    body.truncate(MAX_BODY);
    body.freeze()
}
