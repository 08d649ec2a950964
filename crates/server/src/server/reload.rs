//! What changes while a server runs.

use std::net::SocketAddr;
use std::sync::Arc;

use super::BindError;
use crate::auth::Auth;
use crate::config::Config;
use crate::http::{App, Current, Guard};
use crate::tls;
use crate::transport::ws;

/// Changes what a running server goes by.
#[derive(Debug, Clone)]
pub struct Reload {
    pub(super) app: Arc<App>,
    pub(super) address: SocketAddr,
    /// What the server was started with.
    pub(super) asked: Arc<Config>,
}

impl Reload {
    /// Puts `config` into force for all requests to come; connections stay, and so do rights that
    /// were granted before. Returns the keys of what differs and needs a new start, which stays as it
    /// was.
    ///
    /// Reads files, and drops what is over the new bounds of the history: it is not for a thread that
    /// others wait for.
    ///
    /// # Errors
    /// What is wrong with `config`; nothing has changed then.
    pub fn apply(&self, config: Config) -> Result<Vec<String>, BindError> {
        config.check()?;
        let before = self.app.now();
        let fixed = self.asked.needs_restart(&config);
        let new = Config {
            listen: before.config.listen,
            data_dir: before.config.data_dir.clone(),
            memory: before.config.memory,
            pages: before.config.pages,
            max_connections: before.config.max_connections,
            max_bodies: before.config.max_bodies,
            ..config
        };
        let limit = new.max_publication;
        self.app.change(current(new, self.address, Some(&before))?);
        self.app.publisher.set_limit(limit);
        Ok(fixed)
    }
}

/// What answers go by under `config`.
pub(super) fn current(
    config: Config,
    address: SocketAddr,
    before: Option<&Current>,
) -> Result<Current, BindError> {
    Ok(Current {
        guard: Guard::new(address.ip(), &config.allow_hosts, &config.allow_origins)?,
        auth: Auth::new(&config, before.map(|before| &before.auth))?,
        tls: tls::server(&config.tls)?,
        websocket: ws::config(&config),
        config,
    })
}
