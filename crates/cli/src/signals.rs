//! The graceful end: the first SIGINT or SIGTERM asks for it, the second ends the process at once.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::error::{EXIT_FAILURE, Error};
use crate::output::talk;

/// Signals that come within this time of the first are the same wish: `timeout` and many supervisors signal a process,
/// then its group, which it is in.
const ONE_WISH: Duration = Duration::from_millis(500);

/// Tells when the user or the system wants the process to end.
#[derive(Clone, Debug)]
pub(crate) struct Shutdown(watch::Receiver<bool>);

impl Shutdown {
    /// Takes over the signals of the process. To be called within the runtime.
    ///
    /// # Errors
    /// [`Error::Signals`] when the system refuses.
    pub(crate) fn on_signals() -> Result<Self, Error> {
        let mut signals = Signals::new().map_err(Error::Signals)?;
        let (sender, receiver) = watch::channel(false);
        tokio::spawn(async move {
            signals.recv().await;
            let first = Instant::now();
            let _ = sender.send(true);
            signals.recv().await;
            while first.elapsed() < ONE_WISH {
                signals.recv().await;
            }
            talk("ended at once by a second signal");
            std::process::exit(EXIT_FAILURE.into());
        });
        Ok(Self(receiver))
    }

    /// Waits until the end is asked for.
    pub(crate) async fn requested(mut self) {
        // The sender lives as long as the process: its task never returns.
        let _ = self.0.wait_for(|asked| *asked).await;
    }

    /// Whether the end was asked for.
    pub(crate) fn is_requested(&self) -> bool {
        *self.0.borrow()
    }
}

/// The wish to read the configuration again: SIGHUP. Where there is no such signal it never comes.
#[derive(Debug)]
pub(crate) struct Hangups {
    #[cfg(unix)]
    signal: tokio::signal::unix::Signal,
}

impl Hangups {
    /// Takes over the signal, which would end the process.
    ///
    /// # Errors
    /// [`Error::Signals`] when the system refuses.
    pub(crate) fn new() -> Result<Self, Error> {
        Ok(Self {
            #[cfg(unix)]
            signal: tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup())
                .map_err(Error::Signals)?,
        })
    }

    /// Waits for the next one.
    pub(crate) async fn next(&mut self) {
        #[cfg(unix)]
        if self.signal.recv().await.is_some() {
            return;
        }
        std::future::pending::<()>().await;
    }
}

#[cfg(unix)]
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
    /// Sent where a file would pass a limit on its size. Unless somebody takes it, it ends the process; then the write
    /// just fails, and is told as a full disk is.
    _file_size: Option<tokio::signal::unix::Signal>,
}

#[cfg(unix)]
impl Signals {
    fn new() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        /// SIGXFSZ by its number on every system but Linux on MIPS.
        const FILE_SIZE: i32 = 25;
        let is_known = cfg!(not(any(target_arch = "mips", target_arch = "mips64")));
        let file_size = is_known.then(|| signal(SignalKind::from_raw(FILE_SIZE)));
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            _file_size: file_size.transpose()?,
        })
    }

    async fn recv(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

#[cfg(windows)]
struct Signals {
    interrupt: tokio::signal::windows::CtrlC,
}

#[cfg(windows)]
impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: tokio::signal::windows::ctrl_c()?,
        })
    }

    async fn recv(&mut self) {
        self.interrupt.recv().await;
    }
}
