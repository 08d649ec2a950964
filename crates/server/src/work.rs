//! What is under way, so that the log can be let go of as soon as nobody needs it: long before the last listener is gone, when
//! the server that takes over waits for it.

use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::Notify;

use crate::sync::lock;

/// Those who may still ask something of the log.
#[derive(Debug, Default)]
pub(crate) struct Work(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    state: Mutex<State>,
    /// Keeps one permit, for the one that waits.
    idle: Notify,
}

#[derive(Debug, Default)]
struct State {
    under_way: usize,
    is_over: bool,
}

/// One of them; dropping it is its end.
#[derive(Debug)]
pub(crate) struct Working(Arc<Inner>);

impl Work {
    /// Begins something; `None` once it is all over.
    pub(crate) fn begin(&self) -> Option<Working> {
        let mut state = self.0.lock();
        if state.is_over {
            return None;
        }
        state.under_way += 1;
        Some(Working(Arc::clone(&self.0)))
    }

    /// Waits until nothing is under way. Nothing is begun after that. For one at a time.
    pub(crate) async fn finish(&self) {
        loop {
            {
                let mut state = self.0.lock();
                if state.under_way == 0 {
                    state.is_over = true;
                    return;
                }
            }
            self.0.idle.notified().await;
        }
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.under_way -= 1;
        let is_idle = state.under_way == 0;
        drop(state);
        if is_idle {
            self.0.idle.notify_one();
        }
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_is_over_when_the_last_one_ends() {
        let work = Arc::new(Work::default());
        let (one, two) = (work.begin(), work.begin());
        let finishing = tokio::spawn({
            let work = Arc::clone(&work);
            async move { work.finish().await }
        });
        drop(one);
        tokio::task::yield_now().await;
        let three = work.begin();
        drop(two);
        tokio::task::yield_now().await;
        assert!(three.is_some() && !finishing.is_finished());
        drop(three);
        finishing.await.unwrap();
        assert!(work.begin().is_none());
    }
}
