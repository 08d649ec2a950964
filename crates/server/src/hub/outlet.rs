//! Where publications go without the subscriber's task.

use std::sync::Arc;

use openline::{Broadcast, Sender};

use crate::publication::Publication;

/// The form of a publication that goes out.
pub(crate) type Form = fn(&Publication) -> &Broadcast;

/// A subscriber's WebSocket, and how publications are told on it.
#[derive(Debug)]
pub(crate) struct Outlet {
    pub(crate) sender: Sender,
    pub(crate) form: Form,
}

/// Bytes after which what is queued for a client is flushed before more is.
pub(crate) const BATCH: usize = 128 * 1024;

impl Outlet {
    /// Queues what waits, up to a batch of it, and writes as much as goes out now. How many were taken, and whether all of
    /// these have left.
    pub(super) fn deliver(&self, waiting: &[Arc<Publication>]) -> (usize, bool) {
        let (mut queued, mut taken) = (0, 0);
        let messages = waiting.iter().map_while(|publication| {
            let form = (queued < BATCH).then(|| (self.form)(publication))?;
            queued += form.as_bytes().len();
            taken += 1;
            Some(form)
        });
        let left = self.sender.send_now(messages);
        (taken, left.unwrap_or(false))
    }
}
