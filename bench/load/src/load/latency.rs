//! One connection, one message at a time: how long an echo takes when there is nothing else to do.

use std::io;
use std::time::{Duration, Instant};

use super::{STALLED, quantile};
use crate::link::{Link, Target};
use crate::wire::{BINARY, client_frame, frame, payload};

/// Round trips of messages of one size on one connection.
#[derive(Debug)]
pub struct RoundTrips {
    link: Link,
    request: Vec<u8>,
    /// As long as an answer.
    buffer: Vec<u8>,
    times: Vec<Duration>,
}

impl RoundTrips {
    pub fn new(target: &Target, size: usize) -> io::Result<Self> {
        let payload = payload(size);
        let mut link = target.begin(0)?;
        link.finish(target)?;
        link.socket().set_nonblocking(false)?;
        link.socket().set_read_timeout(Some(STALLED))?;
        Ok(Self {
            link,
            request: client_frame(BINARY, &payload),
            buffer: vec![0; frame(BINARY, &payload, None).len()],
            times: Vec::new(),
        })
    }

    /// So many more. The first ones after a pause find cold caches, and do not count: a tenth of them before.
    pub fn turn(&mut self, count: usize) -> io::Result<()> {
        for _ in 0..count.div_ceil(10) {
            self.ask()?;
        }
        for _ in 0..count {
            let time = self.ask()?;
            self.times.push(time);
        }
        Ok(())
    }

    fn ask(&mut self) -> io::Result<Duration> {
        let sent = Instant::now();
        self.link.send(&self.request)?;
        let mut have = 0;
        while have < self.buffer.len() {
            have += self.link.read_some(&mut self.buffer)?;
        }
        Ok(sent.elapsed())
    }

    /// The times below which these shares of all are.
    pub fn quantiles<const N: usize>(&mut self, shares: [f64; N]) -> [Duration; N] {
        self.times.sort_unstable();
        shares.map(|share| quantile(&self.times, share))
    }
}
