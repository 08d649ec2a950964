//! WebSocket: bare bodies of one channel, or envelopes with cursors.

use std::borrow::Cow;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use bytes::Bytes;
use http::Version;
use http::header::{CONNECTION, HeaderMap, SEC_WEBSOCKET_VERSION, UPGRADE};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use openline::{
    Broadcast, CloseCode, Message, OriginPolicy, Receiver, Rejection, Sender, ServerOptions,
    Stream, Traffic, WebSocket,
};
use serde::Deserialize;

use super::standing;
use crate::auth::Grant;
use crate::broker::{Missed, Since, Subscription};
use crate::channel::Filter;
use crate::drain::Turn;
use crate::http::{App, Kind, Problem};
use crate::hub::{Lagged, Live, Outlet};
use crate::limits;
use crate::line::Line;
use crate::meter::Meter;
use crate::metrics::{Listening, Transport};
use crate::publication::Publication;
use crate::wire::{Io, Wire};

/// The subprotocol of envelopes with cursors.
const SUBPROTOCOL: &str = "openline.v1";
/// Bytes after which what is queued for the client is flushed before more is.
const BATCH: usize = 128 * 1024;

/// Whether the request asks for a WebSocket, rightly or not.
pub(crate) fn is_asked_for(headers: &HeaderMap) -> bool {
    headers
        .get_all(UPGRADE)
        .into_iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|line| line.split(','))
        .any(|protocol| protocol.trim().eq_ignore_ascii_case("websocket"))
}

/// Answers the opening handshake, and serves the WebSocket in a task of its own.
pub(crate) async fn open(
    app: Arc<App>,
    grant: Grant,
    filter: Filter,
    since: Since,
    mut request: Request,
) -> Result<Response, Problem> {
    let line = request.extensions().get::<Arc<Line>>().cloned();
    // Origins were judged for all transports alike before this.
    let options = ServerOptions::default()
        .subprotocol(SUBPROTOCOL)
        .origins(OriginPolicy::Any);
    let (response, upgrade) = openline::upgrade(&mut request, &options).map_err(refusal)?;
    let spoken = match (&filter, upgrade.subprotocol()) {
        (Filter::Exact(_), None) => Spoken::Bodies,
        (Filter::Pattern(_), None) => Spoken::Envelopes { tokens: false },
        (_, Some(_)) => Spoken::Envelopes { tokens: true },
    };
    let subscription = app.broker.subscribe(&filter, since).await?;
    if spoken == Spoken::Bodies && !subscription.recovered {
        return Err(Problem::new(
            Kind::Gone,
            "what came after this cursor is not all kept any more, and a bare WebSocket cannot say \
             so; GET the channel for its latest publication and cursor, or ask for the subprotocol \
             openline.v1",
        ));
    }
    // Each batch finds the queue empty, so its last frame always finds room.
    let config = openline::Config::default()
        .max_message(app.now().config.max_message)
        .max_outbox(2 * BATCH)
        .write_timeout(app.now().config.write_timeout);
    let mut upgrade = upgrade.config(config);
    // Over HTTP/2 it is one stream of a connection, which is busy for as long as the stream is.
    let is_alone = request.version() < Version::HTTP_2;
    if is_alone {
        upgrade = upgrade.regain(regain);
    }
    let busy = line.as_ref().filter(|_| !is_alone).map(Line::hold);
    let (tasks, cut) = (app.tasks.clone(), app.cut.clone());
    let right = Right { filter, grant };
    // In one box, of which a future that waits for two things would hold several copies.
    let served = Box::pin(async move {
        let _busy = busy;
        match upgrade.await {
            Ok(socket) => {
                Session::new(&app, socket, spoken, right, subscription, line)
                    .run(&app)
                    .await;
            }
            Err(error) => tracing::debug!(%error, "the upgrade failed"),
        }
    });
    tasks.spawn(cut.run_until_cancelled_owned(served));
    Ok(response.map(|()| Body::empty()))
}

/// The bare connection from under hyper and the server's own wrapper.
fn regain(upgraded: Upgraded) -> (Stream, Bytes) {
    match upgraded.downcast::<TokioIo<Wire>>() {
        Ok(parts) => {
            let stream = match parts.io.into_inner().into_io() {
                Io::Tcp(tcp) => tcp.into(),
                Io::Tls(tls) => Stream::new(tls),
            };
            (stream, parts.read_buf)
        }
        Err(upgraded) => (Stream::new(TokioIo::new(upgraded)), Bytes::new()),
    }
}

fn refusal(rejection: Rejection) -> Problem {
    let status = rejection.status();
    let detail = match rejection {
        // `Upgrade: websocket` is there, else plain HTTP would have answered.
        Rejection::NotWebSocket => {
            "the request has `Upgrade: websocket` but no `Connection: Upgrade`, without which it \
             opens no WebSocket: send both; if you did, a proxy on the way dropped it and has to be \
             told to pass it on"
                .to_owned()
        }
        other => other.to_string(),
    };
    let problem = Problem::new(Kind::Handshake, detail).with_status(status);
    let answer = rejection.response();
    [UPGRADE, CONNECTION, SEC_WEBSOCKET_VERSION]
        .into_iter()
        .fold(problem, |problem, name| match answer.headers().get(&name) {
            Some(value) => problem.with_header(name, value.clone()),
            None => problem,
        })
}

/// What is said on a WebSocket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Spoken {
    /// Bodies alone; the client says nothing.
    Bodies,
    /// Where the stream stands, then envelopes; the client may send tokens if that was agreed.
    Envelopes { tokens: bool },
}

impl Spoken {
    /// The form in which a publication goes.
    fn form(self, publication: &Publication) -> &Broadcast {
        match self {
            Self::Bodies => publication.frame(),
            Self::Envelopes { .. } => publication.envelope_frame(),
        }
    }
}

/// One listener's WebSocket.
struct Session {
    sender: Sender,
    receiver: Receiver,
    outlet: Arc<Socket>,
    right: Right,
    turn: Turn,
    first: Option<Broadcast>,
    missed: Missed,
    live: Live,
    /// How often the client spoke of late.
    said: limits::Meter,
    /// The connection's place is kept, and its bytes are counted on.
    _line: Option<Arc<Line>>,
    meter: Option<Arc<Meter>>,
    counted: Traffic,
}

/// Where a session's publications go.
#[derive(Debug)]
struct Socket {
    sender: Sender,
    spoken: Spoken,
    listening: Listening,
}

impl Outlet for Socket {
    fn deliver(&self, next: &mut dyn FnMut() -> Option<Arc<Publication>>) -> bool {
        let (mut queued, mut count, mut newest) = (0, 0, None);
        let messages = std::iter::from_fn(|| {
            if queued >= BATCH {
                return None;
            }
            let publication = next()?;
            let form = self.spoken.form(&publication).clone();
            queued += form.as_bytes().len();
            count += 1;
            newest = Some(publication.time());
            Some(form)
        });
        let left = self.sender.send_now(messages);
        if let Some(newest) = newest {
            self.listening.delivered(count, newest);
        }
        left.unwrap_or(false)
    }
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

/// What a client listens to, and by what right.
struct Right {
    filter: Filter,
    grant: Grant,
}

impl Session {
    fn new(
        app: &Arc<App>,
        socket: WebSocket,
        spoken: Spoken,
        right: Right,
        subscription: Subscription,
        line: Option<Arc<Line>>,
    ) -> Self {
        let first = match spoken {
            Spoken::Bodies => None,
            Spoken::Envelopes { .. } => Some(Broadcast::text(&standing(
                subscription.cursor,
                subscription.recovered,
            ))),
        };
        let listening = app.metrics.listener(Transport::Websocket);
        let meter = line.as_ref().and_then(|line| line.take_meter());
        tracing::debug!(?spoken, "a WebSocket is open");
        let (sender, receiver) = socket.split();
        Self {
            sender: sender.clone(),
            receiver,
            outlet: Arc::new(Socket {
                sender,
                spoken,
                listening,
            }),
            right,
            turn: Turn::any(),
            first,
            missed: subscription.missed,
            live: subscription.live,
            said: limits::Meter::default(),
            _line: line,
            meter,
            counted: Traffic::default(),
        }
    }

    async fn run(mut self, app: &App) {
        let end = self.serve(app).await;
        let (code, reason) = match end {
            End::Peer => {
                self.count();
                return;
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
    }

    /// Takes what waits, hands it to the system in one flush, and waits for more. Once nothing is left, what is published
    /// goes to the socket without this task, until that can't take it all.
    async fn serve(&mut self, app: &App) -> End {
        let outlet: Arc<dyn Outlet> = self.outlet.clone();
        loop {
            if self.missed.load().await.is_err() {
                return End::Lagged;
            }
            let more = match self.fill() {
                Ok(more) => more,
                Err(end) => return end,
            };
            tokio::select! {
                biased;
                () = app.drain.turn(self.turn) => return End::Drain,
                () = self.right.grant.expired() => return End::Expired,
                flushed = self.sender.flush() => {
                    if flushed.is_err() {
                        return End::Peer;
                    }
                }
                Lagged = self.live.lagged() => return End::Lagged,
            }
            self.count();
            // Who counts its bytes takes them itself.
            let is_attached = !more && self.meter.is_none() && self.live.attach(&outlet);
            loop {
                tokio::select! {
                    biased;
                    () = app.drain.turn(self.turn) => return End::Drain,
                    () = self.right.grant.expired() => return End::Expired,
                    message = self.receiver.next() => match message {
                        Some(Ok(message)) => {
                            // It is rare, and has much to hold while it lasts.
                            if let Err(reason) = Box::pin(self.heard(app, &message)).await {
                                return End::Spoke(reason);
                            }
                        }
                        Some(Err(error)) => {
                            tracing::debug!(%error, "a WebSocket failed");
                            return End::Peer;
                        }
                        None => return End::Peer,
                    },
                    next = self.live.next_or_returned(is_attached), if !more => match next {
                        Ok(Some(publication)) => {
                            if let Err(end) = self.feed(&publication) {
                                return end;
                            }
                            self.outlet.listening.delivered(1, publication.time());
                            break;
                        }
                        // What is published is this task's again.
                        Ok(None) => break,
                        Err(Lagged) => return End::Lagged,
                    },
                    // The client was listened to; on with what waits.
                    () = std::future::ready(()), if more => break,
                }
            }
        }
    }

    /// Queues what there is, as much as goes out in one flush; tells whether there may be more.
    fn fill(&mut self) -> Result<bool, End> {
        if let Some(first) = self.first.take() {
            self.sender.feed(&first).map_err(|_| End::Peer)?;
        }
        let (mut queued, mut count, mut newest) = (0, 0, None);
        let more = loop {
            if queued >= BATCH {
                break true;
            }
            let publication = match self.missed.try_next() {
                Some(missed) => missed,
                // The next page is loaded first.
                None if !self.missed.is_empty() => break true,
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
            self.outlet.listening.delivered(count, newest);
        }
        Ok(more)
    }

    /// Queues one publication; its bytes on the wire.
    fn feed(&mut self, publication: &Publication) -> Result<usize, End> {
        let frame = self.outlet.spoken.form(publication);
        self.sender.feed(frame).map_err(|_| End::Peer)?;
        Ok(frame.as_bytes().len())
    }

    /// What a client may say: a token, to renew its right to listen, where the subprotocol has
    /// been agreed on.
    async fn heard(&mut self, app: &App, message: &Message) -> Result<(), &'static str> {
        if self.outlet.spoken != (Spoken::Envelopes { tokens: true }) {
            return Err("only the server speaks here; publish by POST");
        }
        let said = message
            .as_text()
            .and_then(|text| serde_json::from_str::<Token<'_>>(text).ok())
            .ok_or("only {\"token\":\"...\"} may be sent here; publish by POST")?;
        let now = app.now();
        if !self.said.take(now.config.message_rate, 1) {
            return Err("you send too often");
        }
        let renewed = now.auth.renew(&now.config, &said.token, &self.right.filter);
        self.right.grant = renewed
            .await
            .map_err(|_| "the token is not accepted, or does not let you listen here")?;
        Ok(())
    }

    /// Counts to the meter what went over the wire since the last time.
    fn count(&mut self) {
        if let Some(meter) = &self.meter {
            let now = self.receiver.traffic();
            meter.add_up(now.received - self.counted.received);
            meter.add_down(now.sent - self.counted.sent);
            self.counted = now;
        }
    }
}

/// The one message that a client may send.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Token<'a> {
    #[serde(borrow)]
    token: Cow<'a, str>,
}
