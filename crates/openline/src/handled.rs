//! A handler that the library runs: corked, and with a close behind it.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use openline_proto::CloseCode;
use pin_project_lite::pin_project;
use tokio::task::JoinHandle;

use crate::cork::{Corked, corked};
use crate::finish::Rest;
use crate::outcome::Outcome;
use crate::shared::{Shared, say_goodbye};

pin_project! {
    /// Runs the handler of a connection, then closes what it left open, and sees the close to its end.
    pub(crate) struct Handled<F> {
        // Kept while the handler keeps it. Dropped before the handler, whose end of the connection is then the last.
        shared: Option<Arc<Shared>>,
        #[pin]
        phase: Phase<F>,
    }
}

pin_project! {
    #[project = At]
    enum Phase<F> {
        Handling { #[pin] handler: Corked<F>, told: bool },
        Ending { end: Pin<Box<dyn Future<Output = ()> + Send>> },
        Over,
    }
}

impl<F: Future> Handled<F> {
    pub(crate) fn new(shared: Arc<Shared>, handler: F) -> Self {
        Self {
            phase: Phase::Handling {
                handler: corked(handler),
                told: false,
            },
            shared: Some(shared),
        }
    }

    /// Tells the peer, once, that the server ends, while the handler runs.
    pub(crate) fn say_goodbye(self: Pin<&mut Self>, code: CloseCode, reason: &str) {
        let this = self.project();
        if let At::Handling { told, .. } = this.phase.project()
            && let Some(shared) = this.shared
            && !std::mem::replace(told, true)
        {
            shared.say_goodbye(code, reason);
            shared.flush_now();
        }
    }
}

impl<F: Future<Output: Outcome>> Future for Handled<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut this = self.project();
        loop {
            match this.phase.as_mut().project() {
                At::Handling { handler, .. } => {
                    let Poll::Ready(outcome) = handler.poll(cx) else {
                        let Some(shared) = this.shared.take_if(|s| Arc::strong_count(s) == 1)
                        else {
                            return Poll::Pending;
                        };
                        // The handler goes on, but has let go of its connection.
                        if let Some(end) = end(&shared, CloseCode::NORMAL) {
                            tokio::spawn(end);
                        }
                        return Poll::Pending;
                    };
                    let code = outcome.close_code();
                    this.phase.set(Phase::Over); // the handler's own end of the connection is dropped
                    if let Some(shared) = this.shared.take()
                        && let Some(end) = end(&shared, code)
                    {
                        this.phase.set(Phase::Ending { end });
                    }
                }
                At::Ending { end } => {
                    ready!(end.as_mut().poll(cx));
                    this.phase.set(Phase::Over);
                }
                At::Over => return Poll::Ready(()),
            }
        }
    }
}

/// Closes the connection, if that was not done, and tells what there is to wait for. Where somebody else receives on it, that
/// one sees the close to its end; those who only send learn that it is closed.
fn end(shared: &Shared, code: CloseCode) -> Option<Pin<Box<dyn Future<Output = ()> + Send>>> {
    let (rest, ending) = shared.with(|writer| {
        say_goodbye(&mut writer.outbound, code, "");
        let ending = writer.take_ending();
        (writer.unread.then(|| Rest::take(writer)), ending)
    });
    if let Some(ending) = ending {
        return Some(Box::pin(Ending(ending)));
    }
    let Some(rest) = rest else {
        shared.flush_now();
        return None;
    };
    shared.wake_waiting();
    (!rest.is_over()).then(|| Box::pin(rest.finish()) as _)
}

/// A task that sees a connection to its end, and is ended itself where nobody waits for that any more.
struct Ending(JoinHandle<()>);

impl Future for Ending {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        Pin::new(&mut self.0).poll(cx).map(drop)
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.abort();
    }
}
