//! A client that comes back.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_core::Stream as FuturesStream;
use http::Response;
use openline_proto::{CloseCode, Closed, Message};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::time::Instant;

use super::Client;
use super::cause::Cause;
use crate::error::Error;
use crate::outgoing::Outgoing;
use crate::timer::{Timer, YEAR, after};
use crate::websocket::WebSocket;

/// A client that connects, and connects again when the connection was lost and may go better.
///
/// [`next`](Self::next) drives it and tells all that happens. Before each try it gives [`Event::Connecting`]: what the
/// program sets by [`set_client`](Self::set_client) then is what the try uses, so that it resumes where it stopped, or
/// shows a fresh token.
///
/// ```no_run
/// # async fn run() -> Result<(), openline::Error> {
/// use openline::{Client, Event, Reconnecting};
///
/// let mut cursor = String::new();
/// let mut ws = Reconnecting::new(Client::new("wss://example.org/events")?);
/// while let Some(event) = ws.next().await {
///     match event {
///         Event::Connecting { .. } => {
///             let url = format!("wss://example.org/events?since={cursor}");
///             ws.set_client(Client::new(&url)?.bearer("mF_9.B5f-4.1JqM")?);
///         }
///         Event::Connected(_) => ws.send("hello").await?,
///         Event::Message(message) => cursor = message.as_text().unwrap_or_default().into(),
///         Event::Disconnected { cause, retry_in } => eprintln!("{cause}; back in {retry_in:?}"),
///         _ => {}
///     }
/// }
/// # Ok(()) }
/// ```
///
/// Waits grow with each failure, and are jittered: see [`Backoff`]. What a server asks for by `Retry-After` is honoured.
/// Whether it comes back at all is told by [`Cause::is_transient`], or [by the program](Self::retry_if).
///
/// `next` is cancel-safe; time passes and connections are made only while it is awaited. Messages that were queued and
/// not sent when a connection was lost are lost with it: only the program knows whether to repeat them. To send from other
/// tasks, have them send to a channel, and `select!` between that and `next`.
pub struct Reconnecting {
    client: Client,
    backoff: Backoff,
    retry_if: Box<dyn Fn(&Cause) -> bool + Send + Sync>,
    random: StdRng,
    timer: Timer,
    /// Tries that failed, or did not last, in a row.
    failures: u32,
    /// The program has closed it.
    closing: bool,
    state: State,
}

type Opening = dyn Future<Output = Result<(WebSocket, Response<()>), Error>> + Send;

enum State {
    /// Waits for the moment of the next try.
    Waiting(Instant),
    /// The next try was announced.
    Announced,
    Connecting(Pin<Box<Opening>>),
    Open(Box<WebSocket>, Instant),
    Over,
}

/// What happens to a [`Reconnecting`].
#[derive(Debug)]
#[non_exhaustive]
pub enum Event {
    /// A try begins with the next call: the moment to change the request.
    Connecting {
        /// 1 for the first one, and for the first one after a connection that lasted.
        attempt: u32,
    },
    /// There is a connection; this is the server's response.
    Connected(Response<()>),
    /// A message came.
    Message(Message),
    /// The connection was lost, or did not come about.
    Disconnected {
        /// Why.
        cause: Cause,
        /// After how long the next try begins; `None` if it is over, and then [`Reconnecting::next`] gives `None`.
        retry_in: Option<Duration>,
    },
}

/// How long to wait between tries, and how often to try.
///
/// The wait after the n-th failure in a row is a random part of `min · 2ⁿ⁻¹`, at most of `max` ("full jitter"): clients that
/// lost their server at one moment come back at many. `Retry-After`, where a refusal has one, is added to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backoff {
    min: Duration,
    max: Duration,
    stable_after: Duration,
    max_retry_after: Duration,
    max_attempts: Option<u32>,
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            min: Duration::from_millis(500),
            max: Duration::from_secs(30),
            stable_after: Duration::from_secs(30),
            max_retry_after: Duration::from_secs(600),
            max_attempts: None,
        }
    }
}

impl Backoff {
    /// The longest wait after the first failure. Default: 500 ms.
    #[must_use]
    pub const fn min(mut self, wait: Duration) -> Self {
        self.min = wait;
        self
    }

    /// The longest wait of all. Default: 30 s.
    #[must_use]
    pub const fn max(mut self, wait: Duration) -> Self {
        self.max = wait;
        self
    }

    /// A connection that lasted so long makes up for the failures before it. Default: 30 s.
    #[must_use]
    pub const fn stable_after(mut self, time: Duration) -> Self {
        self.stable_after = time;
        self
    }

    /// The longest `Retry-After` to honour; of a longer one, this much. Default: 10 min.
    #[must_use]
    pub const fn max_retry_after(mut self, wait: Duration) -> Self {
        self.max_retry_after = wait;
        self
    }

    /// How many tries in a row may fail, or not last, before it gives up; at least 1. Default: `None`, no limit.
    #[must_use]
    pub const fn max_attempts(mut self, count: Option<u32>) -> Self {
        self.max_attempts = count;
        self
    }

    fn wait(&self, failures: u32, retry_after: Option<Duration>, random: &mut StdRng) -> Duration {
        let factor = 2u32.saturating_pow(failures.saturating_sub(1));
        let ceiling = self.min.saturating_mul(factor).min(self.max);
        let jittered = ceiling.mul_f64(random.random_range(0.0..1.0));
        let asked = retry_after.unwrap_or_default().min(self.max_retry_after);
        asked.saturating_add(jittered).min(YEAR)
    }
}

impl Reconnecting {
    /// Connects as the client says, at the first call of [`next`](Self::next).
    pub fn new(client: Client) -> Self {
        Self {
            client,
            backoff: Backoff::default(),
            retry_if: Box::new(Cause::is_transient),
            random: StdRng::seed_from_u64(rand::random()),
            timer: Timer::default(),
            failures: 0,
            closing: false,
            state: State::Waiting(Instant::now()),
        }
    }

    /// How long to wait between tries.
    #[must_use]
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.backoff = backoff;
        self
    }

    /// Decides whether to come back. Default: [`Cause::is_transient`], which can be a part of the decision:
    ///
    /// ```
    /// # use openline::{Client, CloseCode, Reconnecting};
    /// # fn run(client: Client) -> Reconnecting {
    /// Reconnecting::new(client)
    ///     .retry_if(|cause| cause.is_transient() || cause.code() == Some(CloseCode(4001)))
    /// # }
    /// ```
    #[must_use]
    pub fn retry_if(mut self, decide: impl Fn(&Cause) -> bool + Send + Sync + 'static) -> Self {
        self.retry_if = Box::new(decide);
        self
    }

    /// Makes the jitter the same at each run, for tests.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.random = StdRng::seed_from_u64(seed);
        self
    }

    /// What happens next; `None` once it is over.
    pub async fn next(&mut self) -> Option<Event> {
        poll_fn(|cx| self.poll_event(cx)).await
    }

    /// The client that the next try uses.
    pub const fn client(&self) -> &Client {
        &self.client
    }

    /// Changes what the next try uses; a connection that is open, or being made, stays as it is.
    pub fn set_client(&mut self, client: Client) {
        self.client = client;
    }

    /// The connection, if there is one.
    pub const fn websocket(&mut self) -> Option<&mut WebSocket> {
        match &mut self.state {
            State::Open(ws, _) => Some(ws),
            _ => None,
        }
    }

    /// Sends a message on the connection that is open; see [`WebSocket::send`].
    ///
    /// # Errors
    /// [`Error::NotConnected`] if there is none, and as there: [`next`](Self::next) then tells the rest.
    pub async fn send(&mut self, message: impl Outgoing) -> Result<(), Error> {
        let ws = self.websocket().ok_or(Error::NotConnected)?;
        ws.send(message).await
    }

    /// Ends it: closes the connection, if there is one, as [`WebSocket::close`], and comes back no more. Messages that
    /// come meanwhile are discarded.
    ///
    /// # Errors
    /// As there, for a code or reason that can't be sent; it goes on then.
    pub async fn close(&mut self, code: CloseCode, reason: &str) -> Result<Closed, Error> {
        let mut closed = Closed::default();
        if let State::Open(ws, _) = &mut self.state {
            // Before the wait: whoever drops this future has closed it all the same.
            self.closing = true;
            match ws.close(code, reason).await {
                Ok(done) => closed = done,
                Err(error) => {
                    self.closing = false;
                    return Err(error);
                }
            }
        }
        self.state = State::Over;
        Ok(closed)
    }

    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        loop {
            match &mut self.state {
                State::Waiting(until) => {
                    let until = *until;
                    while Instant::now() < until {
                        ready!(self.timer.poll(Some(until.into_std()), cx));
                    }
                    self.state = State::Announced;
                    let attempt = self.failures.saturating_add(1);
                    return Poll::Ready(Some(Event::Connecting { attempt }));
                }
                State::Announced => {
                    let connect = self.client.clone().connect();
                    self.state = State::Connecting(Box::pin(connect));
                }
                State::Connecting(connect) => match ready!(connect.as_mut().poll(cx)) {
                    Ok((ws, response)) => {
                        self.state = State::Open(Box::new(ws), Instant::now());
                        return Poll::Ready(Some(Event::Connected(response)));
                    }
                    Err(error) => return Poll::Ready(Some(self.lost(Cause::Failed(error)))),
                },
                State::Open(ws, _) => {
                    let cause = match ready!(Pin::new(&mut **ws).poll_next(cx)) {
                        Some(Ok(message)) => return Poll::Ready(Some(Event::Message(message))),
                        Some(Err(error)) => ending(ws, error),
                        None => Cause::Closed(ws.closed().unwrap_or_default()),
                    };
                    return Poll::Ready(Some(self.lost(cause)));
                }
                State::Over => return Poll::Ready(None),
            }
        }
    }

    fn lost(&mut self, cause: Cause) -> Event {
        if let State::Open(_, since) = self.state
            && since.elapsed() >= self.backoff.stable_after
        {
            self.failures = 0;
        }
        self.failures = self.failures.saturating_add(1);
        let tries_left = self
            .backoff
            .max_attempts
            .is_none_or(|max| self.failures < max);
        let comes_back = !self.closing && tries_left && (self.retry_if)(&cause);
        let retry_in = comes_back.then(|| {
            let retry_after = cause.retry_after();
            self.backoff
                .wait(self.failures, retry_after, &mut self.random)
        });
        tracing::debug!(server = %self.client.address(), %cause, ?retry_in, "no connection");
        self.state = retry_in.map_or(State::Over, |wait| State::Waiting(after(wait)));
        Event::Disconnected { cause, retry_in }
    }
}

/// What ended an open connection: the server's word, if it could still say it, and else what failed.
fn ending(ws: &WebSocket, error: Error) -> Cause {
    match ws.closed() {
        Some(closed) if closed.received.is_some() => Cause::Closed(closed),
        _ => Cause::Failed(error),
    }
}

impl FuturesStream for Reconnecting {
    type Item = Event;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_event(cx)
    }
}

impl fmt::Debug for Reconnecting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &self.state {
            State::Waiting(_) | State::Announced => "waiting",
            State::Connecting(_) => "connecting",
            State::Open(..) => "open",
            State::Over => "over",
        };
        f.debug_struct("Reconnecting")
            .field("client", &self.client)
            .field("backoff", &self.backoff)
            .field("failures", &self.failures)
            .field("state", &state)
            .finish_non_exhaustive()
    }
}
