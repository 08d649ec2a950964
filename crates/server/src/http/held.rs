//! Answers that are waited for.
//!
//! A held request is to cost no more than the wait itself. So its route answers at once, with a stand-in, and the futures and
//! the request's head on the way to it are given back; all doors treat the stand-in as they do any answer. Then the wait
//! brings the answer, which gets the fields of the stand-in.

use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use axum::body::{Body, HttpBody as _};
use axum::response::Response;
use http::header::CONTENT_LENGTH;
use http::{HeaderName, HeaderValue, Method};

use super::{App, Asked};

use crate::sync::lock;

/// Waits for an answer.
pub(crate) type Wait = Pin<Box<dyn Future<Output = Response> + Send>>;

/// The wait that a stand-in is for; shared only since all that comes with an answer has to be.
#[derive(Clone)]
struct Held(Arc<Mutex<Option<Wait>>>);

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Held").finish_non_exhaustive()
    }
}

/// What stands for the answer that `wait` brings to a request of that method.
pub(crate) fn stand_in(wait: Wait, method: &Method) -> Response {
    let mut response = Response::new(Body::empty());
    let wait = if *method == Method::HEAD {
        Box::pin(async { head_only(wait.await) })
    } else {
        wait
    };
    let held = Held(Arc::new(Mutex::new(Some(wait))));
    response.extensions_mut().insert(held);
    response
}

/// The answer itself to what was asked; or, where it is to be waited for, what waits for it.
pub(crate) fn answer(
    app: &Arc<App>,
    asked: Asked,
    mut response: Response,
) -> Result<Response, Wait> {
    let held = response.extensions_mut().remove::<Held>();
    let wait = held.and_then(|held| lock(&held.0).take());
    let Some(wait) = wait else {
        asked.answered(app, response.status());
        return Ok(response);
    };
    let (parts, _) = response.into_parts();
    let mut fields = parts.headers;
    // It is the stand-in's, which has no body.
    fields.remove(CONTENT_LENGTH);
    let fields: Vec<(Option<HeaderName>, HeaderValue)> = fields.into_iter().collect();
    let app = Arc::clone(app);
    Err(Box::pin(async move {
        let mut response = wait.await;
        asked.answered(&app, response.status());
        response.headers_mut().extend(fields);
        response
    }))
}

/// Takes the body away that an answer to `HEAD` has not, and tells its length.
fn head_only(mut response: Response) -> Response {
    if let Some(length) = response.body().size_hint().exact() {
        response
            .headers_mut()
            .entry(CONTENT_LENGTH)
            .or_insert(length.into());
    }
    *response.body_mut() = Body::empty();
    response
}
