//! A handler that the library runs: corked, and with a close behind it.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use openline_proto::CloseCode;
use pin_project_lite::pin_project;

use crate::cork::{Corked, corked};
use crate::shared::Shared;

pin_project! {
    /// Runs the handler of a connection, then closes what it left open, and sees the close to its end.
    pub(crate) struct Handled<F> {
        #[pin]
        phase: Phase<F>,
        // Kept to the handler's end.
        shared: Option<Arc<Shared>>,
    }
}

pin_project! {
    #[project = At]
    enum Phase<F> {
        Handling { #[pin] handler: Corked<F> },
        Ending { end: Pin<Box<dyn Future<Output = ()> + Send>> },
        Over,
    }
}

impl<F: Future> Handled<F> {
    pub(crate) fn new(shared: Arc<Shared>, handler: F) -> Self {
        Self {
            phase: Phase::Handling {
                handler: corked(handler),
            },
            shared: Some(shared),
        }
    }

    /// The connection, while its handler runs.
    pub(crate) const fn connection(&self) -> Option<&Arc<Shared>> {
        self.shared.as_ref()
    }
}

impl<F, E> Future for Handled<F>
where
    F: Future<Output = Result<(), E>>,
    E: std::fmt::Display,
{
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut this = self.project();
        loop {
            match this.phase.as_mut().project() {
                At::Handling { handler } => {
                    let code = match std::task::ready!(handler.poll(cx)) {
                        Ok(()) => CloseCode::NORMAL,
                        Err(error) => {
                            tracing::debug!(%error, "a WebSocket's handler ended by an error");
                            CloseCode::INTERNAL
                        }
                    };
                    this.phase.set(Phase::Over); // the handler's own end of the connection is dropped
                    if let Some(shared) = this.shared.take()
                        && let Some(end) = end(shared, code)
                    {
                        this.phase.set(Phase::Ending { end });
                    }
                }
                At::Ending { end } => {
                    std::task::ready!(end.as_mut().poll(cx));
                    this.phase.set(Phase::Over);
                }
                At::Over => return Poll::Ready(()),
            }
        }
    }
}

/// Closes the connection, if that was not done, and tells what there is to wait for. Where somebody else still sends on it,
/// that one has it.
fn end(shared: Arc<Shared>, code: CloseCode) -> Option<Pin<Box<dyn Future<Output = ()> + Send>>> {
    shared.say_goodbye(code, "");
    let over = shared.outbound(|o| o.is_dead() || o.is_done()) && !shared.has_unsent();
    match Arc::into_inner(shared) {
        Some(shared) if !over => Some(Box::pin(shared.into_rest().finish())),
        _ => None,
    }
}
