//! What is counted and traced of a request, from its head to its answer.

use http::{Method, Request, StatusCode};

use super::{App, CHANNELS};
use crate::traces::Open;

/// A request that is to be answered.
#[derive(Debug)]
pub(crate) struct Asked {
    /// In a box, since few have one.
    span: Option<Box<Open>>,
    publishes: bool,
}

impl Asked {
    /// One that has come. What is done for it is part of its span from now on.
    pub(crate) fn of<B>(app: &App, request: &mut Request<B>) -> Self {
        Self {
            span: app.traces.request(request).map(Box::new),
            publishes: request.method() == Method::POST
                && request.uri().path().starts_with(CHANNELS),
        }
    }

    /// It is answered so, with the head at least.
    pub(crate) fn answered(self, app: &App, status: StatusCode) {
        app.metrics.answered(status);
        if self.publishes && status != StatusCode::CREATED {
            app.metrics.not_published(status);
        }
        if let Some(span) = self.span {
            span.answered(status);
        }
    }
}
