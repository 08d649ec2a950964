//! What is between the server and its clients: TLS and proxies.

use std::path::PathBuf;

use ipnet::IpNet;

use super::setting::settings;

settings! {
    /// TLS on the port that is listened on. Both files are read again by a reload.
    pub struct TlsConfig {
        /// A PEM file with the server's certificate and those that lead from it to the root.
        cert = MaybeFile, live => cert: Option<PathBuf> = None;

        /// A PEM file with the certificate's private key.
        key = MaybeFile, live => key: Option<PathBuf> = None;
    }
}

settings! {
    /// Proxies before the server. Who is not one of them is taken for the client, whatever it says.
    pub struct ProxyConfig {
        /// Their addresses.
        trusted = Networks, live => trusted: Vec<IpNet> = Vec::new();

        /// The field in which they tell the client's address. Name the one that they write: a client
        /// may have written the other.
        header = Forwarders, live => header: ForwardedBy = ForwardedBy::None;

        /// Whether they begin each connection with a PROXY header, version 1 or 2. Then one of theirs
        /// that does not is closed.
        protocol = Switch, live => protocol: bool = false;
    }
}

/// How a proxy tells the client's address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ForwardedBy {
    /// It does not: the proxy stands for all of its clients.
    None,
    /// By `Forwarded` (RFC 7239).
    Forwarded,
    /// By `X-Forwarded-For`.
    XForwardedFor,
}
