//! One connection, one message at a time: how long an echo takes when there is nothing else to do.

use std::io;
use std::time::{Duration, Instant};

use super::quantile;
use crate::link::Target;
use crate::wire::{BINARY, client_frame, frame, payload};

/// The 50th and 99th percentile of `count` round trips of `size` bytes.
pub fn latency(target: &Target, size: usize, count: usize) -> io::Result<(Duration, Duration)> {
    let payload = payload(size);
    let request = client_frame(BINARY, &payload);
    let answer = frame(BINARY, &payload, None).len();
    let mut link = target.begin(0)?;
    link.finish(target)?;
    link.socket().set_nonblocking(false)?;
    let mut buffer = vec![0; answer];
    let mut times = Vec::with_capacity(count);
    for number in 0..count + count / 10 {
        let sent = Instant::now();
        link.send(&request)?;
        let mut have = 0;
        while have < answer {
            have += link.read_some(&mut buffer)?;
        }
        // A tenth of them first, to warm up.
        if number >= count / 10 {
            times.push(sent.elapsed());
        }
    }
    times.sort_unstable();
    Ok((quantile(&times, 0.5), quantile(&times, 0.99)))
}
