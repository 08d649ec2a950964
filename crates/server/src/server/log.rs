//! The log of a server: opened before it listens, closed before its listeners are gone.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::BindError;
use crate::broker::{Broker, DiskBroker, MemoryBroker, OpenError, Retention};
use crate::config::Config;
use crate::http::App;
use crate::hub::Hub;

/// The log that `config` asks for, with `hub` for those who follow it.
pub(super) async fn open(config: &Config, hub: Hub) -> Result<Arc<dyn Broker>, BindError> {
    let keys = config.max_idempotency_keys;
    /// How often it is looked whether another server has let go of the log.
    const LOOK: Duration = Duration::from_millis(20);

    let retention = Retention::of(config);
    match config.data_dir.clone().filter(|_| !config.memory) {
        None => Ok(Arc::new(MemoryBroker::new(retention, keys, hub))),
        Some(dir) => {
            let deadline = Instant::now() + config.data_dir_wait;
            let mut waits = false;
            loop {
                let (dir, retention, hub) = (dir.clone(), retention.clone(), hub.clone());
                let open = move || DiskBroker::open(&dir, retention, keys, hub);
                let opened = tokio::task::spawn_blocking(open).await;
                match opened.map_err(|_| BindError::Stopped)? {
                    Err(OpenError::InUse { dir }) if Instant::now() < deadline => {
                        if !waits {
                            let (dir, wait) = (dir.display(), config.data_dir_wait);
                            tracing::warn!(
                                "{dir} is in use: waiting up to {wait:?} for the other server to let go of it"
                            );
                        }
                        waits = true;
                        sleep(LOOK).await;
                    }
                    opened => return Ok(Arc::new(opened?)),
                }
            }
        }
    }
}

/// Closes the log once nothing needs it that is under way: another server may wait for it.
pub(super) async fn let_go(app: Arc<App>) {
    app.work.finish().await;
    match app.broker.close().await {
        Ok(()) => tracing::info!("the log is closed"),
        Err(error) => tracing::error!(%error, "the log was not closed as it should be"),
    }
}
