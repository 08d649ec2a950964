//! The body of an answer that does not end: pieces that a future gives one by one.
//!
//! So what is sent is a plain loop, of which one allocation is all that there is. hyper sends the pieces as a body, or the
//! connection does without hyper.

use std::convert::Infallible;
use std::future::poll_fn;
use std::mem;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};

use axum::body::{Body, HttpBody};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http_body::Frame;

use crate::sync::lock;

/// Longest part of a piece that is given to hyper. HTTP/2 has it wait for the client, and how a client gets on with a large piece
/// is seen by its parts alone.
const MAX_PART: usize = 16 * 1024;

/// The pieces, of which the next is asked for when there is room for it.
pub(crate) struct Pieces {
    slot: Arc<Mutex<Slot>>,
    /// `None` when the last was given.
    giving: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

/// Where the future puts a piece.
pub(crate) struct Out(Arc<Mutex<Slot>>);

#[derive(Default)]
struct Slot {
    piece: Option<Bytes>,
    wanted: bool,
    lagged: bool,
    /// Something was taken since that was last asked.
    taken: bool,
}

impl Pieces {
    /// The pieces that a future puts where it is told.
    pub(crate) fn of<F: Future<Output = ()> + Send + 'static>(
        giving: impl FnOnce(Out) -> F,
    ) -> Self {
        let slot = Arc::default();
        Self {
            giving: Some(Box::pin(giving(Out(Arc::clone(&slot))))),
            slot,
        }
    }

    /// The next piece; `None` at the end.
    pub(crate) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if let Some(piece) = lock(&self.slot).want() {
            return Poll::Ready(Some(piece));
        }
        self.go_on(cx);
        match lock(&self.slot).take() {
            Some(piece) => Poll::Ready(Some(piece)),
            None if self.giving.is_none() => Poll::Ready(None),
            None => Poll::Pending,
        }
    }

    /// The next piece, or the first part of one that is large, whose rest is next then; `None` at the end.
    fn poll_part(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let mut piece = ready!(self.poll_next(cx));
        if let Some(piece) = &mut piece
            && piece.len() > MAX_PART
        {
            lock(&self.slot).piece = Some(piece.split_off(MAX_PART));
        }
        Poll::Ready(piece)
    }

    /// Whether it is of no use to send what was given, since the client lags; asks for nothing.
    pub(crate) fn poll_lagged(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.go_on(cx);
        if lock(&self.slot).lagged {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }

    /// Whether the next piece is asked for: what was given before went out.
    pub(crate) fn is_asked(&self) -> bool {
        lock(&self.slot).wanted
    }

    /// Whether something was taken since this was last asked.
    pub(crate) fn was_taken(&self) -> bool {
        mem::take(&mut lock(&self.slot).taken)
    }

    fn go_on(&mut self, cx: &mut Context<'_>) {
        if let Some(giving) = &mut self.giving
            && giving.as_mut().poll(cx).is_ready()
        {
            self.giving = None;
        }
    }
}

impl Slot {
    /// Asks for a piece, which may be there.
    fn want(&mut self) -> Option<Bytes> {
        self.wanted = true;
        self.take()
    }

    fn take(&mut self) -> Option<Bytes> {
        let piece = self.piece.take()?;
        self.wanted = false;
        self.taken = true;
        Some(piece)
    }
}

impl Out {
    /// Gives a piece, which must not be empty; done once another is asked for.
    pub(crate) async fn give(&self, piece: Bytes) {
        lock(&self.0).piece = Some(piece);
        // Nobody needs to be woken: whoever polls looks what there is.
        poll_fn(|_| {
            let slot = lock(&self.0);
            if slot.piece.is_none() && slot.wanted {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
        .await;
    }

    /// Says that the client lags.
    pub(crate) fn lagged(&self) {
        lock(&self.0).lagged = true;
    }
}

/// A body that others can take the pieces from.
struct Shared(Arc<Mutex<Pieces>>);

impl HttpBody for Shared {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let piece = lock(&self.0).poll_part(cx);
        piece.map(|piece| piece.map(|piece| Ok(Frame::data(piece))))
    }
}

impl IntoResponse for Pieces {
    fn into_response(self) -> Response {
        let pieces = Arc::new(Mutex::new(self));
        let mut response = Response::new(Body::new(Shared(Arc::clone(&pieces))));
        response.extensions_mut().insert(pieces);
        response
    }
}
