//! What a subscriber missed, handed over in pieces so that nobody holds all of it at once.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use futures_util::future::BoxFuture;

use crate::hub::Lagged;
use crate::publication::Publication;

/// The publications that a subscriber missed, in order. The first page is there from the start;
/// a broker that keeps its log elsewhere brings the others when they are asked for.
#[derive(Debug, Default)]
pub struct Missed {
    page: VecDeque<Arc<Publication>>,
    rest: Option<Box<dyn Pages>>,
}

/// A page of what was missed.
#[derive(Debug)]
pub struct MissedPage {
    /// Its publications, in order.
    pub publications: Vec<Arc<Publication>>,
    /// Whether another page follows.
    pub more: bool,
}

/// Where the pages of a [`Missed`] after the first come from.
pub trait Pages: fmt::Debug + Send {
    /// The next page. Dropping the future loses nothing: the next
    /// call brings the same page.
    ///
    /// # Errors
    /// [`Lagged`] when some of it was dropped before it was asked for, or cannot be read. The
    /// subscriber is let go; when it comes back with its last cursor, it is told which.
    fn next_page(&mut self) -> BoxFuture<'_, Result<MissedPage, Lagged>>;
}

impl Missed {
    /// `page`, which is empty only if nothing was missed, then all that `rest` brings.
    pub fn new(page: Vec<Arc<Publication>>, rest: Option<Box<dyn Pages>>) -> Self {
        Self {
            page: page.into(),
            rest,
        }
    }

    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.page.is_empty() && self.rest.is_none()
    }

    /// The next publication of the page that is [loaded](Self::load).
    pub fn try_next(&mut self) -> Option<Arc<Publication>> {
        self.page.pop_front()
    }

    /// Loads the next page if there is none and one follows. Cancel-safe.
    ///
    /// # Errors
    /// [`Lagged`] as [`Pages::next_page`] says.
    pub async fn load(&mut self) -> Result<(), Lagged> {
        while self.page.is_empty()
            && let Some(rest) = &mut self.rest
        {
            let page = rest.next_page().await?;
            self.page = page.publications.into();
            if !page.more {
                self.rest = None;
            }
        }
        Ok(())
    }

    /// The next publication, or `None` at the end. Cancel-safe.
    ///
    /// # Errors
    /// [`Lagged`] as [`Pages::next_page`] says.
    pub async fn next(&mut self) -> Result<Option<Arc<Publication>>, Lagged> {
        self.load().await?;
        Ok(self.try_next())
    }
}

impl From<Vec<Arc<Publication>>> for Missed {
    fn from(all: Vec<Arc<Publication>>) -> Self {
        Self::new(all, None)
    }
}
