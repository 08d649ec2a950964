//! The listening server: from an address to connections, and to an end.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::admin;
use crate::auth::{Auth, AuthError};
use crate::broker::{Broker, DiskBroker, MemoryBroker, OpenError, Retention};
use crate::channel::{Channel, NameError};
use crate::config::{Config, ForwardedBy};
use crate::connection::Connections;
use crate::http::{App, BadEntry, Current, Guard};
use crate::hub::{Hub, Looks};
use crate::limits::{self, Origin, Refusal};
use crate::metrics::Transport;
use crate::publisher::Publisher;
use crate::tls::{self, TlsError};
use crate::traces::{Exporter, Traces, TracesError};
use crate::transport::ws;

/// Connections past the bound that are told so at the same time; any more are just closed.
const MAX_REFUSALS: usize = 64;
/// How long such a one may take to hear it.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(2);
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
        let address = config.listen;
        let failed = |source| BindError::Listen {
            key: LISTEN,
            address,
            source,
        };
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
        let address = config.listen;
        let failed = |source| BindError::Listen {
            key: LISTEN,
            address,
            source,
        };
        let address = listener.local_addr().map_err(failed)?;
        let asked = Arc::new(config.clone());
        // What may be done depends on who can reach the address that is really listened on.
        config.listen = address;
        config.check()?;
        let hub = Hub::new(config.max_queue);
        let current = current(config, address, None)?;
        let broker = open(&current.config, hub.clone()).await?;
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
            () = watch(&app) => {}
            () = pin!(shutdown) => {}
        }
        drop(listener);

        tracing::info!(connections = app.tasks.len(), "draining");
        let time = app.now().config.drain_timeout;
        app.begin_drain(time);
        app.tasks.close();
        // A task of its own: the log is closed to the end, whatever becomes of this.
        let closing = tokio::spawn(let_go(Arc::clone(&app)));
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

/// Closes the log once nothing needs it that is under way: another server may wait for it.
async fn let_go(app: Arc<App>) {
    app.work.finish().await;
    match app.broker.close().await {
        Ok(()) => tracing::info!("the log is closed"),
        Err(error) => tracing::error!(%error, "the log was not closed as it should be"),
    }
}

/// Takes an address. Each server has its own for itself: no SO_REUSEPORT, which would let two of them
/// share it in silence.
async fn listen(key: &'static str, address: SocketAddr) -> Result<TcpListener, BindError> {
    TcpListener::bind(address)
        .await
        .map_err(|source| match source.kind() {
            io::ErrorKind::AddrInUse => BindError::InUse { key, address },
            _ => BindError::Listen {
                key,
                address,
                source,
            },
        })
}

/// The log that `config` asks for, with `hub` for those who follow it.
async fn open(config: &Config, hub: Hub) -> Result<Arc<dyn Broker>, BindError> {
    let keys = config.max_idempotency_keys;
    /// How often it is looked whether another server has let go of the log.
    const LOOK: Duration = Duration::from_millis(20);

    let retention = Retention::of(config);
    match config.data_dir.clone().filter(|_| !config.memory) {
        None => Ok(Arc::new(MemoryBroker::new(retention, keys, hub))),
        Some(dir) => {
            let deadline = Instant::now() + config.data_dir_wait;
            let mut waits = false;
            loop {
                let (dir, retention, hub) = (dir.clone(), retention.clone(), hub.clone());
                let open = move || DiskBroker::open(&dir, retention, keys, hub);
                let opened = tokio::task::spawn_blocking(open).await;
                match opened.map_err(|_| BindError::Stopped)? {
                    Err(OpenError::InUse { dir }) if Instant::now() < deadline => {
                        if !waits {
                            let (dir, wait) = (dir.display(), config.data_dir_wait);
                            tracing::warn!(
                                "{dir} is in use: waiting up to {wait:?} for the other server to let go of it"
                            );
                        }
                        waits = true;
                        sleep(LOOK).await;
                    }
                    opened => return Ok(Arc::new(opened?)),
                }
            }
        }
    }
}

/// Changes what a running server goes by.
#[derive(Debug, Clone)]
pub struct Reload {
    app: Arc<App>,
    address: SocketAddr,
    /// What the server was started with.
    asked: Arc<Config>,
}

impl Reload {
    /// Puts `config` into force for all requests to come; connections stay, and so do rights that
    /// were granted before. Returns the keys of what differs and needs a new start, which stays as it
    /// was.
    ///
    /// Reads files, and drops what is over the new bounds of the history: it is not for a thread that
    /// others wait for.
    ///
    /// # Errors
    /// What is wrong with `config`; nothing has changed then.
    pub fn apply(&self, config: Config) -> Result<Vec<String>, BindError> {
        config.check()?;
        let before = self.app.now();
        let fixed = self.asked.needs_restart(&config);
        let new = Config {
            listen: before.config.listen,
            data_dir: before.config.data_dir.clone(),
            memory: before.config.memory,
            pages: before.config.pages,
            max_connections: before.config.max_connections,
            max_bodies: before.config.max_bodies,
            ..config
        };
        let limit = new.max_publication;
        self.app.change(current(new, self.address, Some(&before))?);
        self.app.publisher.set_limit(limit);
        Ok(fixed)
    }
}

/// What answers go by under `config`.
fn current(
    config: Config,
    address: SocketAddr,
    before: Option<&Current>,
) -> Result<Current, BindError> {
    Ok(Current {
        guard: Guard::new(address.ip(), &config.allow_hosts, &config.allow_origins)?,
        auth: Auth::new(&config, before.map(|before| &before.auth))?,
        tls: tls::server(&config.tls)?,
        websocket: ws::config(&config),
        config,
    })
}

/// Accepts connections, for ever.
async fn accept(listener: &TcpListener, app: &Arc<App>, connections: &Connections) {
    /// The longest pause after an accept that failed.
    const MAX_PAUSE: Duration = Duration::from_secs(1);
    const FIRST_PAUSE: Duration = Duration::from_millis(10);

    let refusals = Arc::new(Semaphore::new(MAX_REFUSALS));
    let mut pause = FIRST_PAUSE;
    loop {
        match listener.accept().await {
            Ok((tcp, peer)) => {
                pause = FIRST_PAUSE;
                // Small messages are to leave at once; that this fails only costs time.
                let _ = tcp.set_nodelay(true);
                let now = app.now();
                let origin = Origin::of(peer, &now.config.proxies);
                match app.limits.enter(&now.config, &origin) {
                    Ok(place) => connections.serve(tcp, origin, place),
                    Err(reason) => {
                        app.limits.refused(reason);
                        // Nothing can be told before TLS is spoken, and that is not for nothing.
                        let plain = now.tls.is_none() && !now.config.proxies.protocol;
                        if plain && let Ok(place) = Arc::clone(&refusals).try_acquire_owned() {
                            app.tasks.spawn(refuse(tcp, reason, place));
                        }
                    }
                }
            }
            Err(error) if is_of_one_connection(&error) => {}
            // Out of descriptors, for one: connections that end will give some back.
            Err(error) => {
                tracing::warn!(%error, ?pause, "cannot accept connections");
                sleep(pause).await;
                pause = (pause * 2).min(MAX_PAUSE);
            }
        }
    }
}

/// Errors of a connection that was gone before it was accepted.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted
    )
}

/// Looks again and again at what only the system knows: how much memory there is in use. While that is too much, listeners are
/// let go that are behind, the slowest first; nothing new is taken meanwhile.
async fn watch(app: &App) {
    /// How old such knowledge may be: not so old that a flood gets far in it.
    const AGE: Duration = Duration::from_millis(200);
    /// As much time as what was let go may take to be given back, before more is.
    const PAUSE: Duration = Duration::from_secs(1);
    /// Looks after which a listener is behind that has not taken what there was: 2 s, and twice as long as one may be made to
    /// wait that is sent the newest at a rate.
    const BEHIND: usize = 10;
    let mut shed = Instant::now();
    let mut looks = Looks::default();
    loop {
        sleep(AGE).await;
        app.limits.memory.read();
        let behind = looks.look(app.hub.newest(), BEHIND);
        if let Some(behind) = behind
            && app.limits.growth(&app.now().config).is_err()
            && shed.elapsed() >= PAUSE
        {
            let listeners = app.hub.shed(behind);
            if listeners > 0 {
                tracing::warn!(
                    listeners,
                    "memory is short: the slowest listeners were let go"
                );
                shed = Instant::now();
            }
        }
    }
}

/// Tells a connection past the bounds to come back later, before anything is spent on it.
async fn refuse(mut tcp: TcpStream, reason: Refusal, _place: OwnedSemaphorePermit) {
    let told = json!({
        "type": "/problems/busy",
        "title": "Busy",
        "status": 503,
        "detail": reason.told(),
    });
    let body = format!("{told}\n");
    let answer = format!(
        "HTTP/1.1 503 Service Unavailable\r\n\
         content-type: application/problem+json\r\n\
         content-length: {}\r\n\
         cache-control: no-cache\r\n\
         retry-after: {}\r\n\
         connection: close\r\n\
         \r\n\
         {body}",
        body.len(),
        limits::retry_after(reason).as_secs(),
    );
    let told = async {
        tcp.write_all(answer.as_bytes()).await?;
        tcp.shutdown().await?;
        // Closed with bytes of the client's unread, TCP would take the answer back.
        let mut scrap = [0; 1024];
        while tcp.read(&mut scrap).await? > 0 {}
        Ok::<_, io::Error>(())
    };
    if let Ok(Err(error)) = timeout(REFUSAL_TIMEOUT, told).await {
        tracing::debug!(%error, "could not tell a connection that it was refused");
    }
}

/// How a server ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Drained {
    /// Connections that were still there when [`Config::drain_timeout`] was over, and were cut.
    pub cut: usize,
}

/// Why a server could not be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// Something else listens there.
    #[error(
        "{address} is in use: another program listens there; stop it or choose another address"
    )]
    InUse {
        /// The setting that asked for it.
        key: &'static str,
        /// The address asked for.
        address: SocketAddr,
    },
    /// The address cannot be listened on.
    #[error("cannot listen on {address}")]
    Listen {
        /// The setting that asked for it.
        key: &'static str,
        /// The address asked for.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// Clients and operators are to be listened to on the same address.
    #[error("listen and metrics.listen are both {address}: the operators' port is one of its own")]
    OnePort {
        /// The address.
        address: SocketAddr,
    },
    /// It is said how proxies tell whose connections they hand on, and not who they are.
    #[error(
        "{key} says what proxies do, and proxies.trusted names none: nobody would be taken for one"
    )]
    NoProxies {
        /// The setting that would do nothing.
        key: &'static str,
    },
    /// The log in [`Config::data_dir`] cannot be opened.
    #[error(transparent)]
    Log(#[from] OpenError),
    /// The runtime was shut down meanwhile.
    #[error("the runtime was shut down before the server was started")]
    Stopped,
    /// A limit or a time is out of its bounds.
    #[error("{name} is out of bounds: it must be {bounds}")]
    Limit {
        /// The setting's key.
        name: &'static str,
        /// What it must be.
        bounds: &'static str,
    },
    /// An entry of [`Config::allow_hosts`] is no `name` or `name:port`; `*` and port 0 are none.
    #[error("{host:?} is not a host name, with or without a port; name each host")]
    Host {
        /// The entry.
        host: String,
    },
    /// A namespace's name is no channel's.
    #[error("namespace.{name:?} is not a channel's name")]
    Namespace {
        /// The name.
        name: String,
        /// What is wrong with it.
        source: NameError,
    },
    /// TLS cannot be set up.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Keys or tokens cannot be set up.
    #[error(transparent)]
    Auth(#[from] AuthError),
    /// Spans cannot be sent.
    #[error(transparent)]
    Traces(#[from] TracesError),
    /// An entry of [`Config::allow_origins`] is no origin.
    #[error("{origin:?} is not an origin such as https://app.example, nor * alone")]
    Origin {
        /// The entry.
        origin: String,
    },
}

impl From<BadEntry> for BindError {
    fn from(entry: BadEntry) -> Self {
        match entry {
            BadEntry::Host(host) => Self::Host { host },
            BadEntry::Origin(origin) => Self::Origin { origin },
        }
    }
}

impl Config {
    /// Refuses what a server could not do its work under. [`Server::bind`] and [`Reload::apply`] do
    /// so too; this is for one who wants to know before.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn check(&self) -> Result<(), BindError> {
        bounds(self)?;
        if self.metrics.listen == Some(self.listen) && self.listen.port() != 0 {
            return Err(BindError::OnePort {
                address: self.listen,
            });
        }
        if self.proxies.trusted.is_empty() {
            let useless = match (self.proxies.header, self.proxies.protocol) {
                (ForwardedBy::None, false) => None,
                (ForwardedBy::None, true) => Some("proxies.protocol"),
                _ => Some("proxies.header"),
            };
            useless.map_or(Ok(()), |key| Err(BindError::NoProxies { key }))?;
        }
        for name in self.namespaces.keys() {
            name.parse::<Channel>()
                .map_err(|source| BindError::Namespace {
                    name: name.clone(),
                    source,
                })?;
        }
        Guard::new(self.listen.ip(), &self.allow_hosts, &self.allow_origins)?;
        Auth::new(self, None)?;
        tls::server(&self.tls)?;
        Traces::new(&self.traces)?;
        Ok(())
    }
}

/// Refuses limits under which the server could not do its work.
fn bounds(config: &Config) -> Result<(), BindError> {
    /// Far more than anything needs, and far from where sums of times overflow.
    const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);
    const AT_LEAST_ONE: &str = "at least 1";

    let history = &config.history;
    for (name, limit) in [
        ("history.count", history.count),
        ("history.bytes", history.bytes),
        ("history.total_bytes", history.total_bytes.unwrap_or(1)),
        ("history.channels", history.channels),
        ("limits.publication", config.max_publication),
        (
            "limits.connections_per_address",
            config.max_connections_per_address,
        ),
        ("limits.accept_rate", config.accept_rate),
        ("limits.handshakes", config.max_handshakes),
        ("limits.request_rate", config.request_rate),
        ("limits.publish_rate", config.publish_rate),
        ("limits.memory", config.max_memory),
        ("limits.message", config.max_message),
        ("limits.message_rate", config.message_rate),
        ("limits.queue", config.max_queue),
        ("limits.idempotency_keys", config.max_idempotency_keys),
    ] {
        if limit == 0 {
            return Err(BindError::Limit {
                name,
                bounds: AT_LEAST_ONE,
            });
        }
    }
    for namespace in config.namespaces.values() {
        if namespace.history.bytes == Some(0) {
            return Err(BindError::Limit {
                name: "namespace.NAME.history.bytes",
                bounds: AT_LEAST_ONE,
            });
        }
    }
    for (name, limit) in [
        ("limits.connections", config.max_connections),
        ("limits.bodies", config.max_bodies),
    ] {
        if !(1..=Semaphore::MAX_PERMITS).contains(&limit) {
            let bounds = "at least 1 and at most 2^61 - 1";
            return Err(BindError::Limit { name, bounds });
        }
    }
    let ages = config.namespaces.values();
    let ages = ages.filter_map(|namespace| namespace.history.age);
    let ages = ages.map(|age| ("namespace.NAME.history.age", age));
    for (name, time) in [
        ("history.age", history.age),
        ("data_dir_wait", config.data_dir_wait),
        ("timeouts.header", config.header_timeout),
        ("timeouts.body", config.body_timeout),
        ("timeouts.idle", config.idle_timeout),
        ("timeouts.write", config.write_timeout),
        ("timeouts.heartbeat", config.heartbeat),
        ("drain", config.drain_timeout),
    ]
    .into_iter()
    .chain(ages)
    {
        if time.is_zero() || time > YEAR {
            return Err(BindError::Limit {
                name,
                bounds: "more than 0 and at most a year",
            });
        }
    }
    Ok(())
}
