//! The memory broker: one log in this process, gone with it.

use std::sync::{Arc, Mutex, MutexGuard};

use futures_util::future::{self, BoxFuture, FutureExt as _};

use super::idempotency::Keys;
use super::log::{Log, in_steps};
use super::{
    AppendOptions, Appended, Broker, BrokerError, Page, Retention, Since, Stats, Subscription,
};
use crate::channel::{Channel, Filter};
use crate::clock::{Clock, SystemClock};
use crate::cursor::{Cursor, Epoch};
use crate::hub::Hub;
use crate::publication::{Content, Publication};
use crate::sync::lock;

/// What is kept of all channels where nothing else is said.
const TOTAL_BYTES: usize = 64 << 20;

/// A [`Broker`] that keeps its log in memory. Each one is an epoch of its own: after a restart
/// every cursor is a gap.
#[derive(Debug)]
pub struct MemoryBroker {
    state: Mutex<State>,
    hub: Hub,
    clock: Arc<dyn Clock>,
}

#[derive(Debug)]
struct State {
    log: Log<Arc<Publication>>,
    keys: Keys,
}

impl MemoryBroker {
    /// An empty log of what `retention` says, with room for `keys` idempotency keys, that hands what
    /// is published to `hub`.
    pub fn new(retention: impl Into<Retention>, keys: usize, hub: Hub) -> Self {
        Self::with_clock(retention, keys, hub, Arc::new(SystemClock::new()))
    }

    /// The same, by a clock of the caller's.
    pub fn with_clock(
        retention: impl Into<Retention>,
        keys: usize,
        hub: Hub,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            state: Mutex::new(State {
                log: Log::new(retention.into(), TOTAL_BYTES, Epoch::random(), 0),
                keys: Keys::new(keys),
            }),
            hub,
            clock,
        }
    }

    /// The state, rid of what is too old by now.
    fn state(&self) -> MutexGuard<'_, State> {
        loop {
            let now = self.clock.elapsed();
            let mut state = lock(&self.state);
            if !state.log.expire(now) {
                return state;
            }
        }
    }

    fn append_now(
        &self,
        channel: Channel,
        content: Content,
        options: AppendOptions,
    ) -> Result<Appended, BrokerError> {
        let idempotency = options.idempotency;
        let now = self.clock.elapsed();
        let mut state = self.state();
        if let Some(asked) = &idempotency
            && let Some(appended) = state.keys.look(now, asked)?
        {
            return Ok(appended);
        }
        let cursor = Cursor::after(state.log.epoch(), state.log.last() + 1);
        let time = self.clock.now();
        let publication = Arc::new(Publication::new(channel.clone(), cursor, time, content));
        let appended = Appended {
            cursor,
            time: publication.time(),
        };
        if let Some(asked) = &idempotency {
            state.keys.remember(now, asked, appended);
        }
        state.log.push(channel, Arc::clone(&publication), now);
        // The hub is taken before the log is let go: subscribers see the log's order, and one who
        // subscribes in between finds this publication in the log and is not in the hub yet.
        let mut hub = self.hub.lock();
        drop(state);
        hub.publish(&publication);
        Ok(appended)
    }

    fn subscribe_now(&self, filter: &Filter, since: Since) -> Subscription {
        let state = self.state();
        let (cursor, from, recovered) = state.log.begin(filter, since);
        let missed = state.log.after(filter, from, usize::MAX);
        let mut hub = self.hub.lock();
        drop(state);
        Subscription {
            cursor,
            recovered,
            missed: missed.into(),
            live: hub.subscribe(filter),
        }
    }
}

impl Broker for MemoryBroker {
    fn append(
        &self,
        channel: Channel,
        content: Content,
        options: AppendOptions,
    ) -> BoxFuture<'_, Result<Appended, BrokerError>> {
        future::lazy(move |_| self.append_now(channel, content, options)).boxed()
    }

    fn latest<'a>(
        &'a self,
        channel: &'a Channel,
    ) -> BoxFuture<'a, Result<Option<Arc<Publication>>, BrokerError>> {
        future::lazy(move |_| Ok(self.state().log.latest(channel))).boxed()
    }

    fn read<'a>(
        &'a self,
        filter: &'a Filter,
        since: Since,
        limit: usize,
    ) -> BoxFuture<'a, Result<Page, BrokerError>> {
        future::lazy(move |_| {
            let found = self.state().log.read(filter, since, limit, usize::MAX);
            Ok(Page {
                publications: found.entries,
                cursor: found.cursor,
                recovered: found.recovered,
            })
        })
        .boxed()
    }

    fn subscribe<'a>(
        &'a self,
        filter: &'a Filter,
        since: Since,
    ) -> BoxFuture<'a, Result<Subscription, BrokerError>> {
        future::lazy(move |_| Ok(self.subscribe_now(filter, since))).boxed()
    }

    fn remove<'a>(&'a self, channel: &'a Channel) -> BoxFuture<'a, Result<(), BrokerError>> {
        async move {
            let end = self.state().log.last();
            while lock(&self.state).log.remove(channel, end) {
                tokio::task::yield_now().await;
            }
            Ok(())
        }
        .boxed()
    }

    fn retain(&self, retention: Retention) {
        let trim = lock(&self.state).log.retain(retention);
        if let Some(mut trim) = trim {
            in_steps(|| {
                let now = self.clock.elapsed();
                lock(&self.state).log.trim(&mut trim, now)
            });
        }
    }

    fn stats(&self) -> Stats {
        let state = self.state();
        let (publications, bytes, channels) = state.log.size();
        Stats {
            publications,
            bytes,
            channels,
            waiting: 0,
            outage: None,
        }
    }

    fn close(&self) -> BoxFuture<'_, Result<(), BrokerError>> {
        future::ready(Ok(())).boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::suite::{Bench, broker_suite};
    use crate::clock::manual::ManualClock;

    fn bench(retention: Retention, keys: usize) -> Bench {
        let clock = Arc::new(ManualClock::default());
        let time = Arc::clone(&clock) as Arc<dyn Clock>;
        Bench {
            broker: Arc::new(MemoryBroker::with_clock(
                retention,
                keys,
                Hub::new(1 << 20),
                time,
            )),
            clock,
            _place: None,
        }
    }

    broker_suite!(bench);
}
