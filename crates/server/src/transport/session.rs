//! One listener's WebSocket, from its opening on.
//!
//! Mostly it rests: what is published is written to its socket without its task, and nothing else goes on. Then it is this
//! struct and no more. What it takes to work, to catch up or to close, is a future that is gone afterwards.

use std::borrow::Cow;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures_util::StreamExt as _;
use jiff::Timestamp;
use openline::{Broadcast, CloseCode, Message, Receiver, Sender, Traffic, WebSocket};
use serde::Deserialize;
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::standing;
use crate::auth::Grant;
use crate::broker::{Missed, Subscription};
use crate::drain::Turn;
use crate::http::App;
use crate::hub::{BATCH, Form, Lagged, Live, Outlet};
use crate::limits;
use crate::line::{Answering, Line};
use crate::meter::Meter;
use crate::metrics::Transport;
use crate::publication::Publication;

/// What is said on a WebSocket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Spoken {
    /// Bodies alone; the client says nothing.
    Bodies,
    /// Where the stream stands, then envelopes; the client may send tokens if that was agreed.
    Envelopes { tokens: bool },
}

impl Spoken {
    /// The form in which publications go.
    fn form(self) -> Form {
        match self {
            Self::Bodies => Publication::frame,
            Self::Envelopes { .. } => Publication::envelope_frame,
        }
    }
}

/// Does what there is to do, until the session may rest; `None` at its end.
pub(super) type Work = Pin<Box<dyn Future<Output = Option<Box<Session>>> + Send>>;

/// Runs a session that begins with that work, in a task of its own.
pub(super) fn spawn(work: Work) {
    tokio::spawn(Task::Works(work));
}

/// A task of tokio's takes steps of 128 bytes. Of no more than three words, this one takes one step.
enum Task {
    Works(Work),
    Rests(Box<Session>),
    Over,
}

impl Future for Task {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let next = match &mut *self {
                Self::Works(work) => ready!(work.as_mut().poll(cx)).map(Self::Rests),
                Self::Rests(session) => match ready!(session.poll_rest(cx)) {
                    Rested::Over => None,
                    rested => match std::mem::replace(&mut *self, Self::Over) {
                        Self::Rests(session) => Some(Self::Works(session.work(rested))),
                        _ => None,
                    },
                },
                Self::Over => None,
            };
            match next {
                Some(next) => *self = next,
                None => {
                    *self = Self::Over;
                    return Poll::Ready(());
                }
            }
        }
    }
}

/// What ended a rest.
enum Rested {
    /// Something is to be done.
    Due,
    /// The client said something.
    Heard(Message),
    /// The connection is over, or every one is to end where it is.
    Over,
}

/// One listener's WebSocket.
pub(super) struct Session {
    /// Dropped before the connection, so that the hub is not held up by the connection's end.
    live: Live,
    sender: Sender,
    receiver: Receiver,
    more: Option<Box<More>>,
    /// Given back when the connection is gone.
    listener: Listener,
}

/// A listener, as the server counts it.
struct Listener {
    app: Arc<App>,
    _token: TaskTrackerToken,
    /// What its connection takes, if there is nothing else on that.
    held: Option<limits::Held>,
    turn: Turn,
    spoken: Spoken,
}

/// What few sessions have, or only for a while; in a box, without which all had room for it.
#[derive(Default)]
struct More {
    backlog: Option<Backlog>,
    /// The end of its right to listen, if there is one.
    expiry: Option<Pin<Box<Sleep>>>,
    /// How often the client spoke of late.
    said: Option<limits::Meter>,
    metered: Option<Metered>,
    /// Over HTTP/2 the connection goes on, and is busy for as long as the session is.
    stream: Option<Answering>,
}

/// What a session runs on.
pub(super) enum Under {
    /// A connection on which there is nothing else.
    Connection(Arc<Line>),
    /// A stream of a connection.
    Stream(Answering),
}

/// What is to be sent before what is published from now on.
struct Backlog {
    first: Option<Broadcast>,
    missed: Missed,
}

/// Bytes that are counted.
struct Metered {
    meter: Arc<Meter>,
    counted: Traffic,
}

/// Why a session ends.
enum End {
    /// The client closed, broke the protocol, or is gone.
    Peer,
    /// It said what it may not.
    Spoke(&'static str),
    /// Its right to listen is over.
    Expired,
    Lagged,
    Drain,
}

impl Session {
    pub(super) fn new(
        app: Arc<App>,
        token: TaskTrackerToken,
        socket: WebSocket,
        spoken: Spoken,
        grant: &Grant,
        subscription: Subscription,
        under: Option<Under>,
    ) -> Box<Self> {
        let first = match spoken {
            Spoken::Bodies => None,
            Spoken::Envelopes { .. } => Some(Broadcast::text(&standing(
                subscription.cursor,
                subscription.recovered,
            ))),
        };
        tracing::debug!(?spoken, "a WebSocket is open");
        let (sender, receiver) = socket.split();
        let line = match &under {
            Some(Under::Connection(line)) => Some(line),
            Some(Under::Stream(stream)) => Some(stream.line()),
            None => None,
        };
        // Its bytes are counted from now on.
        let metered = line.and_then(|line| line.take_meter()).map(|meter| {
            let counted = Traffic::default();
            Metered { meter, counted }
        });
        let (held, stream) = match under {
            Some(Under::Connection(line)) => (line.place.hand_over(), None),
            Some(Under::Stream(stream)) => (None, Some(stream)),
            None => (None, None),
        };
        app.metrics.joined(Transport::Websocket);
        let mut session = Box::new(Self {
            sender,
            receiver,
            live: subscription.live,
            more: Some(Box::new(More {
                backlog: Some(Backlog {
                    first,
                    missed: subscription.missed,
                }),
                metered,
                stream,
                ..More::default()
            })),
            listener: Listener {
                app,
                _token: token,
                held,
                turn: Turn::any(),
                spoken,
            },
        });
        session.grant(grant);
        session
    }

    /// From now on it is that by which the client may listen.
    fn grant(&mut self, grant: &Grant) {
        if grant.expires.is_some() || self.more.is_some() {
            let expiry = grant.expires.map(|expires| Box::pin(sleep_until(expires)));
            self.more.get_or_insert_default().expiry = expiry;
        }
    }

    fn has_expired(&self) -> bool {
        let expiry = self.more.as_ref().and_then(|more| more.expiry.as_ref());
        expiry.is_some_and(|expiry| expiry.deadline() <= Instant::now())
    }

    /// Waits until there is something to do.
    fn poll_rest(&mut self, cx: &mut Context<'_>) -> Poll<Rested> {
        // First of all, since it has the task woken by what is looked at next.
        let is_returned = self.live.poll_returned(cx).is_ready();
        let app = &self.listener.app;
        if app.cut.is_cancelled() {
            return Poll::Ready(Rested::Over);
        }
        let is_due = is_returned || app.drain.has_begun();
        if is_due || poll_expiry(&mut self.more, cx).is_ready() {
            return Poll::Ready(Rested::Due);
        }
        Poll::Ready(match ready!(self.receiver.poll_next_unpin(cx)) {
            Some(Ok(message)) => Rested::Heard(message),
            Some(Err(error)) => {
                tracing::debug!(%error, "a WebSocket failed");
                Rested::Over
            }
            None => Rested::Over,
        })
    }

    /// Does what there is to do, until it may rest again.
    fn work(self: Box<Self>, rested: Rested) -> Work {
        let heard = match rested {
            Rested::Heard(message) => Some(message),
            Rested::Due | Rested::Over => None,
        };
        let app = Arc::clone(&self.listener.app);
        Box::pin(async move {
            tokio::select! {
                biased;
                session = self.run(&app, heard) => session,
                () = app.cut.cancelled() => None,
            }
        })
    }

    /// The session, once it may rest; `None` at its end.
    async fn run(mut self: Box<Self>, app: &App, heard: Option<Message>) -> Option<Box<Self>> {
        let end = match self.serve(app, heard).await {
            Ok(()) => return Some(self),
            Err(end) => end,
        };
        let (code, reason) = match end {
            End::Peer => {
                self.count();
                return None;
            }
            End::Expired => (
                CloseCode::POLICY,
                "the token has expired; come back with a new one",
            ),
            End::Spoke(reason) => (CloseCode::POLICY, reason),
            End::Lagged => (
                CloseCode::TRY_AGAIN,
                "too slow; come back with the last cursor",
            ),
            End::Drain => (CloseCode::RESTART, "the server is going down; come back"),
        };
        if let Err(error) = self.sender.close(code, reason).await {
            tracing::debug!(%error, "the close failed");
        }
        // To the end of the close, which has its deadline; what the client still says is of no interest.
        while self.receiver.next().await.is_some() {}
        self.count();
        None
    }

    /// Takes what waits, hands it to the system in one flush, and waits for more. Once nothing is left, what is published
    /// goes to the socket without this task, until that can't take it all: the session may rest.
    async fn serve(&mut self, app: &App, heard: Option<Message>) -> Result<(), End> {
        if let Some(message) = heard {
            // It is rare, and has much to hold while it lasts.
            Box::pin(self.heard(app, &message))
                .await
                .map_err(End::Spoke)?;
        }
        loop {
            let mut more = false;
            let mut is_attached = self.live.is_attached();
            if !is_attached {
                if let Some(backlog) = self.backlog() {
                    // Once the server is to end its log is closed.
                    backlog
                        .missed
                        .load()
                        .await
                        .map_err(|_| match app.drain.has_begun() {
                            true => End::Drain,
                            false => End::Lagged,
                        })?;
                }
                more = self.fill()?;
                tokio::select! {
                    biased;
                    () = app.drain.turn(self.listener.turn) => return Err(End::Drain),
                    () = expired(&mut self.more) => return Err(End::Expired),
                    flushed = self.sender.flush() => flushed.map_err(|_| End::Peer)?,
                    Lagged = self.live.lagged() => return Err(End::Lagged),
                }
                self.count();
                // Who counts its bytes takes them itself.
                is_attached = !more && !self.is_metered() && self.attach();
            }
            if is_attached && !app.drain.has_begun() {
                return match self.has_expired() {
                    true => Err(End::Expired),
                    false => Ok(()),
                };
            }
            loop {
                tokio::select! {
                    biased;
                    () = app.drain.turn(self.listener.turn) => return Err(End::Drain),
                    () = expired(&mut self.more) => return Err(End::Expired),
                    message = self.receiver.next() => match message {
                        Some(Ok(message)) => {
                            Box::pin(self.heard(app, &message)).await.map_err(End::Spoke)?;
                        }
                        Some(Err(error)) => {
                            tracing::debug!(%error, "a WebSocket failed");
                            return Err(End::Peer);
                        }
                        None => return Err(End::Peer),
                    },
                    next = self.live.next_or_returned(is_attached), if !more => match next {
                        Ok(Some(publication)) => {
                            self.feed(&publication)?;
                            self.delivered(1, publication.time());
                            break;
                        }
                        // What is published is this task's again.
                        Ok(None) => break,
                        Err(Lagged) => return Err(End::Lagged),
                    },
                    // The client was listened to; on with what waits.
                    () = std::future::ready(()), if more => break,
                }
            }
        }
    }

    fn attach(&mut self) -> bool {
        self.live.attach(Outlet {
            sender: self.sender.clone(),
            form: self.listener.spoken.form(),
        })
    }

    /// What is to be sent first.
    fn backlog(&mut self) -> Option<&mut Backlog> {
        self.more.as_mut()?.backlog.as_mut()
    }

    fn is_metered(&self) -> bool {
        self.more
            .as_ref()
            .is_some_and(|more| more.metered.is_some())
    }

    fn delivered(&self, count: u64, newest: Timestamp) {
        let metrics = &self.listener.app.metrics;
        metrics.delivered(Transport::Websocket, count, newest);
    }

    /// Queues what there is, as much as goes out in one flush; tells whether there may be more.
    fn fill(&mut self) -> Result<bool, End> {
        let (mut queued, mut count, mut newest) = (0, 0, None);
        if let Some(first) = self.backlog().and_then(|backlog| backlog.first.take()) {
            self.sender.feed(&first).map_err(|_| End::Peer)?;
        }
        let more = loop {
            if queued >= BATCH {
                break true;
            }
            let missed = self.backlog().map(|backlog| &mut backlog.missed);
            let publication = match missed {
                Some(missed) => match missed.try_next() {
                    Some(publication) => publication,
                    // The next page is loaded first.
                    None if !missed.is_empty() => break true,
                    None => {
                        self.more.take_if(|more| {
                            more.backlog = None;
                            more.is_empty()
                        });
                        continue;
                    }
                },
                None => match self.live.try_next() {
                    Ok(Some(publication)) => publication,
                    Ok(None) => break false,
                    Err(Lagged) => return Err(End::Lagged),
                },
            };
            queued += self.feed(&publication)?;
            count += 1;
            newest = Some(publication.time());
        };
        if let Some(newest) = newest {
            self.delivered(count, newest);
        }
        Ok(more)
    }

    /// Queues one publication; its bytes on the wire.
    fn feed(&mut self, publication: &Publication) -> Result<usize, End> {
        let frame = (self.listener.spoken.form())(publication);
        self.sender.feed(frame).map_err(|_| End::Peer)?;
        Ok(frame.as_bytes().len())
    }

    /// What a client may say: a token, to renew its right to listen, where the subprotocol has
    /// been agreed on.
    async fn heard(&mut self, app: &App, message: &Message) -> Result<(), &'static str> {
        if self.listener.spoken != (Spoken::Envelopes { tokens: true }) {
            return Err("only the server speaks here; publish by POST");
        }
        let said = message
            .as_text()
            .and_then(|text| serde_json::from_str::<Token<'_>>(text).ok())
            .ok_or("only {\"token\":\"...\"} may be sent here; publish by POST")?;
        let now = app.now();
        let more = self.more.get_or_insert_default();
        let rate = more.said.get_or_insert_default();
        if !rate.take(now.config.message_rate, 1) {
            return Err("you send too often");
        }
        let filter = self.live.filter();
        let renewed = now.auth.renew(&now.config, &said.token, filter).await;
        self.grant(
            &renewed.map_err(|_| "the token is not accepted, or does not let you listen here")?,
        );
        Ok(())
    }

    /// Counts to the meter what went over the wire since the last time.
    fn count(&mut self) {
        if let Some(metered) = self.more.as_mut().and_then(|more| more.metered.as_mut()) {
            let now = self.receiver.traffic();
            let Metered { meter, counted } = metered;
            meter.add_up(now.received - counted.received);
            meter.add_down(now.sent - counted.sent);
            *counted = now;
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.app.metrics.left(Transport::Websocket);
        if let Some(held) = self.held.take() {
            self.app.limits.leave(held);
        }
    }
}

impl More {
    fn is_empty(&self) -> bool {
        let Self {
            backlog,
            expiry,
            said,
            metered,
            stream,
        } = self;
        backlog.is_none()
            && expiry.is_none()
            && said.is_none()
            && metered.is_none()
            && stream.is_none()
    }
}

/// Ready when a right to listen is over; never, if it has no end.
fn poll_expiry(more: &mut Option<Box<More>>, cx: &mut Context<'_>) -> Poll<()> {
    match more.as_mut().and_then(|more| more.expiry.as_mut()) {
        Some(expiry) => expiry.as_mut().poll(cx),
        None => Poll::Pending,
    }
}

async fn expired(more: &mut Option<Box<More>>) {
    std::future::poll_fn(|cx| poll_expiry(more, cx)).await;
}

/// The one message that a client may send.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Token<'a> {
    #[serde(borrow)]
    token: Cow<'a, str>,
}
