//! What a server is told when it starts: [`Config`], with a safe default for everything.
//!
//! Each setting is declared once, in [`settings!`](setting): its field here, its default, its key in
//! a file, in the environment and on the command line, what may be written for it, and its line in
//! `docs/configuration.md` all come from that.

mod access;
mod namespace;
mod network;
mod ratio;
mod setting;
mod value;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use self::setting::settings;
use crate::channel::{Channel, Filter};

pub use self::access::{ApiKey, Decision, Secret, TokenConfig, WebhookConfig};
pub use self::namespace::{Anonymous, History, Namespace, Slow, SlowPolicy};
pub(crate) use self::namespace::{of as namespace_of, touched};
pub use self::network::{ForwardedBy, ProxyConfig, TlsConfig};
pub use self::ratio::Ratio;
pub use self::setting::{Setting, SettingError, Settings};
pub use self::value::Raw;

settings! {
    /// How a [`Server`](crate::Server) listens, whom it lets in, and the limits it keeps.
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
    pub struct Config {
        /// Address, or host name, and port to listen on; port 0 takes any free one.
        /// The real address is printed.
        listen = Address, fixed => listen: SocketAddr = SocketAddr::from((Ipv4Addr::LOCALHOST, 8000));

        /// Web origins beside the server's own whose pages may use the channels, each as a browser
        /// writes it (`https://app.example`, no path), or `*` for all.
        allow_origins = Texts, live => allow_origins: Vec<String> = Vec::new();

        /// Names beside those listened on that a request's `Host` may bear, each `push.example` (any
        /// port) or `push.example:8443`; there is no `*`. Needed behind a proxy and for public names.
        allow_hosts = Texts, live => allow_hosts: Vec<String> = Vec::new();

        /// Directory to keep publications in, so that they outlive the server; one server at a time has
        /// it, and it is made if it is not there. Where none is named, `openline serve` takes systemd's
        /// `STATE_DIRECTORY`, else `openline` in the user's data directory (`$XDG_DATA_HOME` or
        /// `~/.local/share`); `openline demo` and a program that embeds the server keep publications in
        /// memory. `docs/storage.md` says what is guaranteed.
        data_dir = MaybeDirectory, fixed => data_dir: Option<PathBuf> = None;

        /// Keep publications in memory only, whatever `data_dir` says here or in the environment: they
        /// are gone with the server, and every cursor is a gap after it.
        memory = Switch, fixed => memory: bool = false;

        /// How long a start waits for another server to let go of `data_dir`: one that takes over from
        /// it, with the same socket, has its connections wait meanwhile. After it the start fails.
        data_dir_wait = Time, fixed => data_dir_wait: Duration = Duration::from_secs(30);

        /// Whether publications are compressed on WebSockets whose client can (permessage-deflate), where
        /// no namespace says otherwise; each once, for all that hear it. It makes JSON smaller, and costs
        /// time. Leave it off where a publication holds a secret beside text that others may choose: its
        /// length would tell of the secret. In force for connections to come.
        compression = Switch, live => compression: bool = false;

        /// Largest body of a publication; past it the answer is `413`.
        limits.publication = Size, live => max_publication: usize = 262_144;

        /// Connections open at once; past it a new one is told `503` and closed.
        limits.connections = Count, fixed => max_connections: usize = 10_000;

        /// Connections open at once from one address (of IPv6, from one /64 block); past it a new one
        /// is told `503`. Not counted are this machine itself and trusted proxies, whose clients are.
        limits.connections_per_address = Count, live => max_connections_per_address: usize = 1_000;

        /// New connections taken within a second; past it a new one is told `503`.
        limits.accept_rate = Count, live => accept_rate: usize = 5_000;

        /// Connections open at once that have not sent a whole request yet; past it a new one is told
        /// `503`, or just closed where TLS would have to be spoken first.
        limits.handshakes = Count, live => max_handshakes: usize = 4_000;

        /// Requests a second from one address (counted as connections are); past it the answer is
        /// `429`.
        limits.request_rate = Count, live => request_rate: usize = 1_000;

        /// Publications a second of one client, by its token's subject or its address; past it the
        /// answer is `429`. Keys have a rate of their own.
        limits.publish_rate = Count, live => publish_rate: usize = 100;

        /// Bytes of request bodies that are being received at once, of all clients; past it the answer
        /// is `503`.
        limits.bodies = Size, fixed => max_bodies: usize = 64 << 20;

        /// Memory of the whole process, as the system counts it (on Linux), above which no new
        /// connection, no listener and no publication is taken; they are told `503`.
        limits.memory = Size, live => max_memory: usize = 2 << 30;

        /// Longest message that a client may send on a WebSocket, which is a token; past it the
        /// connection is closed with code 1009.
        limits.message = Size, live => max_message: usize = 16 << 10;

        /// Messages a second that a client may send on a WebSocket; past it the connection is closed
        /// with code 1008.
        limits.message_rate = Count, live => message_rate: usize = 5;

        /// Bytes of publications that may wait for one subscriber; past it the subscriber is let go,
        /// to come back with its cursor. The publications are shared by all subscribers, so this
        /// bounds what a stalled one keeps alive, not what each one costs.
        limits.queue = Size, fixed => max_queue: usize = 1 << 20;

        /// Idempotency keys remembered at once, each for five minutes and of at most about 400 bytes;
        /// past it a publication that bears a new key is told `503`.
        limits.idempotency_keys = Count, fixed => max_idempotency_keys: usize = 100_000;

        /// Time for the head of a request to arrive whole, from its first byte.
        timeouts.header = Time, live => header_timeout: Duration = Duration::from_secs(10);

        /// Time for the body of a request to arrive whole; past it the answer is `408`.
        timeouts.body = Time, live => body_timeout: Duration = Duration::from_secs(30);

        /// How long a connection may stay open between two requests.
        timeouts.idle = Time, live => idle_timeout: Duration = Duration::from_secs(75);

        /// How long a client may take no bytes while some wait for it, before the connection is cut, or over HTTP/2 the stream.
        timeouts.write = Time, live => write_timeout: Duration = Duration::from_secs(60);

        /// Time between the signs of life on SSE and NDJSON streams.
        timeouts.heartbeat = Time, live => heartbeat: Duration = Duration::from_secs(25);

        /// How long a shutdown waits for connections to end before it cuts them.
        drain = Time, live => drain_timeout: Duration = Duration::from_secs(10);

        /// What `openline` logs on standard error: `error`, `warn`, `info`, `debug`, `trace`, or
        /// filters such as `openline_server=debug`. A program that embeds the server has its own log.
        log = LogFilter, fixed => log: String = "warn".to_owned();

        /// How it logs: text for people, or an object of JSON a line for programs.
        log_format = LogFormats, fixed => log_format: LogFormat = LogFormat::Text;
    }
    groups {
        /// What is kept of the publications of the past.
        history => history: HistoryLimits;

        /// What clients without credentials may do where no namespace says otherwise.
        anonymous => anonymous: Anonymous;

        /// What listeners are sent that are too slow for everything, where no namespace says otherwise.
        slow => slow: Slow;

        /// Tokens (JWT) of clients.
        token => token: TokenConfig;

        /// A back end that is asked who somebody is, or whether they may.
        webhook => webhook: WebhookConfig;

        /// TLS on the port that is listened on.
        tls => tls: TlsConfig;

        /// The operators' port.
        metrics => metrics: MetricsConfig;

        /// Spans for a collector of OpenTelemetry.
        traces => traces: TracesConfig;

        /// Proxies before the server, which tell whose connections they hand on.
        proxies => proxies: ProxyConfig;
    }
    named {
        /// API keys of back ends, each by a name that logs and metrics show.
        key => keys: ApiKey;

        /// Options of all channels below a prefix: `[namespace.flights]` is for `flights` and
        /// `flights/…`. Of several that fit, the longest counts.
        namespace => namespaces: Namespace;
    }
    plain {
        /// Whether the embedded pages (`/`, `/assets/…`) and the meters that they read (`/meters`,
        /// `?meter=`) are served. Default: no.
        pages: bool = false;
    }
}

impl Config {
    /// Every setting that there is, in the order of the reference.
    ///
    /// ```
    /// let settings = openline_server::Config::settings();
    /// assert!(settings.iter().any(|setting| setting.key() == "limits.connections"));
    /// ```
    pub fn settings() -> Vec<Setting> {
        let mut all = Vec::new();
        Self::describe(&[], &mut all);
        all
    }

    /// The keys of those settings that differ in `new` and that a reload cannot put into force.
    pub fn needs_restart(&self, new: &Self) -> Vec<String> {
        let mut keys = Vec::new();
        self.fixed(new, &[], &mut keys);
        keys
    }

    /// What slow listeners are sent in `namespace`, or without one, and the rate for
    /// [`SlowPolicy::Rate`].
    pub fn slow_in(&self, namespace: Option<&Namespace>) -> (SlowPolicy, usize) {
        let own = namespace.map(|namespace| &namespace.slow);
        let policy = own.and_then(|slow| slow.policy).or(self.slow.policy);
        let rate = own.and_then(|slow| slow.rate).or(self.slow.rate);
        (policy.unwrap_or(SlowPolicy::Disconnect), rate.unwrap_or(10))
    }

    /// Whether everything that `filter` asks for may be compressed.
    pub(crate) fn compresses(&self, filter: &Filter) -> bool {
        let mut touched = touched(&self.namespaces, filter).into_iter();
        touched.all(|namespace| {
            let own = namespace.and_then(|namespace| namespace.compression);
            own.unwrap_or(self.compression)
        })
    }

    /// The options of `channel`'s namespace, if it is in one.
    pub fn namespace(&self, channel: &Channel) -> Option<&Namespace> {
        namespace::of(&self.namespaces, channel.as_str()).map(|(_, namespace)| namespace)
    }
}

settings! {
    /// What is kept of the publications of the past. Past any bound the oldest publication goes, the
    /// latest of a channel too, and whoever comes back with a cursor from before it is told of the
    /// gap. A bound that a reload makes smaller is in force when the reload is done.
    ///
    /// A publication that is over a bound by itself is handed to those who listen and not kept.
    ///
    /// A publication counts with its body, its names and a fixed
    /// [`OVERHEAD`](crate::Publication::OVERHEAD). The forms in which it goes over the wire are made
    /// when first needed and then shared; if every form is asked for, the memory in use is about six
    /// times what is counted, and more for text of control characters, which JSON must escape.
    pub struct HistoryLimits {
        /// Publications kept in a channel.
        count = Count, live => count: usize = 100;

        /// Bytes kept in a channel.
        bytes = Size, live => bytes: usize = 1 << 20;

        /// Age up to which a publication is kept.
        age = Time, live => age: Duration = Duration::from_secs(24 * 60 * 60);

        /// Bytes kept in all channels together. Where it is not set, 64 MiB in memory and 1 GiB on the
        /// disk; `docs/storage.md` says what that takes in memory, and how long a start with it takes.
        total_bytes = MaybeSize, live => total_bytes: Option<usize> = None;

        /// Channels known at once, those included of which only a floor is left. Past it the emptied
        /// channels are forgotten first, then the channel whose latest publication is the oldest.
        channels = Count, live => channels: usize = 100_000;
    }
}

settings! {
    /// The operators' port, which answers `/metrics`, `/healthz` and `/readyz` to whoever reaches it.
    pub struct MetricsConfig {
        /// Its address; not one that clients reach.
        listen = MaybeAddress, fixed => listen: Option<SocketAddr> = None;
    }
}

settings! {
    /// Spans of requests and publications, for a collector of OpenTelemetry. Nothing waits for it.
    pub struct TracesConfig {
        /// Where it takes OTLP over HTTP, such as `http://localhost:4318`: `/v1/traces` is appended. Without
        /// one no span is made. Where none is set, `openline` takes `OTEL_EXPORTER_OTLP_ENDPOINT`.
        endpoint = MaybeText, fixed => endpoint: Option<String> = None;

        /// Which part of the traces that begin here is kept. A request whose `traceparent` says whether
        /// its trace is kept is obeyed.
        ratio = Part, fixed => ratio: Ratio = Ratio::HUNDREDTH;
    }
}

/// How logs are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum LogFormat {
    /// Lines for people.
    Text,
    /// An object of JSON a line.
    Json,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_unique_and_lead_to_what_they_declare() {
        let settings = Config::settings();
        let mut keys: Vec<_> = settings.iter().map(Setting::key).collect();
        keys.sort();
        keys.dedup();
        assert_eq!(keys.len(), settings.len());

        for setting in &settings {
            let path: Vec<_> = setting
                .path
                .iter()
                .map(|part| if *part == "*" { "name" } else { part })
                .collect();
            let nonsense = Raw::Other("nothing at all");
            let error = Config::default().set(&path, &nonsense).unwrap_err();
            assert!(
                matches!(error, SettingError::Value { .. }),
                "{}: {error}",
                setting.key()
            );
        }
        assert_eq!(
            Config::default().set(&["limits"], &Raw::Integer(1)),
            Err(SettingError::Unknown)
        );
    }

    #[test]
    fn a_default_can_be_written_as_it_is_shown() {
        for setting in Config::settings() {
            let Some(default) = setting.default.as_deref().filter(|_| !setting.is_named()) else {
                continue;
            };
            let raw = Raw::Text(default.replace(['[', ']', '"'], ""));
            let mut config = Config::default();
            config.set(&setting.path, &raw).unwrap();
            assert_eq!(config, Config::default(), "{}", setting.key());
        }
    }

    #[test]
    fn what_a_reload_cannot_change_is_named() {
        let old = Config::default();
        let mut new = old.clone();
        new.max_publication = 5;
        assert!(old.needs_restart(&new).is_empty());
        new.max_connections = 5;
        new.max_queue = 5;
        new.history.count = 5;
        assert_eq!(
            old.needs_restart(&new),
            ["limits.connections", "limits.queue"]
        );
    }

    #[test]
    fn secrets_are_not_shown() {
        let mut config = Config::default();
        let secret = "0123456789abcdef0123456789abcdef";
        config
            .set(&["token", "secret"], &Raw::Text(secret.to_owned()))
            .unwrap();
        assert_eq!(config.token.secret.as_ref().unwrap().expose(), secret);
        assert!(!format!("{config:?}").contains(secret));
    }
}
