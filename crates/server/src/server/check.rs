//! What no server could do its work under, refused before there is one.

use std::time::Duration;

use tokio::sync::Semaphore;

use super::BindError;
use crate::auth::Auth;
use crate::channel::Channel;
use crate::config::{Config, ForwardedBy};
use crate::http::Guard;
use crate::tls;
use crate::traces::Traces;

impl Config {
    /// Refuses what a server could not do its work under. [`Server::bind`](crate::Server::bind) and
    /// [`Reload::apply`](crate::Reload::apply) do so too; this is for one who wants to know before.
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
