//! What is done when memory is short.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::http::App;
use crate::hub::Looks;

/// Looks again and again at what only the system knows: how much memory there is in use. While that is too much, listeners are
/// let go that are behind, the slowest first; nothing new is taken meanwhile.
pub(super) async fn watch(app: &App) {
    /// How old such knowledge may be: not so old that a flood gets far in it.
    const AGE: Duration = Duration::from_millis(200);
    /// As much time as what was let go may take to be given back, before more is.
    const PAUSE: Duration = Duration::from_secs(1);
    /// Looks after which a listener is behind that has not taken what there was: 2 s, and twice as long as one may be made to
    /// wait that is sent the newest at a rate.
    const BEHIND: usize = 10;
    let mut shed = Instant::now();
    let mut looks = Looks::default();
    loop {
        sleep(AGE).await;
        app.limits.memory.read();
        let behind = looks.look(app.hub.newest(), BEHIND);
        if let Some(behind) = behind
            && app.limits.growth(&app.now().config).is_err()
            && shed.elapsed() >= PAUSE
        {
            let listeners = app.hub.shed(behind);
            if listeners > 0 {
                tracing::warn!(
                    listeners,
                    "memory is short: the slowest listeners were let go"
                );
                shed = Instant::now();
            }
        }
    }
}
