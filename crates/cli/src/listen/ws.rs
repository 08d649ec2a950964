//! Listening over a WebSocket with the subprotocol that carries cursors.

use http::StatusCode;
use http::header::AUTHORIZATION;
use openline::{Client, CloseCode, Config, Message, WebSocket};

use super::item::Item;
use super::{Event, MAX_ITEM_BYTES, Way};
use crate::error::Error;
use crate::http::Answer;

/// Envelopes in place of bare bodies.
const SUBPROTOCOL: &str = "openline.v1";

/// How the server begins to say that the right to listen is over, and may be renewed.
const EXPIRED: &str = "the token has expired";

/// One open connection.
pub(super) struct Ws(WebSocket);

impl Ws {
    pub(super) async fn open(way: &Way, since: Option<&str>) -> Result<Self, Error> {
        let query: Vec<_> = since.map(|cursor| ("since", cursor)).into_iter().collect();
        let url = way.http.server().web_socket(way.channel.as_str(), &query);
        let mut client = Client::new(url.as_str()).map_err(Error::WebSocket)?;
        if let Some(credential) = way.http.credential().field()? {
            client = client.header(AUTHORIZATION, credential);
        }
        let (socket, _) = client
            .subprotocol(SUBPROTOCOL)
            .config(Config::default().max_message(MAX_ITEM_BYTES))
            .connect()
            .await
            .map_err(refused)?;
        if socket.subprotocol() == Some(SUBPROTOCOL) {
            Ok(Self(socket))
        } else {
            Err(Error::Subprotocol(SUBPROTOCOL))
        }
    }

    pub(super) async fn next(&mut self) -> Result<Event, Error> {
        match self.0.next().await {
            Some(Ok(Message::Text(text))) => Item::parse(&text)?.into_event(&text),
            Some(Ok(_)) => Err(Error::UnknownObject),
            Some(Err(error)) => Err(Error::WebSocket(error)),
            None => Err(self.closed()),
        }
    }

    /// Takes leave. That the server does not answer is no failure of a listener that has all it wanted.
    pub(super) async fn close(mut self) {
        let _ = self.0.close(CloseCode::NORMAL, "").await;
    }

    fn closed(&self) -> Error {
        let closed = self.0.closed().unwrap_or_default();
        let said = closed.received.as_ref().map(|said| said.reason.as_ref());
        if said.is_some_and(|reason: &str| reason.starts_with(EXPIRED)) {
            return Error::Expired;
        }
        Error::Closed {
            code: closed.code(),
            reason: closed
                .received
                .map(|said| said.reason.to_string())
                .unwrap_or_default(),
        }
    }
}

/// An answer that opens no WebSocket is told as any other refusal is.
fn refused(error: openline::Error) -> Error {
    match error {
        openline::Error::Handshake { response, .. }
            if response.status() != StatusCode::SWITCHING_PROTOCOLS =>
        {
            Error::Answer(Box::new(Answer::new(
                response.status(),
                response.headers(),
                response.body(),
            )))
        }
        other => Error::WebSocket(other),
    }
}

/// Whether the same connection may go well later.
pub(crate) fn may_pass(error: &openline::Error) -> bool {
    use openline::Error;
    matches!(
        error,
        Error::Io(_) | Error::Timeout(_) | Error::Disconnected | Error::Connect { .. }
    )
}
