//! What is known of one connection by all who serve it.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use crate::limits::{Origin, Place};
use crate::meter::Meter;
use crate::sync::lock;
use crate::takeover::Takeover;
use crate::work::Working;

/// One client's connection, from its first byte to its last, HTTP and WebSocket.
#[derive(Debug)]
pub(crate) struct Line {
    /// Requests whose answer is not sent whole: 0 or 1, but for pipelining.
    requests: AtomicUsize,
    tally: Mutex<Tally>,
    /// Whether all that was written has left.
    flushed: AtomicBool,
    /// What may go on without hyper.
    pub(crate) takeover: Takeover,
    /// Until it is known what it asks, it may be something of the log.
    working: Mutex<Option<Working>>,
    /// Where it comes from.
    pub(crate) origin: Origin,
    /// The connection's place among all, given back when nobody knows the connection any more.
    pub(crate) place: Place,
}

/// Whose the bytes are.
#[derive(Debug, Default)]
struct Tally {
    /// The meter of the request that is being answered, if it named one.
    meter: Option<Arc<Meter>>,
    /// Bytes received since the last were sent: a request's, which is not known to be whose before
    /// its head is read.
    unclaimed: u64,
}

impl Line {
    pub(crate) fn new(origin: Origin, place: Place, working: Option<Working>) -> Self {
        Self {
            requests: AtomicUsize::new(0),
            tally: Mutex::default(),
            flushed: AtomicBool::new(true),
            takeover: Takeover::default(),
            working: Mutex::new(working),
            origin,
            place,
        }
    }

    /// A request has come; it is being answered until the guard is dropped.
    pub(crate) fn request(self: &Arc<Self>) -> Answering {
        self.tally().meter = None;
        self.place.has_asked();
        self.hold()
    }

    /// The connection is busy until the guard is dropped.
    pub(crate) fn hold(self: &Arc<Self>) -> Answering {
        self.requests.fetch_add(1, Ordering::Relaxed);
        Answering(Arc::clone(self))
    }

    /// Whether a request is being answered.
    pub(crate) fn is_answering(&self) -> bool {
        self.requests.load(Ordering::Relaxed) > 0
    }

    /// Only its requests hold the log from now on.
    pub(crate) fn needs_no_log(&self) {
        let mut working = lock(&self.working);
        *working = None;
    }

    /// Counts the request that is being answered, and all its bytes, to `meter`.
    pub(crate) fn meter(&self, meter: Arc<Meter>) {
        meter.add_request();
        self.tally().meter = Some(meter);
    }

    /// The meter that is counted to, for one who takes the counting over.
    pub(crate) fn take_meter(&self) -> Option<Arc<Meter>> {
        self.tally().meter.take()
    }

    /// Bytes that came.
    pub(crate) fn received(&self, bytes: usize) {
        self.tally().unclaimed += bytes as u64;
    }

    /// Bytes that went: the answer to what came before them.
    pub(crate) fn sent(&self, bytes: usize) {
        let mut tally = self.tally();
        let up = std::mem::take(&mut tally.unclaimed);
        if let Some(meter) = &tally.meter {
            meter.add_up(up);
            meter.add_down(bytes as u64);
        }
    }

    /// Whether nothing of what was written is still here.
    pub(crate) fn is_flushed(&self) -> bool {
        self.flushed.load(Ordering::Relaxed)
    }

    /// Notes that something is written, or that all of it has left.
    pub(crate) fn set_flushed(&self, flushed: bool) {
        self.flushed.store(flushed, Ordering::Relaxed);
    }

    fn tally(&self) -> MutexGuard<'_, Tally> {
        lock(&self.tally)
    }
}

/// One request that is being answered.
#[derive(Debug)]
pub(crate) struct Answering(Arc<Line>);

impl Answering {
    /// The connection.
    pub(crate) fn line(&self) -> &Arc<Line> {
        &self.0
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.requests.fetch_sub(1, Ordering::Relaxed);
    }
}
