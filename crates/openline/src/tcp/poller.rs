//! The poller of a runtime, and the task that takes events out of it.

use std::future::pending;
use std::io;
use std::os::fd::AsRawFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Events, Interest, Registry, Token};
use tokio::io::unix::AsyncFd;
use tokio::runtime::{Handle, RuntimeFlavor};

use crate::runtimes::PerRuntime;
use crate::slots::Slots;
use crate::stream::Transport;

static POLLERS: PerRuntime<Poller> = PerRuntime::new();

/// Events that are taken at one time; then those whom they woke have their turn.
const EVENTS: usize = 256;

/// All sockets of a runtime.
pub(super) struct Poller {
    registry: Registry,
    sockets: Mutex<Sockets>,
    over: AtomicBool,
}

/// One that has left may still be told of once, and then another may have its number: an event is a hint.
pub(super) type Sockets = Slots<Weak<Transport>>;

impl Poller {
    /// The poller of the runtime that runs here; `None` outside of one.
    pub(super) fn of_this_runtime() -> Option<Arc<Self>> {
        POLLERS.get(Self::start)
    }

    fn start(runtime: &Handle) -> Option<Arc<Self>> {
        let poll = mio::Poll::new().ok()?;
        let poller = Arc::new(Self {
            registry: poll.registry().try_clone().ok()?,
            sockets: Mutex::default(),
            over: AtomicBool::new(false),
        });
        // A runtime without an I/O driver may have been given a stream of another one. tokio tells that by a panic only, so
        // it is asked once: a poller that is over stands for it as long as the runtime is there.
        let Ok(watched) = catch_unwind(AssertUnwindSafe(|| watch(poll))) else {
            poller.over.store(true, Ordering::Release);
            let kept = Arc::clone(&poller);
            runtime.spawn(async move {
                let _kept = kept;
                pending::<()>().await;
            });
            return Some(poller);
        };
        let poll = watched.ok()?;
        runtime.spawn(Watch {
            poll,
            events: Events::with_capacity(EVENTS),
            found: Vec::new(),
            poller: Arc::clone(&poller),
            lone: Lone::default(),
            // Elsewhere, who is woken and who wakes would have a thread each.
            foresees: runtime.runtime_flavor() == RuntimeFlavor::CurrentThread,
            foresaw: false,
        });
        Some(poller)
    }

    pub(super) fn watch(&self, stream: &impl AsRawFd, number: u32) -> io::Result<()> {
        self.registry.register(
            &mut SourceFd(&stream.as_raw_fd()),
            Token(number as usize),
            Interest::READABLE | Interest::WRITABLE,
        )
    }

    pub(super) fn forget(&self, stream: &impl AsRawFd) {
        // It fails only if it is not watched.
        let _ = self.registry.deregister(&mut SourceFd(&stream.as_raw_fd()));
    }

    /// The runtime has ended, or has no I/O driver, and nobody is told anything.
    pub(super) fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }

    /// Pending, as long as somebody will wake who waits.
    pub(super) fn poll_over<T>(&self) -> Poll<io::Result<T>> {
        match self.is_over() {
            false => Poll::Pending,
            true => Poll::Ready(Err(io::Error::other("the connection's runtime has ended"))),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Sockets> {
        self.sockets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn watch(poll: mio::Poll) -> io::Result<AsyncFd<mio::Poll>> {
    #[allow(
        deprecated,
        reason = "what came instead is unsafe to call; this poll owns the descriptor that it tells"
    )]
    AsyncFd::with_interest(poll, tokio::io::Interest::READABLE)
}

/// Takes the events and wakes who waits for them, until the runtime ends.
struct Watch {
    poll: AsyncFd<mio::Poll>,
    events: Events,
    found: Vec<(Arc<Transport>, Seen)>,
    poller: Arc<Poller>,
    lone: Lone,
    /// Whether one that speaks alone is told before it is asked who is meant.
    foresees: bool,
    /// It was told so in this turn.
    foresaw: bool,
}

/// The socket that the last turns were about, if they were about one.
#[derive(Default)]
struct Lone {
    number: usize,
    turns: u32,
}

impl Lone {
    /// So many turns about one and the same are no accident.
    const SURE: u32 = 16;

    fn turn(&mut self, events: &Events) {
        let mut events = events.iter().map(|event| event.token().0);
        let Some(number) = events.next() else { return };
        if events.next().is_some() {
            self.turns = 0;
        } else if self.number == number {
            self.turns = self.turns.saturating_add(1);
        } else {
            *self = Self { number, turns: 1 };
        }
    }

    const fn number(&self) -> Option<usize> {
        match self.turns {
            ..Self::SURE => None,
            _ => Some(self.number),
        }
    }

    /// Most likely it speaks again. It can answer while it is asked who is meant, which is a system call; that comes all the same, and
    /// costs it a read that finds nothing. Tells whether there is such a one.
    fn tell(&self, poller: &Poller) -> bool {
        let number = self.number();
        let transport = number.and_then(|number| poller.lock().get(number)?.upgrade());
        let Some(transport) = transport else {
            return false;
        };
        let seen = Seen {
            readable: true,
            ended: false,
            writable: false,
        };
        handle(&transport, seen);
        true
    }
}

impl Future for Watch {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        loop {
            let Ok(mut ready) = ready!(this.poll.poll_read_ready_mut(cx)) else {
                return Poll::Ready(());
            };
            this.foresaw = this.foresees && !this.foresaw && this.lone.tell(&this.poller);
            if this.foresaw {
                // Behind the one that was told.
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            let polled = ready
                .get_inner_mut()
                .poll(&mut this.events, Some(Duration::ZERO));
            match polled {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    tracing::error!(%error, "sockets can't be watched any more");
                    return Poll::Ready(());
                }
            }
            this.lone.turn(&this.events);
            let mut count = 0;
            let sockets = this.poller.lock();
            for event in &this.events {
                count += 1;
                let place = sockets.get(event.token().0);
                if let Some(transport) = place.and_then(Weak::upgrade) {
                    this.found.push((transport, event.into()));
                }
            }
            drop(sockets);
            if count < EVENTS {
                ready.clear_ready();
            }
            for (transport, seen) in this.found.drain(..) {
                handle(&transport, seen);
            }
            if count == EVENTS {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
        }
    }
}

impl Drop for Watch {
    /// Who waits now would wait forever.
    fn drop(&mut self) {
        self.poller.over.store(true, Ordering::Release);
        let sockets: Vec<_> = self
            .poller
            .lock()
            .iter()
            .filter_map(Weak::upgrade)
            .collect();
        let all = Seen {
            readable: true,
            ended: true,
            writable: true,
        };
        for transport in sockets {
            handle(&transport, all);
        }
    }
}

/// What was told of a socket.
#[derive(Clone, Copy)]
pub(super) struct Seen {
    pub(super) readable: bool,
    pub(super) ended: bool,
    pub(super) writable: bool,
}

impl From<&mio::event::Event> for Seen {
    fn from(event: &mio::event::Event) -> Self {
        let ended = event.is_read_closed() || event.is_error();
        Self {
            readable: event.is_readable() || ended,
            ended,
            writable: event.is_writable() || event.is_write_closed() || event.is_error(),
        }
    }
}

fn handle(transport: &Transport, seen: Seen) {
    if let Transport::Tcp(socket) = transport {
        socket.handle(seen);
    }
}
