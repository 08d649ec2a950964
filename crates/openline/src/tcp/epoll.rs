//! TCP sockets with a poller of their own, one for each runtime: thousands of them may be idle, and what tokio keeps of each
//! one that it watches is a quarter of what an idle connection would take.
//!
//! A poller is an epoll instance that tokio watches as one descriptor. A task of the runtime takes the events out of it and
//! wakes who waits. Reads and writes go to the socket itself.

mod poller;

use std::io::{self, IoSlice, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker, ready};

use tokio::io::ReadBuf;
use tokio::task::coop::poll_proceed;

use self::poller::{Poller, Seen};
use crate::stream::{Duplex, Transport};

/// Takes a socket over from tokio. Where that can't be, it stays as it is.
pub(crate) fn take_over(stream: tokio::net::TcpStream) -> Result<Arc<Transport>, Box<dyn Duplex>> {
    let poller = Poller::of_this_runtime();
    let Some(poller) = poller.filter(|poller| !poller.is_over()) else {
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
        match readable() || self.poller.is_over() {
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
