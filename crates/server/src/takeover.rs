//! What may be taken out of hyper's hands on a connection of HTTP/1.1: a wait, a stream, the connection itself.
//!
//! hyper keeps two buffers of 8 KiB for as long as it has a connection. So it has one only while it reads a request or writes an
//! answer; what takes long goes on without it.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::task::{Context, Poll};

use axum::body::Body;
use bytes::Bytes;
use http::header::CONNECTION;
use http::{Method, Request, Response, Version};
use hyper::body::{Body as _, Incoming};
use openline::proto::handshake::has_token;
use tokio::sync::oneshot;

use crate::http::Wait;
use crate::line::Line;
use crate::sync::lock;
use crate::transport::pieces::Pieces;
use crate::wire::Io;

/// What the request that is being answered has come to, as far as it is known outside of hyper.
#[derive(Default)]
pub(crate) struct Takeover(Mutex<State>);

#[derive(Default)]
struct State {
    /// How the request can be asked again; none that is not whole can.
    asked: Option<Repeat>,
    what: What,
}

/// What goes on. hyper holds it too, and what it gave up is gone.
#[derive(Default)]
enum What {
    #[default]
    Nothing,
    Wait(Weak<Mutex<Wait>>),
    Stream(Weak<Mutex<Pieces>>),
    /// The answer to what is asked next; in a box, since every connection has room for it.
    Answer(Box<Response<Body>>),
    /// Who gets the connection after the answer.
    Upgrade(oneshot::Sender<Whole>),
}

/// A connection that is another's from now on.
pub(crate) struct Whole {
    pub(crate) io: Io,
    /// What was received and not read.
    pub(crate) early: Bytes,
    pub(crate) line: Arc<Line>,
}

/// What was taken.
pub(crate) enum Taken {
    /// Nothing is being asked.
    Idle,
    Wait(Arc<Mutex<Wait>>, Repeat),
    Stream(Arc<Mutex<Pieces>>, Repeat),
}

/// How a request can be asked again, so that its answer has the same form.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Repeat {
    /// By `HEAD`, not by `GET`.
    is_head: bool,
    /// The connection ends with the answer.
    pub(crate) is_last: bool,
}

impl Repeat {
    /// Of a request that is whole and of HTTP/1.1.
    fn of(request: &Request<Incoming>) -> Option<Self> {
        let is_head = match *request.method() {
            Method::GET => false,
            Method::HEAD => true,
            _ => return None,
        };
        if request.version() != Version::HTTP_11 || !request.body().is_end_stream() {
            return None;
        }
        let is_last = has_token(request.headers(), CONNECTION, "close");
        Some(Self { is_head, is_last })
    }

    /// A request that is answered in the same form, and may be the connection's last.
    pub(crate) fn again(self, is_last: bool) -> &'static str {
        match (self.is_head, is_last) {
            (false, false) => "GET / HTTP/1.1\r\n\r\n",
            (false, true) => "GET / HTTP/1.1\r\nconnection: close\r\n\r\n",
            (true, false) => "HEAD / HTTP/1.1\r\n\r\n",
            (true, true) => "HEAD / HTTP/1.1\r\nconnection: close\r\n\r\n",
        }
    }
}

impl Takeover {
    /// A request has come. Gives the answer, if that was waited for before.
    pub(crate) fn begin(&self, request: &Request<Incoming>) -> Option<Response<Body>> {
        let mut state = self.state();
        state.asked = Repeat::of(request);
        match std::mem::take(&mut state.what) {
            What::Answer(response) => Some(*response),
            _ => None,
        }
    }

    /// Its answer is waited for.
    pub(crate) fn is_waiting(&self, wait: &Arc<Mutex<Wait>>) {
        self.state().what = What::Wait(Arc::downgrade(wait));
    }

    /// Its answer is a stream.
    pub(crate) fn is_streaming(&self, stream: &Arc<Mutex<Pieces>>) {
        self.state().what = What::Stream(Arc::downgrade(stream));
    }

    /// The next request is answered with that.
    pub(crate) fn answer(&self, response: Response<Body>) {
        self.state().what = What::Answer(Box::new(response));
    }

    /// Gives the connection once the answer is sent; it is for one who keeps no line alive, with which this would wait for ever
    /// if that fails.
    pub(crate) fn upgrade(&self) -> oneshot::Receiver<Whole> {
        let (sender, receiver) = oneshot::channel();
        self.state().what = What::Upgrade(sender);
        receiver
    }

    /// Who gets the connection, if anybody does.
    pub(crate) fn heir(&self) -> Option<oneshot::Sender<Whole>> {
        match std::mem::take(&mut self.state().what) {
            What::Upgrade(heir) => Some(heir),
            _ => None,
        }
    }

    /// Whether a listener's stream was given up, which is being sent and does not get on. It is polled for that.
    pub(crate) fn poll_lagged(&self, cx: &mut Context<'_>) -> Poll<()> {
        let stream = match &self.state().what {
            What::Stream(stream) => stream.upgrade(),
            _ => None,
        };
        match stream {
            Some(stream) => lock(&stream).poll_lagged(cx),
            None => Poll::Pending,
        }
    }

    /// Takes what goes on, if it can go on without hyper; where nothing does, that, if `is_idle`.
    pub(crate) fn take(&self, is_idle: impl FnOnce() -> bool) -> Option<Taken> {
        let mut state = self.state();
        let asked = state.asked?;
        let taken = match &state.what {
            What::Wait(wait) => wait.upgrade().map(|wait| Taken::Wait(wait, asked)),
            What::Stream(stream) => stream.upgrade().map(|stream| Taken::Stream(stream, asked)),
            What::Nothing => None,
            What::Answer(_) | What::Upgrade(_) => return None,
        };
        let taken = match taken {
            Some(taken) => taken,
            None if is_idle() => Taken::Idle,
            None => return None,
        };
        *state = State::default();
        Some(taken)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.0)
    }
}

impl fmt::Debug for Takeover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Takeover").finish_non_exhaustive()
    }
}
