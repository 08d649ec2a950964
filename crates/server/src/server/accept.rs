//! Connections: taken one after the other, or told that there is no room.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};

use super::BindError;
use crate::config::Config;
use crate::connection::Connections;
use crate::http::App;
use crate::limits::{self, Origin, Refusal};

/// Connections past the bound that are told so at the same time; any more are just closed.
const MAX_REFUSALS: usize = 64;
/// How long such a one may take to hear it.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(2);

/// Takes an address. Each server has its own for itself: no SO_REUSEPORT, which would let two of them
/// share it in silence.
pub(super) async fn listen(
    key: &'static str,
    address: SocketAddr,
) -> Result<TcpListener, BindError> {
    TcpListener::bind(address)
        .await
        .map_err(|source| match source.kind() {
            io::ErrorKind::AddrInUse => BindError::InUse { key, address },
            _ => BindError::listen(key, address)(source),
        })
}

/// Accepts connections, for ever.
pub(super) async fn accept(listener: &TcpListener, app: &Arc<App>, connections: &Connections) {
    /// The longest pause after an accept that failed.
    const MAX_PAUSE: Duration = Duration::from_secs(1);
    const FIRST_PAUSE: Duration = Duration::from_millis(10);

    let refusals = Arc::new(Semaphore::new(MAX_REFUSALS));
    let mut pause = FIRST_PAUSE;
    let mut probing = Probing::of(&app.now().config);
    probing.set(listener);
    loop {
        match listener.accept().await {
            Ok((tcp, peer)) => {
                pause = FIRST_PAUSE;
                // Small messages are to leave at once; that this fails only costs time.
                let _ = tcp.set_nodelay(true);
                let now = app.now();
                let wanted = Probing::of(&now.config);
                if wanted != probing {
                    probing = wanted;
                    probing.set(listener);
                }
                let origin = Origin::of(peer, &now.config.proxies);
                match app.limits.enter(&now.config, &origin) {
                    Ok(place) => connections.serve(tcp, origin, place),
                    Err(reason) => {
                        app.limits.refused(reason);
                        // Nothing can be told before TLS is spoken, and that is not for nothing.
                        let plain = now.tls.is_none() && !now.config.proxies.protocol;
                        if plain && let Ok(place) = Arc::clone(&refusals).try_acquire_owned() {
                            app.tasks.spawn(refuse(tcp, reason, place));
                        }
                    }
                }
            }
            Err(error) if is_of_one_connection(&error) => {}
            // Out of descriptors, for one: connections that end will give some back.
            Err(error) => {
                tracing::warn!(%error, ?pause, "cannot accept connections");
                sleep(pause).await;
                pause = (pause * 2).min(MAX_PAUSE);
            }
        }
    }
}

/// How the system finds out that a client is gone without a word, of which the server would hear nothing: a listener says
/// nothing, and what it is sent is taken by the system for a quarter of an hour more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Probing {
    /// How long it may be silent before it is asked whether it is there.
    silence: Duration,
    /// How long it may confirm nothing of what it was sent or asked.
    patience: Duration,
}

impl Probing {
    fn of(config: &Config) -> Self {
        /// The most that systems can count, in seconds of silence and in milliseconds of patience.
        const MAX_SILENCE: Duration = Duration::from_secs(i16::MAX as u64);
        const MAX_PATIENCE: Duration = Duration::from_millis(i32::MAX as u64);
        Self {
            silence: config.heartbeat.clamp(Duration::from_secs(1), MAX_SILENCE),
            patience: config.write_timeout.min(MAX_PATIENCE),
        }
    }

    /// Sets it on all connections that are accepted from now on: they have it from the listener, so that it costs each nothing.
    fn set(self, listener: &TcpListener) {
        if let Err(error) = self.try_set(listener) {
            tracing::warn!(%error, "cannot have the system probe for clients that are gone without a word");
        }
    }

    fn try_set(self, listener: &TcpListener) -> io::Result<()> {
        /// Questions without an answer, where there is nothing better to go by.
        const RETRIES: u32 = 4;
        let interval = (self.patience / RETRIES).clamp(Duration::from_secs(1), self.silence);
        let keepalive = TcpKeepalive::new()
            .with_time(self.silence)
            .with_interval(interval)
            .with_retries(RETRIES);
        let socket = SockRef::from(listener);
        socket.set_tcp_keepalive(&keepalive)?;
        #[cfg(target_os = "linux")]
        socket.set_tcp_user_timeout(Some(self.patience))?;
        Ok(())
    }
}

/// Errors of a connection that was gone before it was accepted.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted
    )
}

/// Tells a connection past the bounds to come back later, before anything is spent on it.
async fn refuse(mut tcp: TcpStream, reason: Refusal, _place: OwnedSemaphorePermit) {
    let told = json!({
        "type": "/problems/busy",
        "title": "Busy",
        "status": 503,
        "detail": reason.told(),
    });
    let body = format!("{told}\n");
    let answer = format!(
        "HTTP/1.1 503 Service Unavailable\r\n\
         content-type: application/problem+json\r\n\
         content-length: {}\r\n\
         cache-control: no-cache\r\n\
         retry-after: {}\r\n\
         connection: close\r\n\
         \r\n\
         {body}",
        body.len(),
        limits::retry_after(reason).as_secs(),
    );
    let told = async {
        tcp.write_all(answer.as_bytes()).await?;
        tcp.shutdown().await?;
        // Closed with bytes of the client's unread, TCP would take the answer back.
        let mut scrap = [0; 1024];
        while tcp.read(&mut scrap).await? > 0 {}
        Ok::<_, io::Error>(())
    };
    if let Ok(Err(error)) = timeout(REFUSAL_TIMEOUT, told).await {
        tracing::debug!(%error, "could not tell a connection that it was refused");
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_connection_is_probed_as_its_listener_says() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut config = Config::default();
        for (heartbeat, write, silence, patience) in [
            (25, 60, 25, 60_000),
            // What a system can't count is brought within what it can.
            (
                365 * 24 * 60 * 60,
                365 * 24 * 60 * 60,
                32_767,
                i32::MAX as u64,
            ),
        ] {
            config.heartbeat = Duration::from_secs(heartbeat);
            config.write_timeout = Duration::from_secs(write);
            Probing::of(&config).try_set(&listener).unwrap();
            let _client = TcpStream::connect(listener.local_addr().unwrap())
                .await
                .unwrap();
            let (accepted, _) = listener.accept().await.unwrap();
            let socket = SockRef::from(&accepted);
            assert!(socket.keepalive().unwrap());
            let told = (
                socket.tcp_keepalive_time().unwrap(),
                socket.tcp_user_timeout().unwrap(),
            );
            let silence = Duration::from_secs(silence);
            assert_eq!(told, (silence, Some(Duration::from_millis(patience))));
        }
    }
}
