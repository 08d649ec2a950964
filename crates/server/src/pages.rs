//! The pages, embedded: plain files, no build step, no request to anywhere else.

use std::sync::{Arc, OnceLock};

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, HeaderValue, IF_NONE_MATCH,
    REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use http::{Method, StatusCode};
use sha2::{Digest, Sha256};

use crate::http::{App, Kind, Problem};

/// What the pages may load and where they may be shown: their own server's files, and nowhere.
const POLICY: &str = "default-src 'self'; base-uri 'none'; form-action 'none'; \
                      frame-ancestors 'none'; object-src 'none'";

/// One embedded file.
struct File {
    name: &'static str,
    bytes: &'static [u8],
    tag: OnceLock<Option<HeaderValue>>,
}

macro_rules! files {
    ($($name:literal),* $(,)?) => {
        [$(File {
            name: $name,
            bytes: include_bytes!(concat!("../web/", $name)),
            tag: OnceLock::new(),
        }),*]
    };
}

static INDEX: [File; 1] = files!["index.html"];

static ASSETS: [File; 18] = files![
    "app.js",
    "board.css",
    "board.js",
    "clock.js",
    "dom.js",
    "flight.js",
    "flights.js",
    "lanes.css",
    "lanes.js",
    "ledger.js",
    "line.js",
    "openline.svg",
    "page.css",
    "select.js",
    "shell.js",
    "strips.js",
    "theme.js",
    "words.js",
];

impl File {
    fn content_type(&self) -> &'static str {
        match self.name.rsplit_once('.') {
            Some((_, "html")) => "text/html; charset=utf-8",
            Some((_, "css")) => "text/css; charset=utf-8",
            Some((_, "js")) => "text/javascript; charset=utf-8",
            Some((_, "svg")) => "image/svg+xml",
            _ => "application/octet-stream",
        }
    }

    /// A tag of what the file holds, so that a browser asks again and need not load again.
    fn tag(&self) -> Option<HeaderValue> {
        let make = || {
            let digest = Sha256::digest(self.bytes);
            let hex: String = digest
                .iter()
                .take(16)
                .map(|byte| format!("{byte:02x}"))
                .collect();
            HeaderValue::try_from(format!("\"{hex}\"")).ok()
        };
        self.tag.get_or_init(make).clone()
    }

    fn answer(&self, request: &Request) -> Response {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return Problem::method("GET, HEAD").into_response();
        }
        let tag = self.tag();
        let known = request
            .headers()
            .get_all(IF_NONE_MATCH)
            .into_iter()
            .any(|known| {
                tag.as_ref()
                    .zip(known.to_str().ok())
                    .is_some_and(|(tag, list)| {
                        let is_tag =
                            |item: &str| item.strip_prefix("W/").unwrap_or(item).as_bytes() == tag;
                        list.split(',')
                            .map(str::trim)
                            .any(|item| item == "*" || is_tag(item))
                    })
            });
        let mut response = if known {
            StatusCode::NOT_MODIFIED.into_response()
        } else {
            let mut response = Body::from(self.bytes).into_response();
            let content_type = HeaderValue::from_static(self.content_type());
            response.headers_mut().insert(CONTENT_TYPE, content_type);
            response
        };
        let headers = response.headers_mut();
        headers.extend(tag.map(|tag| (ETAG, tag)));
        for (name, value) in [
            (CACHE_CONTROL, "no-cache"),
            (CONTENT_SECURITY_POLICY, POLICY),
            (X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (REFERRER_POLICY, "no-referrer"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        response
    }
}

/// `/`, where the pages are served.
pub(crate) async fn index(request: Request) -> Response {
    INDEX[0].answer(&request)
}

/// `/assets/<file>`.
pub(crate) async fn asset(request: Request) -> Response {
    let name = request
        .uri()
        .path()
        .strip_prefix("/assets/")
        .unwrap_or_default();
    match ASSETS.iter().find(|file| file.name == name) {
        Some(file) => file.answer(&request),
        None => Problem::new(Kind::NotFound, "the pages have no file of that name").into_response(),
    }
}

/// `/`, where they are not: what this is and how to use it.
pub(crate) async fn plain(State(app): State<Arc<App>>, request: Request) -> Response {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return Problem::method("GET, HEAD").into_response();
    }
    let text = format!(
        "Openline: one URL per channel, every way to listen, one cursor.\n\
         \n\
         POST   /channels/NAME                                 publish, at most {} bytes\n\
         GET    /channels/NAME                                 the latest publication; ETag is its cursor\n\
         GET    /channels/NAME  If-None-Match: ETAG            304 unless there is a newer one\n\
         GET    /channels/NAME  Prefer: wait=30                the same, held until there is\n\
         GET    /channels/NAME?since=CURSOR                    all that came after the cursor, as JSON\n\
         GET    /channels/NAME  Accept: text/event-stream      Server-Sent Events\n\
         GET    /channels/NAME  Accept: application/x-ndjson   a line of JSON for each publication\n\
         GET    /channels/NAME  Upgrade: websocket             WebSocket; subprotocol openline.v1 for cursors\n\
         DELETE /channels/NAME                                 forget the channel's history\n\
         \n\
         A name is segments between slashes, such as flights/UA1545-EWR. To listen to many channels\n\
         at once, use * for one segment and ** for the rest: flights/*, flights/**.\n",
        app.now().config.max_publication,
    );
    let mut response = text.into_response();
    let cache = HeaderValue::from_static("no-cache");
    response.headers_mut().insert(CACHE_CONTROL, cache);
    response
}
