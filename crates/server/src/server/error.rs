//! Why a server is not started.

use std::io;
use std::net::SocketAddr;

use crate::auth::AuthError;
use crate::broker::OpenError;
use crate::channel::NameError;
use crate::http::BadEntry;
use crate::tls::TlsError;
use crate::traces::TracesError;

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
    /// The log in [`Config::data_dir`](crate::Config::data_dir) cannot be opened.
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
    /// An entry of [`Config::allow_hosts`](crate::Config::allow_hosts) is no `name` or `name:port`; `*` and port 0 are none.
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
    /// An entry of [`Config::allow_origins`](crate::Config::allow_origins) is no origin.
    #[error("{origin:?} is not an origin such as https://app.example, nor * alone")]
    Origin {
        /// The entry.
        origin: String,
    },
}

impl BindError {
    /// What the system says of the address that a setting asked for.
    pub(super) fn listen(
        key: &'static str,
        address: SocketAddr,
    ) -> impl Fn(io::Error) -> Self + Copy {
        move |source| Self::Listen {
            key,
            address,
            source,
        }
    }
}

impl From<BadEntry> for BindError {
    fn from(entry: BadEntry) -> Self {
        match entry {
            BadEntry::Host(host) => Self::Host { host },
            BadEntry::Origin(origin) => Self::Origin { origin },
        }
    }
}
