//! The listening server: from an address to connections, and to an end.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::broker::{Broker, DiskBroker, MemoryBroker, OpenError};
use crate::config::Config;
use crate::connection::Connections;
use crate::http::{App, BadEntry, Guard, UnderWay};
use crate::hub::Hub;
use crate::line::Line;
use crate::meter::Meters;
use crate::publisher::Publisher;
use crate::wire::Wire;

/// Connections past the bound that are told so at the same time; any more are just closed.
const MAX_REFUSALS: usize = 64;
/// How long such a one may take to hear it.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(2);
/// What it is told, before anything is spent on it.
const REFUSAL: &str = concat!(
    r#"{"type":"/problems/busy","title":"Busy","status":503,"#,
    r#""detail":"as many connections are open as this server takes; come back later"}"#,
    "\n"
);

/// A server that listens, and answers once it is [run](Self::run).
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    app: Arc<App>,
}

impl Server {
    /// Checks `config` and takes the address. Connections wait from now on, up to the system's
    /// backlog, until the server is [run](Self::run).
    ///
    /// Needs a tokio runtime with I/O and time.
    pub async fn bind(config: Config) -> Result<Self, BindError> {
        check(&config)?;
        let address = config.listen;
        let failed = |source: io::Error| match source.kind() {
            io::ErrorKind::AddrInUse => BindError::InUse { address },
            _ => BindError::Listen { address, source },
        };
        // Each server has its address for itself: no SO_REUSEPORT, which would let two of them
        // share it in silence.
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let guard = Guard::new(address.ip(), &config.allow_hosts, &config.allow_origins)?;

        let hub = Hub::new(config.max_queue);
        let keys = config.max_idempotency_keys;
        let history = config.history.clone();
        let broker: Arc<dyn Broker> = match config.data_dir.clone() {
            None => Arc::new(MemoryBroker::new(history, keys, hub)),
            Some(dir) => {
                let open = move || DiskBroker::open(&dir, history, keys, hub);
                let opened = tokio::task::spawn_blocking(open).await;
                Arc::new(opened.map_err(|_| BindError::Stopped)??)
            }
        };
        let app = Arc::new(App {
            publisher: Publisher::new(Arc::clone(&broker), config.max_publication),
            under_way: UnderWay::new(keys),
            config,
            broker,
            guard,
            meters: Meters::default(),
            drain: CancellationToken::new(),
            cut: CancellationToken::new(),
            tasks: TaskTracker::new(),
        });
        Ok(Self {
            listener,
            address,
            app,
        })
    }

    /// The address listened on, with the real port where any free one was asked for.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// A handle that publishes as `POST` does, before and while the server runs.
    pub fn publisher(&self) -> Publisher {
        self.app.publisher.clone()
    }

    /// Serves until `shutdown` is done, then drains: it stops listening, closes WebSockets with
    /// code 1012, ends streams, answers what is held, lets requests under way finish, and cuts
    /// what is still there after [`Config::drain_timeout`]. Then the log is closed, and a
    /// [`publisher`](Self::publisher) is told so. Dropping the future cuts at once.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Drained {
        let Self {
            listener,
            address,
            app,
        } = self;
        let _cut_when_dropped = app.cut.clone().drop_guard();
        let connections = Connections::new(Arc::clone(&app));
        tracing::info!(%address, "listening");
        tokio::select! {
            () = accept(&listener, &app, &connections) => {}
            () = pin!(shutdown) => {}
        }
        drop(listener);

        tracing::info!(connections = app.tasks.len(), "draining");
        app.drain.cancel();
        app.tasks.close();
        let cut = match timeout(app.config.drain_timeout, app.tasks.wait()).await {
            Ok(()) => 0,
            Err(_) => app.tasks.len(),
        };
        app.cut.cancel();
        app.tasks.wait().await;
        if let Err(error) = app.broker.close().await {
            tracing::error!(%error, "the log was not closed as it should be");
        }
        tracing::info!(cut, "stopped");
        Drained { cut }
    }
}

/// Accepts connections, for ever.
async fn accept(listener: &TcpListener, app: &Arc<App>, connections: &Connections) {
    /// The longest pause after an accept that failed.
    const MAX_PAUSE: Duration = Duration::from_secs(1);
    const FIRST_PAUSE: Duration = Duration::from_millis(10);

    let places = Arc::new(Semaphore::new(app.config.max_connections));
    let refusals = Arc::new(Semaphore::new(MAX_REFUSALS));
    let mut pause = FIRST_PAUSE;
    loop {
        match listener.accept().await {
            Ok((tcp, _)) => {
                pause = FIRST_PAUSE;
                // Small messages are to leave at once; that this fails only costs time.
                let _ = tcp.set_nodelay(true);
                if let Ok(place) = Arc::clone(&places).try_acquire_owned() {
                    connections.serve(tcp, place);
                } else if let Ok(place) = Arc::clone(&refusals).try_acquire_owned() {
                    app.tasks.spawn(refuse(tcp, place));
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

/// Tells a connection past the bound to come back later.
async fn refuse(tcp: TcpStream, place: OwnedSemaphorePermit) {
    tracing::debug!("refused a connection: too many are open");
    let line = Arc::new(Line::new(place));
    let mut wire = Wire::new(tcp, line, REFUSAL_TIMEOUT, REFUSAL_TIMEOUT);
    let answer = format!(
        "HTTP/1.1 503 Service Unavailable\r\n\
         content-type: application/problem+json\r\n\
         content-length: {}\r\n\
         cache-control: no-cache\r\n\
         retry-after: 5\r\n\
         connection: close\r\n\
         \r\n\
         {REFUSAL}",
        REFUSAL.len()
    );
    let told = async {
        wire.write_all(answer.as_bytes()).await?;
        wire.shutdown().await
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
        /// The address asked for.
        address: SocketAddr,
    },
    /// The address cannot be listened on.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address asked for.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
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
        /// The field of [`Config`].
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

/// Refuses limits under which the server could not do its work.
fn check(config: &Config) -> Result<(), BindError> {
    /// Far more than anything needs, and far from where sums of times overflow.
    const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);
    const AT_LEAST_ONE: &str = "at least 1";

    let history = &config.history;
    for (name, limit) in [
        ("history.count", history.count),
        ("history.bytes", history.bytes),
        ("history.total_bytes", history.total_bytes),
        ("history.channels", history.channels),
        ("max_publication", config.max_publication),
        ("max_queue", config.max_queue),
        ("max_idempotency_keys", config.max_idempotency_keys),
    ] {
        if limit == 0 {
            return Err(BindError::Limit {
                name,
                bounds: AT_LEAST_ONE,
            });
        }
    }
    if !(1..=Semaphore::MAX_PERMITS).contains(&config.max_connections) {
        let bounds = "at least 1 and at most 2^61 - 1";
        return Err(BindError::Limit {
            name: "max_connections",
            bounds,
        });
    }
    for (name, time) in [
        ("history.age", history.age),
        ("header_timeout", config.header_timeout),
        ("body_timeout", config.body_timeout),
        ("idle_timeout", config.idle_timeout),
        ("write_timeout", config.write_timeout),
        ("heartbeat", config.heartbeat),
        ("drain_timeout", config.drain_timeout),
    ] {
        if time.is_zero() || time > YEAR {
            return Err(BindError::Limit {
                name,
                bounds: "more than 0 and at most a year",
            });
        }
    }
    Ok(())
}
