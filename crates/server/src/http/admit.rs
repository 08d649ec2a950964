//! The first door: how often one may ask, before anybody looks at what is asked.

use std::sync::Arc;

use axum::extract::Request;

use super::problem::{Kind, Problem};
use super::{App, Current};
use crate::limits::{self, Client, Refusal};
use crate::line::Line;

/// Counts the request to its client, and refuses it past the client's bounds. The request, with who sends it.
pub(crate) fn admit(app: &App, mut request: Request) -> Result<Request, Problem> {
    if let Some(client) = judge(app, &app.now(), &request)? {
        request.extensions_mut().insert(client);
    }
    Ok(request)
}

fn judge(app: &App, now: &Current, request: &Request) -> Result<Option<Client>, Problem> {
    // Every connection has one.
    let Some(line) = request.extensions().get::<Arc<Line>>() else {
        return Ok(None);
    };
    let config = &now.config;
    let client = limits::forwarded(&line.origin, &config.proxies, request.headers());
    let refused = |reason| refusal(app, reason);
    app.limits.request(config, &client).map_err(refused)?;
    // Behind a proxy that hands requests on, a client's connections are those that serve it.
    if client != Client::of(&line.origin) {
        let place = app.limits.place_of(config, client.counted);
        line.place.is_of(place.map_err(refused)?);
    }
    Ok(Some(client))
}

/// Tells a client to come back later, and counts that.
pub(crate) fn refusal(app: &App, reason: Refusal) -> Problem {
    app.limits.refused(reason);
    let after = limits::retry_after(reason);
    if matches!(reason, Refusal::RequestRate | Refusal::PublishRate) {
        Problem::new(Kind::TooMany, reason.told()).with_retry_after(after)
    } else {
        Problem::busy(reason.told(), after)
    }
}
