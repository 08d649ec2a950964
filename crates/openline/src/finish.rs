//! The end of a connection that nobody holds any more: what was sent leaves, and the peer has the time to take it.

use std::future::poll_fn;
use std::task::{Context, Waker, ready};
use std::time::Instant;

use tokio::io::ReadBuf;
use tokio::runtime::Handle;
use tokio::time::timeout_at;

use crate::timer::now;
use crate::writer::Writer;

/// What is left of a connection.
pub(crate) struct Rest {
    writer: Writer,
}

impl Rest {
    /// Takes it out of where it is; who is left there is told that the connection is closed.
    pub(crate) fn take(writer: &mut Writer) -> Self {
        Self {
            writer: writer.take(),
        }
    }

    /// Whether there is nothing to wait for.
    pub(crate) fn is_over(&self) -> bool {
        let outbound = &self.writer.outbound;
        (outbound.is_dead() || outbound.is_done()) && !self.writer.has_unsent()
    }

    /// Writes what waits, ends the sending side, and reads until the peer is gone, so that a reset cannot overtake what
    /// was sent: for at most the close timeout.
    pub(crate) async fn finish(mut self) {
        let deadline = self.deadline();
        let written = poll_fn(|cx| {
            ready!(self.writer.poll_drain(cx))?;
            self.writer.poll_shutdown(cx)
        });
        let sent: Result<std::io::Result<()>, _> = timeout_at(deadline.into(), written).await;
        let (Ok(Ok(())), Some(transport)) = (sent, self.writer.transport()) else {
            return;
        };
        // Taken from the heap, so that the task stays small.
        let mut rest = vec![0; 4096];
        let leave = async {
            loop {
                let mut rest = ReadBuf::new(&mut rest);
                let read = poll_fn(|cx| transport.poll_read(cx, &mut rest)).await;
                if read.is_err() || rest.filled().is_empty() {
                    break;
                }
            }
        };
        let _ = timeout_at(deadline.into(), leave).await;
    }

    fn deadline(&self) -> Instant {
        let outbound = &self.writer.outbound;
        let closing = outbound.poll_timeout().filter(|_| outbound.is_closing());
        closing.unwrap_or_else(|| now() + outbound.config().timeouts().close)
    }
}

/// Finishes in a task of its own, if there is a runtime to run it.
pub(crate) fn in_a_task(writer: &mut Writer) {
    if let Ok(runtime) = Handle::try_current() {
        runtime.spawn(Rest::take(writer).finish());
    }
}

/// The same for a connection that closes and has senders, but nobody who receives: what can leave does so at once. Gives back
/// what has come to its end already, to be dropped without the lock.
pub(crate) fn without_receiver(writer: &mut Writer) -> Option<Rest> {
    let runtime = Handle::try_current().ok()?;
    let mut rest = Rest::take(writer);
    let mut noop = Context::from_waker(Waker::noop());
    let _ = rest.writer.poll_drain(&mut noop);
    if rest.is_over() {
        return Some(rest);
    }
    writer.ends_in(runtime.spawn(rest.finish()));
    None
}
