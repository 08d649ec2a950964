//! The Openline push server as a library: one URL per channel, every way to listen, one cursor.
//!
//! A channel is a path such as `flights/UA1545-EWR`. Whoever has news of it sends a `POST` to
//! `/channels/flights/UA1545-EWR`; whoever wants the news gets them from the same URL by polling,
//! long polling, Server-Sent Events, lines of JSON, or a WebSocket. Whatever way was used, a
//! listener that comes back with its last cursor gets exactly what it missed, or is told that this
//! can no longer be done.
//!
//! ```
//! use openline_server::{Config, Server};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let config = Config { listen: "127.0.0.1:0".parse()?, ..Config::default() };
//! let server = Server::bind(config).await?;
//! println!("listening on http://{}", server.local_addr());
//! # let stop = async {};
//! let drained = server.run(stop).await;
//! assert_eq!(drained.cut, 0);
//! # Ok(())
//! # }
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(example()).unwrap();
//! ```
//!
//! # How it is built
//!
//! A request is judged by the guard (whose name and which page it comes under), then turned by a
//! *transport* into a question to the [`Broker`], which keeps the log and knows how to follow it
//! without a hole or a double. The broker hands what is published to the [`Hub`], which puts it,
//! shared, into the bounded queue of each subscriber. [`Publication`] makes each form in which it
//! goes over the wire once.

mod admin;
mod auth;
mod broker;
mod channel;
mod clock;
mod config;
mod connection;
mod cursor;
mod drain;
mod fetch;
mod http;
mod http1;
mod http2;
mod hub;
mod limits;
mod line;
mod meter;
mod metrics;
mod pages;
mod publication;
mod publisher;
mod server;
mod slow;
mod sync;
mod takeover;
mod tls;
mod traces;
mod transport;
mod wire;
mod work;

pub use auth::{AuthError, KeyHash, NewKey};
pub use broker::{
    AppendOptions, Appended, Bounds, Broker, BrokerError, DiskBroker, Fingerprint, Idempotency,
    KEY_LIFETIME, MemoryBroker, Missed, MissedPage, OpenError, Outage, Page, Pages, Retention,
    Scope, Since, Stats, Subscription,
};
pub use channel::{Channel, Filter, MAX_NAME, MAX_SEGMENT, MAX_SEGMENTS, NameError, Pattern};
pub use clock::{Clock, SystemClock};
pub use config::{
    Anonymous, ApiKey, Config, Decision, ForwardedBy, History, HistoryLimits, LogFormat,
    MetricsConfig, Namespace, ProxyConfig, Ratio, Raw, Secret, Setting, SettingError, Settings,
    Slow, SlowPolicy, TlsConfig, TokenConfig, TracesConfig, WebhookConfig,
};
pub use cursor::{Cursor, CursorError, Epoch};
pub use hub::{Hub, HubGuard, Lagged, Live};
pub use publication::{Content, ContentError, Kind, MAX_CONTENT_TYPE, Publication};
pub use publisher::{PublishError, Published, Publisher};
pub use server::{BindError, Drained, Reload, Server};
pub use tls::TlsError;
pub use traces::TracesError;
