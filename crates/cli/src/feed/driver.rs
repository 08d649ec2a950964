//! The replay on a clock: publishes each step when its time has come.

use openline_server::{PublishError, Publisher};
use tokio::time::{Instant, sleep_until};

use super::payload;
use super::replay::Replay;

/// Why the replay stopped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum FeedError {
    /// The server did not take a publication.
    #[error("cannot publish on {channel}")]
    Publish {
        /// The flight's channel.
        channel: String,
        /// The server's reason.
        source: PublishError,
    },
    /// An event could not be written as JSON.
    #[error("cannot write an event as JSON")]
    Payload(#[from] serde_json::Error),
}

/// Publishes the replay through `publisher`, by the same path as everyone else's publications: day after day, until
/// that fails.
///
/// Each step is timed from the one before it as it was due, not as it was done, so that the pace holds however long
/// publishing takes.
pub(crate) async fn run(replay: Replay, publisher: Publisher) -> Result<(), FeedError> {
    let day = replay.day();
    let mut due = Instant::now();
    for step in replay {
        due += step.wait;
        sleep_until(due).await;
        for event in &day.events[step.events] {
            let flight = &day.flights[event.flight];
            let channel = payload::channel(flight);
            let body = payload::body(flight, event, step.run)?;
            let published = publisher.publish(&channel, "application/json", body).await;
            published.map_err(|source| FeedError::Publish { channel, source })?;
        }
    }
    Ok(())
}
