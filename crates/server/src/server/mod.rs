//! The listening server: from an address to connections, and to an end.

mod accept;
mod check;
mod error;
mod log;
mod memory;
mod reload;

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::admin;
use crate::config::Config;
use crate::connection::Connections;
use crate::http::App;
use crate::hub::Hub;
use crate::metrics::Transport;
use crate::publisher::Publisher;
use crate::traces::{Exporter, Traces};

use self::accept::{accept, listen};
pub use self::error::BindError;
pub use self::reload::Reload;
use self::reload::current;

/// The settings of addresses to listen on.
const LISTEN: &str = "listen";
const METRICS_LISTEN: &str = "metrics.listen";

/// A server that listens, and answers once it is [run](Self::run).
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    metrics: Option<TcpListener>,
    asked: Arc<Config>,
    app: Arc<App>,
    exporter: Option<Exporter>,
}

impl Server {
    /// Checks `config` and takes the address. Connections wait from now on, up to the system's
    /// backlog, until the server is [run](Self::run).
    ///
    /// Needs a tokio runtime with I/O and time.
    pub async fn bind(config: Config) -> Result<Self, BindError> {
        config.check()?;
        let listener = listen(LISTEN, config.listen).await?;
        let metrics = match config.metrics.listen {
            Some(address) => Some(listen(METRICS_LISTEN, address).await?),
            None => None,
        };
        Self::on(listener, metrics, config).await
    }

    /// As [`bind`](Self::bind), with a listener that somebody else has bound, such as a supervisor
    /// that keeps it while one server follows another: no connection is refused then.
    /// [`Config::listen`] is not looked at. The operators' port, which no supervisor keeps, is taken
    /// once the server before has ended.
    pub async fn bind_to(
        listener: std::net::TcpListener,
        config: Config,
    ) -> Result<Self, BindError> {
        let failed = BindError::listen(LISTEN, config.listen);
        listener.set_nonblocking(true).map_err(failed)?;
        let listener = TcpListener::from_std(listener).map_err(failed)?;
        let metrics = match config.metrics.listen {
            Some(address) => match listen(METRICS_LISTEN, address).await {
                Err(BindError::InUse { .. }) => None,
                listening => Some(listening?),
            },
            None => None,
        };
        Self::on(listener, metrics, config).await
    }

    async fn on(
        listener: TcpListener,
        metrics: Option<TcpListener>,
        mut config: Config,
    ) -> Result<Self, BindError> {
        let failed = BindError::listen(LISTEN, config.listen);
        let address = listener.local_addr().map_err(failed)?;
        let asked = Arc::new(config.clone());
        // What may be done depends on who can reach the address that is really listened on.
        config.listen = address;
        config.check()?;
        let hub = Hub::new(config.max_queue);
        let current = current(config, address, None)?;
        let broker = log::open(&current.config, hub.clone()).await?;
        let (traces, exporter) = Traces::new(&current.config.traces)?.unzip();
        let app = App::new(current, broker, hub, traces.unwrap_or_default());
        Ok(Self {
            listener,
            address,
            metrics,
            asked,
            app: Arc::new(app),
            exporter,
        })
    }

    /// The address listened on, with the real port where any free one was asked for.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// The address of the operators' port ([`MetricsConfig`](crate::MetricsConfig)), if there is one.
    pub fn metrics_addr(&self) -> Option<SocketAddr> {
        self.metrics.as_ref()?.local_addr().ok()
    }

    /// A handle that publishes as `POST` does, before and while the server runs.
    pub fn publisher(&self) -> Publisher {
        self.app.publisher.clone()
    }

    /// A handle that changes the configuration while the server runs.
    pub fn reload(&self) -> Reload {
        Reload {
            app: Arc::clone(&self.app),
            address: self.address,
            asked: Arc::clone(&self.asked),
        }
    }

    /// Whether TLS is spoken on the address listened on.
    pub fn is_tls(&self) -> bool {
        self.app.now().tls.is_some()
    }

    /// Whether anonymous clients may do all that the configuration says nothing of, as they may on a
    /// loopback address without a key and without tokens.
    pub fn is_open(&self) -> bool {
        crate::auth::is_open(&self.app.now().config)
    }

    /// Serves until `shutdown` is done, then drains: it stops listening, closes WebSockets with
    /// code 1012, ends streams, answers what is held, lets requests under way finish, and cuts
    /// what is still there after [`Config::drain_timeout`]. The log is closed as soon as no request
    /// under way needs it, for a server that waits for it: whoever asks after that is told `503`, and a
    /// [`publisher`](Self::publisher) is told so. In the end spans that are left are sent, for which
    /// there are 5 s. Dropping the future cuts at once.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Drained {
        let Self {
            listener,
            address,
            metrics,
            app,
            exporter,
            asked: _,
        } = self;
        let _cut_when_dropped = Cut(Arc::clone(&app));
        let counted = Arc::clone(&app.metrics);
        let _fanning = app.hub.fan_out(move |count, newest| {
            counted.delivered(Transport::Websocket, count, newest);
        });
        let connections = Connections::new(Arc::clone(&app));
        let ended = CancellationToken::new();
        let mut exporting = JoinSet::new();
        if let Some(exporter) = exporter {
            exporting.spawn(exporter.run(ended.clone()));
        }
        tracing::info!(%address, "listening");
        if let Some(address) = app.now().config.metrics.listen {
            let of = Arc::clone(&app);
            let served = async move {
                let listener = match metrics {
                    Some(listener) => listener,
                    None => free(address).await,
                };
                admin::serve(listener, of).await;
            };
            tokio::spawn(app.cut.clone().run_until_cancelled_owned(served));
        }
        tokio::select! {
            () = accept(&listener, &app, &connections) => {}
            () = memory::watch(&app) => {}
            () = pin!(shutdown) => {}
        }
        drop(listener);

        tracing::info!(connections = app.tasks.len(), "draining");
        let time = app.now().config.drain_timeout;
        app.begin_drain(time);
        app.tasks.close();
        // A task of its own: the log is closed to the end, whatever becomes of this.
        let closing = tokio::spawn(log::let_go(Arc::clone(&app)));
        let cut = match timeout(time, app.tasks.wait()).await {
            Ok(()) => 0,
            Err(_) => app.tasks.len(),
        };
        app.cut();
        app.tasks.wait().await;
        // It fails only with the runtime, of which this is a part.
        let _ = closing.await;
        ended.cancel();
        exporting.join_all().await;
        tracing::info!(cut, "stopped");
        Drained { cut }
    }
}

/// Ends all connections when it is dropped.
struct Cut(Arc<App>);

impl Drop for Cut {
    fn drop(&mut self) {
        self.0.cut();
    }
}

/// The operators' port, once the server before has let go of it.
async fn free(address: SocketAddr) -> TcpListener {
    /// How often it is tried.
    const LOOK: Duration = Duration::from_millis(100);
    tracing::warn!(
        "{address} (metrics.listen) is in use: it is taken when it is free, and there are no metrics before"
    );
    loop {
        match listen(METRICS_LISTEN, address).await {
            Ok(listener) => return listener,
            Err(error) => tracing::debug!(%error, "not yet"),
        }
        sleep(LOOK).await;
    }
}

/// How a server ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Drained {
    /// Connections that were still there when [`Config::drain_timeout`] was over, and were cut.
    pub cut: usize,
}
