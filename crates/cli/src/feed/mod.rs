//! One real day of flights, replayed as publications.
//!
//! [`table`] reads the embedded records, [`timeline`] derives [`event`]s from them, [`payload`] writes them as JSON,
//! [`replay`] is the schedule without a clock, and [`driver`] keeps it on one.

mod driver;
mod event;
mod payload;
mod replay;
mod table;
mod timeline;

pub(crate) use driver::{FeedError, run};
pub(crate) use replay::Replay;
pub(crate) use timeline::{DataError, Day};
