//! Telling many connections at once to close.

use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use openline_proto::CloseCode;
use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;

/// The close that all connections of a server are to begin, once it is said.
#[derive(Debug, Default)]
pub(crate) struct Goodbye {
    said: OnceLock<(CloseCode, String)>,
    heard: Arc<Notify>,
}

impl Goodbye {
    pub(crate) fn say(&self, code: CloseCode, reason: &str) {
        let _ = self.said.set((code, reason.to_owned()));
        self.heard.notify_waiters();
    }

    pub(crate) fn listen(self: &Arc<Self>) -> Listening {
        // Registered before it is asked whether it was said already, so that no goodbye falls in between.
        let heard = Box::pin(Arc::clone(&self.heard).notified_owned());
        Listening {
            goodbye: Arc::clone(self),
            heard,
        }
    }
}

/// One connection that waits for the goodbye.
#[derive(Debug)]
pub(crate) struct Listening {
    goodbye: Arc<Goodbye>,
    heard: Pin<Box<OwnedNotified>>,
}

impl Listening {
    /// What was said, if it was.
    pub(crate) fn said(&self) -> Option<(CloseCode, &str)> {
        self.goodbye
            .said
            .get()
            .map(|(code, reason)| (*code, reason.as_str()))
    }

    /// Ready once something was said.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.said().is_some() || self.heard.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        Poll::Pending
    }
}
