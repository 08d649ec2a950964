//! WebSocket: bare bodies of one channel, or envelopes with cursors.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use http::Version;
use http::header::{CONNECTION, HeaderMap, SEC_WEBSOCKET_VERSION, UPGRADE};
use openline::proto::handshake::has_token;
use openline::{OriginPolicy, Rejection, ServerOptions, Stream};

use super::compression;
use super::session::{self, Session, Spoken, Under};
use crate::auth::Grant;
use crate::broker::Since;
use crate::channel::Filter;
use crate::config::Config;
use crate::http::{App, Kind, Problem};
use crate::hub::BATCH;
use crate::line::Line;
use crate::takeover::Whole;
use crate::wire::Io;

/// The subprotocol of envelopes with cursors.
const SUBPROTOCOL: &str = "openline.v1";

/// Whether the request asks for a WebSocket, rightly or not.
pub(crate) fn is_asked_for(headers: &HeaderMap) -> bool {
    has_token(headers, UPGRADE, "websocket")
}

/// Answers the opening handshake, and serves the WebSocket in a task of its own.
pub(crate) async fn open(
    app: Arc<App>,
    grant: Grant,
    filter: Filter,
    since: Since,
    mut request: Request,
) -> Result<Response, Problem> {
    // Origins were judged for all transports alike before this.
    let options = ServerOptions::default()
        .subprotocol(SUBPROTOCOL)
        .origins(OriginPolicy::Any);
    let options = compression::grant(options, &app.now().config, &filter);
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
    let upgrade = upgrade.config(Arc::clone(&app.now().websocket));
    // Over HTTP/2 it is one stream of a connection, which is busy for as long as the stream is.
    let is_alone = request.version() < Version::HTTP_2;
    let line = request.extensions().get::<Arc<Line>>();
    let whole = line.filter(|_| is_alone);
    let whole = whole.map(|line| line.takeover.upgrade());
    let stream = line.filter(|_| !is_alone).map(Line::hold);
    let token = app.tasks.token();
    let opening = Box::pin(async move {
        let opened = async {
            match whole {
                // Without it, the connection has failed, and told so.
                Some(whole) => {
                    let Whole { io, early, line } = whole.await.ok()?;
                    let socket = upgrade.over(transport(io), early);
                    Some((socket, Some(Under::Connection(line))))
                }
                None => {
                    let failed = |error| tracing::debug!(%error, "the upgrade failed");
                    let socket = upgrade.await.map_err(failed).ok()?;
                    Some((socket, stream.map(Under::Stream)))
                }
            }
        };
        let (socket, under) = tokio::select! {
            biased;
            opened = opened => opened?,
            () = app.cut.cancelled() => return None,
        };
        let session = Session::new(app, token, socket, spoken, &grant, subscription, under);
        Some(session)
    });
    session::spawn(opening);
    Ok(response.map(|()| Body::empty()))
}

/// Limits and deadlines of all WebSockets, and how what is sent on those that agreed on it is compressed.
pub(crate) fn config(config: &Config) -> Arc<openline::Config> {
    // Each batch finds the queue empty, so its last frame always finds room.
    let websocket = openline::Config::default()
        .max_message(config.max_message)
        .max_outbox(2 * BATCH)
        .deflate(Some(compression::settings()))
        .write_timeout(config.write_timeout);
    Arc::new(websocket)
}

/// A connection as what is below a WebSocket.
fn transport(io: Io) -> Stream {
    match io {
        Io::Tcp(tcp) => tcp.into(),
        Io::Tls(tls) => Stream::new(tls),
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
