//! The client on its way to a server, over real sockets on 127.0.0.1.

#[path = "../common/mod.rs"]
mod common;

#[cfg(feature = "tls")]
mod cancel;
mod credentials;
mod proxies;
mod reconnect;
mod redirects;
mod refusals;
mod servers;
#[cfg(feature = "tls")]
mod tls;

use openline::{Client, Error, RedirectError, WebSocket};

fn client(url: &str) -> Client {
    Client::new(url).unwrap()
}

async fn echoes(mut ws: WebSocket) {
    ws.send("hello").await.unwrap();
    assert_eq!(ws.next().await.unwrap().unwrap().as_text(), Some("hello"));
}

fn redirect_error(result: Result<(WebSocket, http::Response<()>), Error>) -> RedirectError {
    match result {
        Err(Error::Redirect { error, .. }) => error,
        other => panic!("{other:?}"),
    }
}
