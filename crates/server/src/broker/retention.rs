//! What is kept of which channel, and of all of them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::channel::Channel;
use crate::config::{Config, History, HistoryLimits, namespace_of};

/// What a [`Broker`](super::Broker) keeps: the bounds of each channel, by the namespace that it is in,
/// and those of all channels together. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retention(Arc<Rules>);

#[derive(Debug, PartialEq, Eq)]
struct Rules {
    namespaces: BTreeMap<String, Bounds>,
    elsewhere: HistoryLimits,
}

/// What is kept of one channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Bounds {
    /// Publications; none if it is 0.
    pub count: usize,
    /// Bytes, by [`Publication::weight`](crate::Publication::weight).
    pub bytes: usize,
    /// The age at which a publication goes.
    pub age: Duration,
}

impl Retention {
    /// What `config` says.
    pub fn of(config: &Config) -> Self {
        let elsewhere = config.history.clone();
        let namespaces = config.namespaces.iter();
        let namespaces = namespaces
            .map(|(name, namespace)| (name.clone(), Bounds::of(&namespace.history, &elsewhere)))
            .collect();
        Self(Arc::new(Rules {
            namespaces,
            elsewhere,
        }))
    }

    /// What is kept of `channel`.
    pub fn bounds(&self, channel: &Channel) -> Bounds {
        let own = namespace_of(&self.0.namespaces, channel.as_str());
        match own {
            Some((_, bounds)) => *bounds,
            None => Bounds::of(&History::default(), &self.0.elsewhere),
        }
    }

    /// Bytes kept of all channels, or as many as suit the broker.
    pub fn total_bytes(&self) -> Option<usize> {
        self.0.elsewhere.total_bytes
    }

    /// Channels known at once.
    pub fn channels(&self) -> usize {
        self.0.elsewhere.channels
    }
}

/// The same for all channels.
impl From<HistoryLimits> for Retention {
    fn from(limits: HistoryLimits) -> Self {
        Self(Arc::new(Rules {
            namespaces: BTreeMap::new(),
            elsewhere: limits,
        }))
    }
}

impl Bounds {
    fn of(own: &History, elsewhere: &HistoryLimits) -> Self {
        Self {
            count: own.count.unwrap_or(elsewhere.count),
            bytes: own.bytes.unwrap_or(elsewhere.bytes),
            age: own.age.unwrap_or(elsewhere.age),
        }
    }
}
