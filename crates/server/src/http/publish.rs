//! `POST`: publishing.

use std::future::poll_fn;
use std::io::Write as _;
use std::pin::pin;
use std::task::Poll;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::header::{
    ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, ETAG, HeaderMap, HeaderValue,
};
use http::request::Parts;
use http::{HeaderName, StatusCode};
use http_body_util::BodyExt as _;
use jiff::Timestamp;

use super::problem::{Kind, Problem};
use super::{App, refusal};
use crate::auth::Who;
use crate::broker::Scope;
use crate::channel::Channel;
use crate::config::Config;
use crate::publisher::PublishError;
use crate::traces::Within;
use crate::transport::etag;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// Longest idempotency key, in bytes.
const MAX_KEY: usize = 255;
/// The type of a body that comes without one.
const NO_TYPE: &str = "application/octet-stream";

/// Publishes the request's body on `channel`.
pub(super) async fn publish(
    app: &App,
    config: &Config,
    who: &Who,
    channel: Channel,
    parts: Parts,
    body: Body,
) -> Result<Response, Problem> {
    let content_type = content_type(&parts.headers)?;
    // Taken with the head: of two tries at the same time, the one that comes second is told so
    // however slowly the first one's body comes.
    let reserved = idempotency_key(&parts.headers)?
        .map(|key| {
            app.under_way
                .reserve(Scope::new(&who.to_string(), &channel, key))
        })
        .transpose()?;
    let body = read(app, config, &parts.headers, body).await?;
    let within = parts.extensions.get().copied();
    let within = within.unwrap_or(Within::Nothing);
    let scope = reserved.as_ref().map(|reserved| reserved.scope);
    let appended = app
        .publisher
        .append(channel.clone(), content_type, body, scope, within)
        .await?;
    tracing::debug!(%channel, cursor = %appended.cursor, "published");

    let etag = etag(appended.cursor)?;
    let mut response = Response::new(Body::from(answer(&channel, &etag, appended.time)));
    *response.status_mut() = StatusCode::CREATED;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(ETAG, etag);
    Ok(response)
}

/// Where it was published, its cursor, of which the entity tag is the text in quotes, and when. Written as it is: a general
/// writer of JSON costs several times as much.
fn answer(channel: &Channel, etag: &HeaderValue, time: Timestamp) -> Vec<u8> {
    let (channel, etag) = (channel.as_str(), etag.as_bytes());
    let mut answer = Vec::with_capacity(96 + channel.len() + etag.len());
    answer.extend_from_slice(b"{\"channel\":");
    // Writing to memory does not fail.
    let _ = serde_json::to_writer(&mut answer, channel);
    answer.extend_from_slice(b",\"cursor\":");
    answer.extend_from_slice(etag);
    let _ = writeln!(answer, ",\"time\":\"{time:.3}\"}}");
    answer
}

fn content_type(headers: &HeaderMap) -> Result<&str, Problem> {
    if headers
        .get(CONTENT_ENCODING)
        .is_some_and(|coding| coding != "identity")
    {
        return Err(Problem::new(
            Kind::ContentEncoding,
            "a body is handed on as it is, without its Content-Encoding; send it unencoded",
        )
        .with_header(ACCEPT_ENCODING, HeaderValue::from_static("identity")));
    }
    let mut fields = headers.get_all(CONTENT_TYPE).into_iter();
    match (fields.next(), fields.next()) {
        (None, _) => Ok(NO_TYPE),
        (Some(field), None) => field
            .to_str()
            .map_err(|_| Problem::new(Kind::BadRequest, "Content-Type is not ASCII text")),
        _ => Err(Problem::new(
            Kind::BadRequest,
            "Content-Type is there twice",
        )),
    }
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    let mut fields = headers.get_all(IDEMPOTENCY_KEY).into_iter();
    let Some(field) = fields.next() else {
        return Ok(None);
    };
    field
        .to_str()
        .ok()
        .filter(|key| (1..=MAX_KEY).contains(&key.len()) && fields.next().is_none())
        .map(Some)
        .ok_or_else(|| {
            Problem::new(
                Kind::BadRequest,
                format!("send one Idempotency-Key of 1 to {MAX_KEY} ASCII characters"),
            )
        })
}

/// The whole body, if it comes in time and is not too large. No more than the limit is ever kept.
async fn read(
    app: &App,
    config: &Config,
    headers: &HeaderMap,
    body: Body,
) -> Result<Bytes, Problem> {
    let limit = config.max_publication;
    let too_large = || Problem::from(PublishError::TooLarge { limit });
    let declared = headers
        .get(CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok()?.parse().ok());
    if declared.is_some_and(|length: u64| length > limit as u64) {
        return Err(too_large());
    }
    let broken = || Problem::new(Kind::BadRequest, "the body broke off");
    let mut body = pin!(body);
    let whole = async {
        let (mut pieces, mut length, mut room) = (Vec::<Bytes>::new(), 0, Vec::new());
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.map_err(|_| broken())?.into_data() else {
                continue;
            };
            if length + data.len() > limit {
                return Err(too_large());
            }
            let taken = app.limits.room(data.len());
            room.push(taken.map_err(|reason| refusal(app, reason))?);
            length += data.len();
            pieces.push(data);
        }
        // Most bodies come in one piece, which is taken as it is.
        Ok(match pieces.pop() {
            Some(only) if pieces.is_empty() => only,
            last => pieces
                .into_iter()
                .chain(last)
                .collect::<Vec<_>>()
                .concat()
                .into(),
        })
    };
    let mut whole = pin!(whole);
    // Most are there already, and need no timer.
    if let Poll::Ready(body) = poll_fn(|cx| Poll::Ready(whole.as_mut().poll(cx))).await {
        return body;
    }
    tokio::time::timeout(config.body_timeout, whole)
        .await
        .unwrap_or_else(|_| {
            Err(Problem::new(
                Kind::BodyTimeout,
                format!(
                    "send the whole body within {} s",
                    config.body_timeout.as_secs()
                ),
            ))
        })
}
