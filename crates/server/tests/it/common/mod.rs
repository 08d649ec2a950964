//! A running server and the smallest clients that can tell what it does.

pub(crate) mod http;
mod issuer;
mod tls;

use std::net::SocketAddr;
use std::time::Duration;

use openline_server::{Config, Drained, Publisher, Reload, Server};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

pub(crate) use self::http::{Connection, Response, request};
pub(crate) use self::issuer::{Issuer, encode, seconds_from_now};
pub(crate) use self::tls::Pair;

/// A server on a free port of the loopback, stopped when this is dropped.
pub(crate) struct Harness {
    pub(crate) address: SocketAddr,
    pub(crate) publisher: Publisher,
    pub(crate) reload: Reload,
    /// The operators' port.
    pub(crate) metrics: Option<SocketAddr>,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<Drained>,
}

impl Harness {
    pub(crate) async fn start() -> Self {
        Self::with(|_| {}).await
    }

    /// With what `change` makes of the default configuration.
    pub(crate) async fn with(change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config {
            listen: "127.0.0.1:0".parse().unwrap(),
            ..Config::default()
        };
        change(&mut config);
        let server = Server::bind(config).await.unwrap();
        let (stop, stopped) = oneshot::channel();
        let (address, publisher) = (server.local_addr(), server.publisher());
        let reload = server.reload();
        let metrics = server.metrics_addr();
        let task = tokio::spawn(server.run(async {
            let _ = stopped.await;
        }));
        Self {
            address,
            publisher,
            reload,
            metrics,
            stop: Some(stop),
            task,
        }
    }

    /// Publishes text; the cursor.
    pub(crate) async fn publish(&self, channel: &str, body: &str) -> String {
        let body = body.to_owned();
        self.publisher
            .publish(channel, "text/plain", body)
            .await
            .unwrap()
            .cursor
    }

    pub(crate) async fn connect(&self) -> Connection {
        Connection::open(self.address).await
    }

    pub(crate) async fn get(&self, path: &str, headers: &[(&str, &str)]) -> Response {
        self.request("GET", path, headers, b"").await
    }

    pub(crate) async fn post(&self, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Response {
        self.request("POST", path, headers, body).await
    }

    pub(crate) async fn request(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Response {
        let mut connection = self.connect().await;
        connection.send(&request(method, path, headers, body)).await;
        connection.response(method).await
    }

    /// A stream that has been answered with `200`.
    pub(crate) async fn stream(&self, path: &str, headers: &[(&str, &str)]) -> Connection {
        let mut connection = self.connect().await;
        connection.send(&request("GET", path, headers, b"")).await;
        let (status, headers) = connection.head().await;
        assert_eq!(status, 200, "{headers:?}");
        connection
    }

    /// A publication of one byte whose head has arrived: the server said that it waits for the body.
    pub(crate) async fn publication_under_way(
        &self,
        path: &str,
        headers: &[(&str, &str)],
    ) -> Connection {
        let expecting = [("Expect", "100-continue"), ("Content-Length", "1")];
        let headers = [headers, &expecting].concat();
        let mut connection = self.connect().await;
        connection.send(&request("POST", path, &headers, b"")).await;
        assert_eq!(connection.head().await.0, 100);
        connection
    }

    /// Tells the server to end.
    pub(crate) fn shut_down(&mut self) {
        self.stop
            .take()
            .expect("it runs")
            .send(())
            .expect("it runs");
    }

    /// Drops it where it is.
    pub(crate) async fn cut(self) {
        self.task.abort();
        assert!(soon(self.task).await.unwrap_err().is_cancelled());
    }

    /// Waits until it has.
    pub(crate) async fn ended(self) -> Drained {
        soon(self.task).await.unwrap()
    }
}

/// What does not come in ten seconds never comes.
pub(crate) async fn soon<T>(future: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(10), future)
        .await
        .expect("it never came")
}

/// The JSON of an answer.
pub(crate) fn json(bytes: &[u8]) -> serde_json::Value {
    serde_json::from_slice(bytes)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(bytes)))
}
