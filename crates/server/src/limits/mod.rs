//! Admission: what a client may take of the server, decided before anything is spent on it.

mod address;
mod memory;
mod rate;

use std::mem;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::auth::Who;
use crate::config::Config;
use crate::sync::lock;

use self::address::{AddressPlace, Addresses, Block};
pub(crate) use self::address::{Client, Origin, forwarded, read_header};
use self::memory::Memory;
pub(crate) use self::rate::Meter;
use self::rate::Rates;

/// Why a connection or a request is not taken now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Refusal {
    /// As many connections are open as may be.
    Connections,
    /// This address has as many as it may have.
    Address,
    /// Too many came within a second.
    AcceptRate,
    /// Too many have not said yet what they want.
    Handshakes,
    /// This address asks too often.
    RequestRate,
    /// This publisher publishes too often.
    PublishRate,
    /// The process has as much memory as it may have.
    Memory,
    /// The bodies under way fill what they may fill.
    Bodies,
}

impl Refusal {
    /// All of them.
    pub(crate) const ALL: [Self; 8] = [
        Self::Connections,
        Self::Address,
        Self::AcceptRate,
        Self::Handshakes,
        Self::RequestRate,
        Self::PublishRate,
        Self::Memory,
        Self::Bodies,
    ];

    /// Its name in metrics.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Connections => "connections",
            Self::Address => "connections_per_address",
            Self::AcceptRate => "accept_rate",
            Self::Handshakes => "handshakes",
            Self::RequestRate => "request_rate",
            Self::PublishRate => "publish_rate",
            Self::Memory => "memory",
            Self::Bodies => "bodies",
        }
    }

    /// Whether it is this client's own doing.
    pub(crate) fn is_of_client(self) -> bool {
        matches!(self, Self::Address | Self::RequestRate | Self::PublishRate)
    }

    /// What the client is told.
    pub(crate) fn told(self) -> &'static str {
        match self {
            Self::Connections => {
                "as many connections are open as this server takes; come back later"
            }
            Self::Address => "your address has as many connections as it may have; close some",
            Self::AcceptRate => "too many connections come at once; come back later",
            Self::Handshakes => {
                "too many connections have not asked for anything yet; come back later"
            }
            Self::RequestRate => "your address asks too often; slow down",
            Self::PublishRate => "you publish too often; slow down",
            Self::Memory => "the server has no memory to spare; come back later",
            Self::Bodies => "too many bodies are being received; publish later",
        }
    }
}

/// What a connection was cut for, since it took too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Late {
    /// The head of a request, or what comes before it: a PROXY header, the TLS handshake.
    Header,
    /// What is sent to the client, which takes nothing.
    Write,
}

impl Late {
    /// Its name in metrics.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Header => "header",
            Self::Write => "write",
        }
    }
}

/// When to come back after a refusal: spread out, so that those who were refused together do not
/// come back together.
pub(crate) fn retry_after(reason: Refusal) -> Duration {
    let least = if reason.is_of_client() { 1 } else { 5 };
    Duration::from_secs(least + rand::random::<u64>() % (least + 1))
}

/// What is in use. It outlives every reload; the bounds are those in force when somebody asks.
#[derive(Debug)]
pub(crate) struct Limits {
    connections: Semaphore,
    handshakes: Mutex<usize>,
    addresses: Addresses,
    accepts: Mutex<Meter>,
    requests: Rates<Block>,
    publications: Rates<String>,
    bodies: Arc<Semaphore>,
    pub(crate) memory: Memory,
    refused: [AtomicU64; Refusal::ALL.len()],
    late_headers: AtomicU64,
    late_writes: AtomicU64,
}

impl Limits {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            connections: Semaphore::new(config.max_connections),
            handshakes: Mutex::new(0),
            addresses: Addresses::default(),
            accepts: Mutex::default(),
            requests: Rates::default(),
            publications: Rates::default(),
            bodies: Arc::new(Semaphore::new(config.max_bodies)),
            memory: Memory::new(),
            refused: Default::default(),
            late_headers: AtomicU64::new(0),
            late_writes: AtomicU64::new(0),
        }
    }

    /// Counts a refusal.
    pub(crate) fn refused(&self, reason: Refusal) {
        tracing::debug!(reason = reason.name(), "refused");
        let index = Refusal::ALL.iter().position(|other| *other == reason);
        if let Some(count) = index.and_then(|index| self.refused.get(index)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How often each reason was given.
    pub(crate) fn refusals(&self) -> impl Iterator<Item = (Refusal, u64)> {
        let counts = self
            .refused
            .iter()
            .map(|count| count.load(Ordering::Relaxed));
        Refusal::ALL.into_iter().zip(counts)
    }

    /// Counts a connection that was cut.
    pub(crate) fn late(&self, what: Late) {
        tracing::debug!(what = what.name(), "a connection is cut: it takes too long");
        let count = match what {
            Late::Header => &self.late_headers,
            Late::Write => &self.late_writes,
        };
        count.fetch_add(1, Ordering::Relaxed);
    }

    /// How often that was.
    pub(crate) fn timeouts(&self) -> impl Iterator<Item = (Late, u64)> {
        let counts = [
            (Late::Header, &self.late_headers),
            (Late::Write, &self.late_writes),
        ];
        counts
            .into_iter()
            .map(|(what, count)| (what, count.load(Ordering::Relaxed)))
    }

    /// Connections that have not said what they want.
    pub(crate) fn handshakes(&self) -> usize {
        *lock(&self.handshakes)
    }

    /// A place for a connection that was just accepted, for as long as what is returned lives.
    pub(crate) fn enter(
        self: &Arc<Self>,
        config: &Config,
        origin: &Origin,
    ) -> Result<Place, Refusal> {
        if !lock(&self.accepts).take(config.accept_rate, 1) {
            return Err(Refusal::AcceptRate);
        }
        if self.memory.is_full(config.max_memory) {
            return Err(Refusal::Memory);
        }
        let connection = self.connections.try_acquire();
        let connection = connection.map_err(|_| Refusal::Connections)?;
        let address = self.place_of(config, origin.counted())?;
        let mut under_way = lock(&self.handshakes);
        if *under_way >= config.max_handshakes {
            return Err(Refusal::Handshakes);
        }
        *under_way += 1;
        connection.forget();
        Ok(Place {
            limits: Arc::clone(self),
            told: Mutex::new(Told {
                has_asked: false,
                held: Some(Held(address.map(AddressPlace::keep))),
            }),
        })
    }

    /// Gives back what a place was for.
    pub(crate) fn leave(&self, held: Held) {
        if let Some(address) = held.0 {
            self.addresses.give_back(address);
        }
        self.connections.add_permits(1);
    }

    /// A place among those of an address; none is needed of who is not counted.
    pub(crate) fn place_of(
        &self,
        config: &Config,
        address: Option<Block>,
    ) -> Result<Option<AddressPlace>, Refusal> {
        let Some(address) = address else {
            return Ok(None);
        };
        let place = self
            .addresses
            .take(address, config.max_connections_per_address);
        place.map(Some).ok_or(Refusal::Address)
    }

    /// Whether one more request of a client is answered.
    pub(crate) fn request(&self, config: &Config, client: &Client) -> Result<(), Refusal> {
        if let Some(address) = client.counted
            && !self.requests.take(address, config.request_rate)
        {
            return Err(Refusal::RequestRate);
        }
        Ok(())
    }

    /// Whether a client may begin what stays, or adds to what is kept.
    pub(crate) fn growth(&self, config: &Config) -> Result<(), Refusal> {
        if self.memory.is_full(config.max_memory) {
            return Err(Refusal::Memory);
        }
        Ok(())
    }

    /// Whether one more publication is taken of a publisher.
    pub(crate) fn publish(
        &self,
        config: &Config,
        who: &Who,
        client: &Client,
    ) -> Result<(), Refusal> {
        let (publisher, rate) = match who {
            Who::Key(name) => match config.keys.get(&**name) {
                Some(key) => (who.to_string(), key.publish_rate),
                None => (who.to_string(), config.publish_rate),
            },
            Who::User(_) => (who.to_string(), config.publish_rate),
            Who::Anonymous => match client.counted {
                Some(address) => (address.to_string(), config.publish_rate),
                None => return Ok(()),
            },
        };
        if self.publications.take(publisher, rate) {
            Ok(())
        } else {
            Err(Refusal::PublishRate)
        }
    }

    /// Room for so many bytes of a body, until what is returned is dropped.
    pub(crate) fn room(&self, bytes: usize) -> Result<OwnedSemaphorePermit, Refusal> {
        let bytes = u32::try_from(bytes).map_err(|_| Refusal::Bodies)?;
        let room = Arc::clone(&self.bodies).try_acquire_many_owned(bytes);
        room.map_err(|_| Refusal::Bodies)
    }
}

/// A connection's place among all, given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) limits: Arc<Limits>,
    told: Mutex<Told>,
}

/// What is known of a connection that has a place.
#[derive(Debug)]
struct Told {
    /// It has said what it wants: until then it is one of those that have not.
    has_asked: bool,
    /// Nothing, once somebody else is to give it back.
    held: Option<Held>,
}

/// What a connection takes of what there is, to be [given back](Limits::leave): one of all connections, and one of those of
/// its client's address, if that is counted. Listeners keep it for as long as they live, so it is no more than it has to be.
#[derive(Debug)]
pub(crate) struct Held(Option<Block>);

impl Place {
    /// It has said what it wants.
    pub(crate) fn has_asked(&self) {
        if !mem::replace(&mut lock(&self.told).has_asked, true) {
            *lock(&self.limits.handshakes) -= 1;
        }
    }

    /// Whether it has said so.
    pub(crate) fn was_asked(&self) -> bool {
        lock(&self.told).has_asked
    }

    /// It is of another client now, as connections of a proxy are.
    pub(crate) fn is_of(&self, address: Option<AddressPlace>) {
        let mut told = lock(&self.told);
        let Some(held) = &mut told.held else {
            return;
        };
        let before = mem::replace(&mut held.0, address.map(AddressPlace::keep));
        drop(told);
        if let Some(before) = before {
            self.limits.addresses.give_back(before);
        }
    }

    /// What it was for, which somebody else gives back from now on.
    pub(crate) fn hand_over(&self) -> Option<Held> {
        self.has_asked();
        lock(&self.told).held.take()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(held) = self.hand_over() {
            self.limits.leave(held);
        }
    }
}
