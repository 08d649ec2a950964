//! What a server is told when it starts: [`Config`], with a safe default for everything.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// How a [`Server`](crate::Server) listens, and the limits it keeps.
///
/// Every limit is in force as it stands: `0` is never a word for "unlimited", and
/// [`Server::bind`](crate::Server::bind) refuses a limit of zero.
///
/// ```
/// use openline_server::Config;
///
/// let config = Config { listen: "127.0.0.1:0".parse().unwrap(), ..Config::default() };
/// assert_eq!(config.max_publication, 262_144);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Address to listen on; port 0 takes any free port. Default: `127.0.0.1:8000`.
    pub listen: SocketAddr,
    /// Whether the embedded pages (`/`, `/assets/…`) and the meters that they read (`/meters`,
    /// `?meter=`) are served. Default: no.
    pub pages: bool,
    /// Web origins beside the server's own whose pages may use the channels, each as a browser
    /// writes it (`https://app.example`, no path), or `*` for all. Default: none.
    pub allow_origins: Vec<String>,
    /// Names beside those listened on that a request's `Host` may bear, each `name` (any port) or
    /// `name:port`, none of them a `*`. Needed behind a proxy and for public names. Default: none.
    pub allow_hosts: Vec<String>,
    /// Directory to keep the log in, so that it outlives the process; made if it is not there, and
    /// used by one server at a time. Default: none, the log is in memory.
    pub data_dir: Option<PathBuf>,
    /// What is kept of the publications of the past.
    pub history: HistoryLimits,
    /// Largest body of a publication in bytes; past it the answer is `413`. Default: 262,144.
    pub max_publication: usize,
    /// Connections open at once; past it a new one is told `503` and closed. Default: 10,000.
    pub max_connections: usize,
    /// Bytes of publications that may wait for one subscriber; past it the subscriber is let go,
    /// to come back with its cursor. Default: 1 MiB. The publications are shared by all
    /// subscribers, so this bounds what a stalled one keeps alive, not what each one costs.
    pub max_queue: usize,
    /// Idempotency keys remembered at once, each for five minutes; past it a publication that
    /// bears a new key is told `503`. Default: 100,000, at most about 400 bytes each.
    pub max_idempotency_keys: usize,
    /// Time for the head of a request to arrive whole, from its first byte. Default: 10 s.
    pub header_timeout: Duration,
    /// Time for the body of a request to arrive whole; past it the answer is `408`. Default: 30 s.
    pub body_timeout: Duration,
    /// How long a connection may stay open between two requests. Default: 75 s.
    pub idle_timeout: Duration,
    /// How long a client may take no bytes while some wait for it, before the connection is cut.
    /// Default: 60 s.
    pub write_timeout: Duration,
    /// Time between the signs of life on SSE and NDJSON streams. Default: 25 s.
    pub heartbeat: Duration,
    /// How long a shutdown waits for connections to end before it cuts them. Default: 10 s.
    pub drain_timeout: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8000)),
            pages: false,
            allow_origins: Vec::new(),
            allow_hosts: Vec::new(),
            data_dir: None,
            history: HistoryLimits::default(),
            max_publication: 262_144,
            max_connections: 10_000,
            max_queue: 1 << 20,
            max_idempotency_keys: 100_000,
            header_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(75),
            write_timeout: Duration::from_secs(60),
            heartbeat: Duration::from_secs(25),
            drain_timeout: Duration::from_secs(10),
        }
    }
}

/// What is kept of the publications of the past. Past any bound the oldest publication goes, the
/// latest of a channel too, and whoever comes back with a cursor from before it is told of the gap.
///
/// A publication that is over a bound by itself is handed to those who listen and not kept.
///
/// A publication counts with its body, its names and a fixed
/// [`OVERHEAD`](crate::Publication::OVERHEAD). The forms in which it goes over the wire are made
/// when first needed and then shared; if every form is asked for, the memory in use is about six
/// times what is counted, and more for text of control characters, which JSON must escape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryLimits {
    /// Publications in a channel. Default: 100.
    pub count: usize,
    /// Bytes in a channel. Default: 1 MiB.
    pub bytes: usize,
    /// Age of a publication. Default: 24 hours.
    pub age: Duration,
    /// Bytes in all channels together. Default: 64 MiB.
    pub total_bytes: usize,
    /// Channels known at once, those included of which only a floor is left. Past it the emptied
    /// channels are forgotten first, then the channel whose latest publication is the oldest.
    /// Default: 100,000.
    pub channels: usize,
}

impl Default for HistoryLimits {
    fn default() -> Self {
        Self {
            count: 100,
            bytes: 1 << 20,
            age: Duration::from_secs(24 * 60 * 60),
            total_bytes: 64 << 20,
            channels: 100_000,
        }
    }
}
