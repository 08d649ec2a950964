//! Automatic corking: what a task sends leaves in one write, when the task is about to wait.

use std::cell::RefCell;
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

use crate::shared::Shared;
use crate::timer::{Timer, now};

thread_local! {
    /// The connections that the task which runs now has sent on; `None` where it does not run corked.
    static SENT: RefCell<Option<Vec<Arc<Shared>>>> = const { RefCell::new(None) };
}

/// Runs a future so that what it sends leaves in one write for each connection, when it is about to wait, or is done.
///
/// Without this, every [`send`](crate::WebSocket::send) is a system call of its own before it returns. With it, `send`
/// queues and returns, and each time that the future waits, for whatever it may be, all that it has sent goes to the
/// operating system before: nothing is held back while time passes. An echo server that finds sixteen messages in one read
/// answers them by one write, which costs a tenth. [`Server::run`](crate::Server::run) and
/// [`on_upgrade`](crate::axum::WebSocketUpgrade::on_upgrade) run their handlers so; use it for tasks of your own:
///
/// ```no_run
/// # async fn run(stream: tokio::net::TcpStream) {
/// tokio::spawn(openline::corked(async move {
///     let mut ws = openline::accept(stream).await?;
///     while let Some(message) = ws.next().await {
///         ws.send(message?).await?;
///     }
///     Ok::<_, openline::Error>(())
/// }));
/// # }
/// ```
///
/// It counts for all connections that the future sends on, those of other tasks included; not for what
/// [`feed`](crate::WebSocket::feed) queues, which waits for a flush as ever. An error of a write is not told by the `send`
/// that queued it but by the next use of the connection. [`flush`](crate::WebSocket::flush) still writes at once.
pub fn corked<F: Future>(future: F) -> Corked<F> {
    Corked {
        future,
        blocked: None,
    }
}

pin_project! {
    /// A future that runs [`corked`].
    #[derive(Debug)]
    #[must_use = "a future does nothing unless it is awaited"]
    pub struct Corked<F> {
        #[pin]
        future: F,
        blocked: Option<Box<Blocked>>,
    }
}

/// Connections whose transport did not take all.
#[derive(Debug, Default)]
struct Blocked {
    connections: Vec<Arc<Shared>>,
    timer: Timer,
}

impl<F: Future> Future for Corked<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let scope = Scope::enter();
        let polled = this.future.poll(cx);
        let mut sent = scope.leave();
        for shared in sent.drain(..) {
            if shared.has_unsent() && shared.poll_drain(cx).is_pending() {
                let blocked = this.blocked.get_or_insert_default();
                if !blocked.connections.iter().any(|b| Arc::ptr_eq(b, &shared)) {
                    blocked.connections.push(shared);
                }
            }
        }
        keep(sent);
        if polled.is_pending()
            && let Some(blocked) = this.blocked
            && blocked.poll(cx).is_ready()
        {
            *this.blocked = None;
        }
        polled
    }
}

impl Blocked {
    /// Goes on writing, and keeps the time; ready when nothing is left to write.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            self.connections
                .retain(|shared| shared.poll_drain(cx).is_pending());
            let deadline = |shared: &Arc<Shared>| shared.outbound(|o| o.poll_timeout());
            let Some(next) = self.connections.iter().filter_map(deadline).min() else {
                return Poll::Ready(());
            };
            if self.timer.poll(Some(next), cx).is_pending() {
                return Poll::Pending;
            }
            for shared in &self.connections {
                if shared.outbound(|o| o.handle_timeout(now())).is_err() {
                    shared.wake_waiting();
                    shared.wake_receiver();
                }
            }
        }
    }
}

/// Whether the task that runs now will write what is queued on `shared`.
pub(crate) fn take_up(shared: &Arc<Shared>) -> bool {
    SENT.with_borrow_mut(|sent| match sent {
        Some(sent) => {
            // One that was flushed meanwhile is taken up anew.
            if sent.last().is_none_or(|last| !Arc::ptr_eq(last, shared)) {
                sent.push(Arc::clone(shared));
            }
            true
        }
        None => false,
    })
}

thread_local! {
    /// The list that the last one left behind, so that none has to be made.
    static KEPT: RefCell<Vec<Arc<Shared>>> = const { RefCell::new(Vec::new()) };
}

fn keep(list: Vec<Arc<Shared>>) {
    KEPT.set(list);
}

/// While one is there, what this thread sends is corked.
struct Scope {
    outer: Option<Vec<Arc<Shared>>>,
}

impl Scope {
    fn enter() -> Self {
        let list = KEPT.take();
        Self {
            outer: SENT.replace(Some(list)),
        }
    }

    fn leave(mut self) -> Vec<Arc<Shared>> {
        let list = SENT.replace(self.outer.take());
        mem::forget(self);
        list.unwrap_or_default()
    }
}

impl Drop for Scope {
    /// The future panicked: what it sent goes out all the same.
    fn drop(&mut self) {
        let list = SENT.replace(self.outer.take());
        for shared in list.unwrap_or_default() {
            shared.flush_now();
        }
    }
}
