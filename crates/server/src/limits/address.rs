//! Whose a connection is: the address that the per-address limits count by.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::HeaderMap;
use http::header::{FORWARDED, HeaderName};
use ipnet::IpNet;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::config::{ForwardedBy, ProxyConfig};
use crate::sync::lock;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// Most bytes of a PROXY header after its fixed part: addresses, and what proxies add to them.
const MAX_PROXY_HEADER: usize = 2048;
/// Longest first line of the text form.
const MAX_PROXY_LINE: usize = 107;

/// Where a connection comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Origin {
    /// The client, or the proxy that stands for clients.
    pub(crate) address: IpAddr,
    /// Whether that is a proxy which is believed.
    pub(crate) is_proxy: bool,
    /// Whether a proxy said so.
    pub(crate) is_told: bool,
}

impl Origin {
    /// A connection as it was accepted.
    pub(crate) fn of(peer: SocketAddr, proxies: &ProxyConfig) -> Self {
        let address = peer.ip().to_canonical();
        Self {
            address,
            is_proxy: is_in(&proxies.trusted, address),
            is_told: false,
        }
    }

    /// The address that is counted: of many clients behind a proxy it is not the proxy's, and what
    /// comes from this machine is not to lock this machine out.
    pub(crate) fn counted(&self) -> Option<Block> {
        let is_free = self.is_proxy || (self.address.is_loopback() && !self.is_told);
        (!is_free).then(|| Block::of(self.address))
    }
}

/// Whose a request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Client {
    /// The client's address.
    pub(crate) address: IpAddr,
    /// What it is counted as, if it is.
    pub(crate) counted: Option<Block>,
}

impl Client {
    /// One that nothing is known of, and that is counted with all others of that kind.
    pub(crate) const UNKNOWN: Self = Self {
        address: IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        counted: Some(Block::V6([0; 4])),
    };

    /// The client of a request on a connection from `origin`, if it is the connection's own.
    pub(crate) fn of(origin: &Origin) -> Self {
        Self {
            address: origin.address,
            counted: origin.counted(),
        }
    }
}

/// What one client is counted as: an IPv4 address, or the block of IPv6 addresses that one gets who
/// gets one (RFC 6177).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Block {
    V4([u8; 4]),
    V6([u16; 4]),
}

impl Block {
    fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => Self::V4(address.octets()),
            IpAddr::V6(address) => {
                let [a, b, c, d, ..] = address.segments();
                Self::V6([a, b, c, d])
            }
        }
    }
}

impl fmt::Display for Block {
    /// Its first address.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::V4(octets) => Ipv4Addr::from(octets).fmt(f),
            Self::V6([a, b, c, d]) => Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).fmt(f),
        }
    }
}

fn is_in(networks: &[IpNet], address: IpAddr) -> bool {
    let address = address.to_canonical();
    networks.iter().any(|network| network.contains(&address))
}

/// The client that a trusted proxy says it asks for, by the one field that it is known to write: the
/// last address in it that is not a trusted proxy's own, since who writes before that is not known.
pub(crate) fn forwarded(origin: &Origin, proxies: &ProxyConfig, headers: &HeaderMap) -> Client {
    if !origin.is_proxy {
        return Client::of(origin);
    }
    let name = match proxies.header {
        ForwardedBy::None => return Client::of(origin),
        ForwardedBy::Forwarded => FORWARDED,
        ForwardedBy::XForwardedFor => X_FORWARDED_FOR,
    };
    let lines = headers.get_all(&name).into_iter();
    let hops = lines
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(','))
        .map(|hop| match proxies.header {
            ForwardedBy::Forwarded => forwarded_for(hop),
            _ => hop_address(hop),
        });
    let hops: Vec<_> = hops.collect();
    for hop in hops.into_iter().rev() {
        match hop {
            Some(address) if is_in(&proxies.trusted, address) => {}
            Some(address) => {
                let address = address.to_canonical();
                return Client {
                    address,
                    counted: Some(Block::of(address)),
                };
            }
            // A name that hides an address: nobody is known behind it.
            None => break,
        }
    }
    Client::of(origin)
}

/// The `for=` of an element of `Forwarded` (RFC 7239 §4).
fn forwarded_for(element: &str) -> Option<IpAddr> {
    element.split(';').find_map(|pair| {
        let (name, value) = pair.trim().split_once('=')?;
        name.eq_ignore_ascii_case("for")
            .then(|| hop_address(value.trim_matches('"')))?
    })
}

/// An address with or without a port, an IPv6 one with or without brackets.
fn hop_address(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Some(address.ip());
    }
    text.trim_start_matches('[')
        .trim_end_matches(']')
        .parse()
        .ok()
}

/// Reads the PROXY header (version 1 or 2) with which a proxy begins a connection. Its client; the
/// proxy itself where it asks on its own behalf.
pub(crate) async fn read_header(
    tcp: &mut TcpStream,
    origin: Origin,
    deadline: Duration,
) -> io::Result<Origin> {
    let wrong = |what| io::Error::new(io::ErrorKind::InvalidData, what);
    let read = async {
        let bytes = header_bytes(tcp).await?;
        let source = match ppp::HeaderResult::parse(&bytes) {
            ppp::HeaderResult::V1(Ok(header)) => match header.addresses {
                ppp::v1::Addresses::Tcp4(pair) => Some(pair.source_address.into()),
                ppp::v1::Addresses::Tcp6(pair) => Some(pair.source_address.into()),
                ppp::v1::Addresses::Unknown => None,
            },
            ppp::HeaderResult::V2(Ok(header)) => match header.addresses {
                ppp::v2::Addresses::IPv4(pair) => Some(pair.source_address.into()),
                ppp::v2::Addresses::IPv6(pair) => Some(pair.source_address.into()),
                ppp::v2::Addresses::Unix(_) | ppp::v2::Addresses::Unspecified => None,
            },
            _ => return Err(wrong("the connection begins with no PROXY header")),
        };
        Ok(match source {
            Some(address) => Origin {
                address: IpAddr::to_canonical(&address),
                is_proxy: false,
                is_told: true,
            },
            None => origin,
        })
    };
    timeout(deadline, read)
        .await
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// The bytes of the header, and not one of what follows.
async fn header_bytes(tcp: &mut TcpStream) -> io::Result<Vec<u8>> {
    let too_long = || io::Error::new(io::ErrorKind::InvalidData, "the PROXY header is too long");
    /// The fixed part of the binary form; no text form is shorter than that.
    const FIXED: usize = 16;
    let mut bytes = vec![0; FIXED - 1];
    tcp.read_exact(&mut bytes).await?;
    if bytes.starts_with(b"PROXY ") {
        while !bytes.ends_with(b"\r\n") {
            if bytes.len() >= MAX_PROXY_LINE {
                return Err(too_long());
            }
            bytes.push(tcp.read_u8().await?);
        }
    } else if bytes.starts_with(ppp::v2::PROTOCOL_PREFIX) {
        bytes.push(tcp.read_u8().await?);
        let length = usize::from(u16::from_be_bytes([bytes[FIXED - 2], bytes[FIXED - 1]]));
        if length > MAX_PROXY_HEADER {
            return Err(too_long());
        }
        bytes.resize(FIXED + length, 0);
        tcp.read_exact(&mut bytes[FIXED..]).await?;
    }
    Ok(bytes)
}

/// How many each address has.
#[derive(Debug, Clone, Default)]
pub(crate) struct Addresses(Arc<Mutex<HashMap<Block, usize>>>);

impl Addresses {
    /// One more for `address`, unless it has as many as it may.
    pub(super) fn take(&self, address: Block, bound: usize) -> Option<AddressPlace> {
        let mut counts = lock(&self.0);
        let count = counts.entry(address).or_default();
        if *count >= bound {
            return None;
        }
        *count += 1;
        Some(AddressPlace {
            addresses: Some(self.clone()),
            address,
        })
    }

    /// One less for `address`.
    pub(super) fn give_back(&self, address: Block) {
        let mut counts = lock(&self.0);
        if let Some(count) = counts.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&address);
            }
        }
    }
}

/// A place among those of an address, given back when it is dropped.
#[derive(Debug)]
pub(crate) struct AddressPlace {
    addresses: Option<Addresses>,
    address: Block,
}

impl AddressPlace {
    /// The address, whose place somebody else [gives back](Addresses::give_back).
    pub(super) fn keep(mut self) -> Block {
        self.addresses = None;
        self.address
    }
}

impl Drop for AddressPlace {
    fn drop(&mut self) {
        if let Some(addresses) = &self.addresses {
            addresses.give_back(self.address);
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn client(peer: &str, header: ForwardedBy, lines: &[&str]) -> String {
        let proxies = ProxyConfig {
            trusted: vec!["10.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()],
            header,
            ..ProxyConfig::default()
        };
        let name = match header {
            ForwardedBy::Forwarded => FORWARDED,
            _ => X_FORWARDED_FOR,
        };
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(&name, HeaderValue::from_str(line).unwrap());
        }
        let origin = Origin::of(SocketAddr::new(peer.parse().unwrap(), 1), &proxies);
        forwarded(&origin, &proxies, &headers).address.to_string()
    }

    #[test]
    fn the_last_address_that_is_no_proxy_is_the_client() {
        let by = |peer: &str, lines: &[&str]| client(peer, ForwardedBy::XForwardedFor, lines);
        assert_eq!(by("10.0.0.1", &["192.0.2.7"]), "192.0.2.7");
        assert_eq!(by("::ffff:10.0.0.1", &["192.0.2.7"]), "192.0.2.7");
        assert_eq!(
            by("10.0.0.1", &["1.1.1.1, 192.0.2.7, 10.2.2.2"]),
            "192.0.2.7"
        );
        assert_eq!(
            by("10.0.0.1", &["1.1.1.1", "[2001:db8::7]:443"]),
            "2001:db8::7"
        );
        assert_eq!(by("10.0.0.1", &["192.0.2.7:5000"]), "192.0.2.7");
        assert_eq!(by("10.0.0.1", &["192.0.2.7, unknown"]), "10.0.0.1");
        assert_eq!(by("10.0.0.1", &[]), "10.0.0.1");
        // Whoever is no proxy of ours may write what it likes.
        assert_eq!(by("192.0.2.9", &["1.1.1.1"]), "192.0.2.9");
        // The field that our proxy does not write may be a client's own.
        assert_eq!(
            client("10.0.0.1", ForwardedBy::None, &["1.1.1.1"]),
            "10.0.0.1"
        );
    }

    #[test]
    fn forwarded_is_read_as_its_grammar_says() {
        let by = |lines: &[&str]| client("10.0.0.1", ForwardedBy::Forwarded, lines);
        assert_eq!(by(&["for=192.0.2.7;proto=https"]), "192.0.2.7");
        assert_eq!(
            by(&["proto=https; For=\"[2001:db8::7]:80\", for=10.1.1.1"]),
            "2001:db8::7"
        );
        assert_eq!(by(&["for=1.1.1.1, for=_hidden"]), "10.0.0.1");
    }

    #[test]
    fn neighbours_in_a_block_are_one_and_places_come_back() {
        let block = |text: &str| Block::of(text.parse().unwrap());
        assert_eq!(block("2001:db8:1:2:3::4"), block("2001:db8:1:2:ffff::"));
        assert_ne!(block("192.0.2.1"), block("192.0.2.2"));
        assert_eq!(block("192.0.2.1").to_string(), "192.0.2.1");
        assert_eq!(block("2001:db8:1:2:3::4").to_string(), "2001:db8:1:2::");
        let addresses = Addresses::default();
        let address = block("192.0.2.1");
        let first = addresses.take(address, 2).unwrap();
        let _second = addresses.take(address, 2).unwrap();
        assert!(addresses.take(address, 2).is_none());
        drop(first);
        assert!(addresses.take(address, 2).is_some());
    }
}
