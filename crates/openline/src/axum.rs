//! WebSockets in axum's handlers.
//!
//! ```
//! use axum::Router;
//! use axum::response::Response;
//! use axum::routing::any;
//! use openline::axum::WebSocketUpgrade;
//!
//! async fn echo(upgrade: WebSocketUpgrade) -> Response {
//!     upgrade.on_upgrade(async |mut ws| {
//!         while let Some(message) = ws.next().await {
//!             ws.send(message?).await?;
//!         }
//!         Ok::<_, openline::Error>(())
//!     })
//! }
//! let app: Router = Router::new().route("/echo", any(echo));
//! ```

use std::sync::Arc;

use axum_core::body::Body;
use axum_core::extract::FromRequestParts;
use axum_core::response::{IntoResponse, Response};
use http::request::Parts;
use http::{Request, StatusCode};
use hyper::ext::Protocol;
use hyper::upgrade::OnUpgrade;
use openline_proto::handshake::{OriginPolicy, Rejection, ServerOptions};
use openline_proto::{Config, Deflate};

use crate::handled::Handled;
use crate::outcome::Outcome;
use crate::upgrade::judge;
use crate::websocket::WebSocket;

/// A request that asks for a WebSocket, as an axum extractor: answer it with [`on_upgrade`](Self::on_upgrade).
///
/// A request that asks for none is refused before the handler runs, with `426 Upgrade Required` or whatever
/// [`Rejection`] says. Web pages of other origins are refused unless [`origins`](Self::origins) allows them.
///
/// It takes both ways to ask, an upgrade over HTTP/1.1 and an extended CONNECT over HTTP/2 (axum's feature `http2`), so
/// route it with `any`. [`upgrade`](crate::upgrade()) tells how to choose the windows of HTTP/2.
#[derive(Debug)]
#[must_use = "a request that is not answered leaves the client hanging"]
pub struct WebSocketUpgrade {
    request: Request<()>,
    options: ServerOptions,
    config: Arc<Config>,
}

impl<S: Sync> FromRequestParts<S> for WebSocketUpgrade {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refused> {
        let mut request = Request::new(());
        *request.method_mut() = parts.method.clone();
        *request.uri_mut() = parts.uri.clone();
        *request.version_mut() = parts.version;
        *request.headers_mut() = parts.headers.clone();
        if let Some(protocol) = parts.extensions.get::<Protocol>() {
            request.extensions_mut().insert(protocol.clone());
        }
        // What no option can mend is refused here, so that the handler sees good requests only.
        let anyone = ServerOptions::default().origins(OriginPolicy::Any);
        judge(&request, &anyone).map_err(Refused::Request)?;
        let Some(http) = parts.extensions.remove::<OnUpgrade>() else {
            tracing::warn!(
                "a WebSocket can't be opened: the connection is served without upgrades, or its OnUpgrade was taken"
            );
            return Err(Refused::NoUpgrade);
        };
        request.extensions_mut().insert(http);
        Ok(Self {
            request,
            options: ServerOptions::default(),
            config: Arc::default(),
        })
    }
}

impl WebSocketUpgrade {
    /// A subprotocol that the server speaks; the first given is the most preferred. [`WebSocket::subprotocol`] tells
    /// the choice.
    pub fn subprotocol(mut self, name: impl Into<String>) -> Self {
        self.options = self.options.subprotocol(name);
        self
    }

    /// Which web pages may connect. Default: those of the same origin.
    pub fn origins(mut self, policy: OriginPolicy) -> Self {
        self.options = self.options.origins(policy);
        self
    }

    /// Limits, deadlines and compression.
    pub fn config(mut self, config: impl Into<Arc<Config>>) -> Self {
        self.config = config.into();
        let policy = self.config.deflate_settings().map(Deflate::policy);
        self.options = self.options.deflate(policy);
        self
    }

    /// Answers the request, and runs `handler` with the WebSocket in a task of its own.
    ///
    /// It runs [`corked`](crate::corked), and returns nothing, or a `Result` whose error ends its connection only. If the
    /// connection is open then, that is closed: see [`Outcome`].
    pub fn on_upgrade<H, F>(mut self, handler: H) -> Response
    where
        H: FnOnce(WebSocket) -> F + Send + 'static,
        F: Future<Output: Outcome> + Send + 'static,
    {
        let (response, upgrade) = match crate::upgrade(&mut self.request, &self.options) {
            Ok(accepted) => accepted,
            Err(rejection) => return Refused::Request(rejection).into_response(),
        };
        let upgrade = upgrade.config(self.config);
        tokio::spawn(async move {
            match upgrade.await {
                Ok(ws) => {
                    let shared = Arc::clone(ws.shared());
                    Handled::new(shared, handler(ws)).await;
                }
                Err(error) => tracing::debug!(%error, "the upgrade failed"),
            }
        });
        response.map(|()| Body::empty())
    }
}

/// Why a request opens no WebSocket; as a response, the answer to it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// The request asks for none, or is not a good one.
    #[error(transparent)]
    Request(Rejection),
    /// The request is good, but the HTTP server gives its connection away to nobody: it was served without upgrades
    /// (`serve_connection(…).with_upgrades()` in hyper; `axum::serve` does it), or another layer has taken it. Answered
    /// by `500`, since the client is not to blame.
    #[error("this server can't upgrade the connection to a WebSocket")]
    NoUpgrade,
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        match self {
            Self::Request(rejection) => rejection.response().map(Body::from),
            Self::NoUpgrade => {
                (StatusCode::INTERNAL_SERVER_ERROR, format!("{self}\n")).into_response()
            }
        }
    }
}
