//! TCP sockets with a poller of their own, one for each runtime: thousands of them may be idle, and what tokio keeps of each
//! one that it watches is a quarter of what an idle connection would take.
//!
//! A poller is an epoll instance that tokio watches as one descriptor. A task of the runtime takes the events out of it and
//! wakes who waits. Reads and writes go to the socket itself.

use std::future::pending;
use std::io::{self, IoSlice, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsRawFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Events, Interest, Registry, Token};
use tokio::io::ReadBuf;
use tokio::io::unix::AsyncFd;
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::task::coop::poll_proceed;

use crate::runtimes::PerRuntime;
use crate::slots::Slots;
use crate::stream::{Duplex, Transport};

static POLLERS: PerRuntime<Poller> = PerRuntime::new();

/// Events that are taken at one time; then those whom they woke have their turn.
const EVENTS: usize = 256;

/// Takes a socket over from tokio. Where that can't be, it stays as it is.
pub(crate) fn take_over(stream: tokio::net::TcpStream) -> Result<Arc<Transport>, Box<dyn Duplex>> {
    let poller = POLLERS.get(Poller::start);
    let Some(poller) = poller.filter(|poller| !poller.over.load(Ordering::Acquire)) else {
        return Err(Box::new(stream));
    };
    // Until it is known, nobody is told of anything: what tells of the end comes only once.
    let mut sockets = poller.lock();
    let number = sockets.insert(Weak::new());
    // Watched by both for a moment, so that there is a way back.
    if poller.watch(&stream, number).is_err() {
        sockets.remove(number);
        return Err(Box::new(stream));
    }
    let Ok(stream) = stream.into_std() else {
        // It is closed now.
        sockets.remove(number);
        return Err(Box::new(tokio::io::empty()));
    };
    let transport = Arc::new(Transport::Tcp(Socket {
        stream,
        number,
        // Nobody has looked yet.
        readable: AtomicBool::new(true),
        ended: AtomicBool::new(false),
        writable: AtomicBool::new(false),
        waiting: Mutex::default(),
        poller: Arc::clone(&poller),
    }));
    sockets.set(number, Arc::downgrade(&transport));
    drop(sockets);
    Ok(transport)
}

/// Does what counts for a task's share of the runtime, if that is not used up.
#[inline]
fn within_budget<T>(cx: &mut Context<'_>, act: impl FnOnce(&Waker) -> Poll<T>) -> Poll<T> {
    let budget = ready!(poll_proceed(cx));
    let polled = act(cx.waker());
    if polled.is_ready() {
        budget.made_progress();
    }
    polled
}

pub(crate) struct Socket {
    stream: TcpStream,
    number: u32,
    /// A read may find something.
    readable: AtomicBool,
    /// The peer's end was announced, and will not be again: it lies behind what is there to read.
    ended: AtomicBool,
    /// A write may find room, though the last one did not.
    writable: AtomicBool,
    waiting: Mutex<Waiting>,
    poller: Arc<Poller>,
}

/// The tasks that asked last.
#[derive(Default)]
struct Waiting {
    reader: Option<Waker>,
    // Rare, and idle sockets are to be small.
    writer: Option<Box<Waker>>,
}

impl Socket {
    /// Ready if a read may find something; if not, who asks is the reader that waits.
    pub(crate) fn poll_readable(&self, waker: &Waker) -> Poll<()> {
        let readable = || self.readable.load(Ordering::Acquire);
        if readable() {
            return Poll::Ready(());
        }
        self.set_reader(waker);
        match readable() || self.poller.over.load(Ordering::Acquire) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    }

    pub(crate) fn poll_read(
        &self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        within_budget(cx, |waker| self.read(waker, buf))
    }

    fn read(&self, waker: &Waker, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            // Taken before the read: what comes after it is announced anew.
            if !self.readable.swap(false, Ordering::AcqRel) {
                self.set_reader(waker);
                if !self.readable.swap(false, Ordering::AcqRel) {
                    return self.poller.poll_over();
                }
            }
            let space = buf.initialize_unfilled();
            let length = space.len();
            match (&self.stream).read(space) {
                Ok(count) => {
                    buf.advance(count);
                    // Less than there was room for is all there was, and more will be announced.
                    if count == length || count == 0 || self.ended.load(Ordering::Acquire) {
                        self.readable.store(true, Ordering::Release);
                    }
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => {
                    self.readable.store(true, Ordering::Release);
                    if error.kind() != io::ErrorKind::Interrupted {
                        return Poll::Ready(Err(error));
                    }
                }
            }
        }
    }

    pub(crate) fn set_reader(&self, waker: &Waker) {
        self.lock()
            .reader
            .get_or_insert_with(|| waker.clone())
            .clone_from(waker);
    }

    pub(crate) fn reader(&self) -> Option<Waker> {
        self.lock().reader.clone()
    }

    pub(crate) fn wake_reader(&self) {
        let reader = self.lock().reader.take();
        if let Some(reader) = reader {
            reader.wake();
        }
    }

    pub(crate) fn poll_write(&self, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let write = |mut stream: &TcpStream| stream.write(buf);
        within_budget(cx, |waker| self.write(waker, write))
    }

    pub(crate) fn poll_write_vectored(
        &self,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let write = |mut stream: &TcpStream| stream.write_vectored(bufs);
        within_budget(cx, |waker| self.write(waker, write))
    }

    pub(crate) fn poll_flush(&self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    pub(crate) fn poll_shutdown(&self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.stream.shutdown(Shutdown::Write))
    }

    fn write(
        &self,
        waker: &Waker,
        write: impl Fn(&TcpStream) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            match write(&self.stream) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                written => return Poll::Ready(written),
            }
            self.lock().writer = Some(Box::new(waker.clone()));
            if !self.writable.swap(false, Ordering::AcqRel) {
                return self.poller.poll_over();
            }
        }
    }

    /// What is to be told is told before those who wait are taken: who begins to wait meanwhile looks once more.
    fn handle(&self, event: Seen) {
        if event.ended {
            self.ended.store(true, Ordering::Release);
        }
        if event.readable {
            self.readable.store(true, Ordering::Release);
        }
        if event.writable {
            self.writable.store(true, Ordering::Release);
        }
        let mut waiting = self.lock();
        let reader = waiting.reader.take_if(|_| event.readable);
        let writer = waiting.writer.take_if(|_| event.writable);
        drop(waiting);
        if let Some(reader) = reader {
            reader.wake();
        }
        if let Some(writer) = writer {
            writer.wake();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Socket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.stream.fmt(f)
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.poller.forget(&self.stream);
        self.poller.lock().remove(self.number);
    }
}

/// What was told of a socket.
#[derive(Clone, Copy)]
struct Seen {
    readable: bool,
    ended: bool,
    writable: bool,
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

/// All sockets of a runtime.
struct Poller {
    registry: Registry,
    sockets: Mutex<Sockets>,
    /// The runtime has ended, or has no I/O driver, and nobody is told anything.
    over: AtomicBool,
}

/// One that has left may still be told of once, and then another may have its number: an event is a hint.
type Sockets = Slots<Weak<Transport>>;

impl Poller {
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

    fn watch(&self, stream: &impl AsRawFd, number: u32) -> io::Result<()> {
        self.registry.register(
            &mut SourceFd(&stream.as_raw_fd()),
            Token(number as usize),
            Interest::READABLE | Interest::WRITABLE,
        )
    }

    fn forget(&self, stream: &impl AsRawFd) {
        // It fails only if it is not watched.
        let _ = self.registry.deregister(&mut SourceFd(&stream.as_raw_fd()));
    }

    /// Pending, as long as somebody will wake who waits.
    fn poll_over<T>(&self) -> Poll<io::Result<T>> {
        match self.over.load(Ordering::Acquire) {
            false => Poll::Pending,
            true => Poll::Ready(Err(io::Error::other("the connection's runtime has ended"))),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Sockets> {
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
}

impl Watch {
    /// Most likely it is the one that spoke alone in the turns before. It can answer while it is asked who is meant, which is a
    /// system call; that comes all the same, and costs it a read that finds nothing.
    fn foresee(&mut self) -> bool {
        let Some(number) = self.lone.number().filter(|_| self.foresees) else {
            return false;
        };
        let sockets = self.poller.lock();
        let transport = sockets.iter().nth(number).and_then(Weak::upgrade);
        drop(sockets);
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
            if ready!(this.poll.poll_read_ready(cx)).is_err() {
                return Poll::Ready(());
            }
            this.foresaw = !this.foresaw && this.foresee();
            if this.foresaw {
                // Behind the one that was told.
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            let Ok(mut ready) = ready!(this.poll.poll_read_ready_mut(cx)) else {
                return Poll::Ready(());
            };
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
                let place = sockets.iter().nth(event.token().0);
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
