//! From a host's name to a TCP stream: all its addresses are tried, staggered, and the first that answers wins
//! (Happy Eyeballs, RFC 8305).

use std::collections::VecDeque;
use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use tokio::net::{TcpStream, lookup_host};
use tokio::time::{Instant, sleep_until, timeout_at};
use url::Host;

/// How long an attempt has for itself before the next begins (RFC 8305 §5 recommends 250 ms).
const STAGGER: Duration = Duration::from_millis(250);

/// Why no TCP connection came about.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The name could not be looked up.
    #[error("the host's name can't be resolved")]
    Resolve(#[source] io::Error),
    /// The name has no address.
    #[error("the host's name has no address")]
    NoAddress,
    /// All addresses that were tried failed, or had not answered at the deadline
    /// ([`Client::connect_timeout`](crate::Client::connect_timeout)).
    #[error("{}", list(.0))]
    Attempts(Vec<Attempt>),
}

/// An address that was tried, and what came of it.
#[derive(Debug)]
pub struct Attempt {
    /// The address.
    pub address: SocketAddr,
    /// What the system said; [`io::ErrorKind::TimedOut`] if nothing until the deadline.
    pub error: io::Error,
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.address, self.error)
    }
}

fn list(attempts: &[Attempt]) -> String {
    let attempts: Vec<String> = attempts.iter().map(Attempt::to_string).collect();
    attempts.join("; ")
}

/// Connects by TCP.
pub(crate) async fn dial(
    host: Host<&str>,
    port: u16,
    deadline: Instant,
) -> Result<TcpStream, ConnectError> {
    let addresses = match host {
        Host::Ipv4(ip) => vec![SocketAddr::from((ip, port))],
        Host::Ipv6(ip) => vec![SocketAddr::from((ip, port))],
        Host::Domain(name) => match timeout_at(deadline, lookup_host((name, port))).await {
            Ok(found) => found.map_err(ConnectError::Resolve)?.collect(),
            Err(_) => return Err(ConnectError::Resolve(late())),
        },
    };
    race(addresses, deadline, TcpStream::connect).await
}

fn late() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "no answer before the deadline")
}

async fn race<T, F: Future<Output = io::Result<T>>>(
    addresses: Vec<SocketAddr>,
    deadline: Instant,
    connect: impl Fn(SocketAddr) -> F,
) -> Result<T, ConnectError> {
    if addresses.is_empty() {
        return Err(ConnectError::NoAddress);
    }
    let mut waiting = interleave(addresses);
    let mut running: Vec<(SocketAddr, Pin<Box<F>>)> = Vec::new();
    let mut failed = Vec::new();
    let mut next_start = Instant::now();
    loop {
        let now = Instant::now();
        if now >= next_start
            && let Some(address) = waiting.pop_front()
        {
            running.push((address, Box::pin(connect(address))));
            next_start = now + STAGGER;
        }
        if running.is_empty() {
            return Err(ConnectError::Attempts(failed));
        }
        tokio::select! {
            biased;
            (address, outcome) = first(&mut running) => match outcome {
                Ok(stream) => return Ok(stream),
                Err(error) => {
                    failed.push(Attempt { address, error });
                    next_start = Instant::now(); // whoever failed holds nobody up
                }
            },
            () = sleep_until(next_start), if !waiting.is_empty() => {}
            () = sleep_until(deadline) => {
                let silent = running.iter().map(|(address, _)| Attempt { address: *address, error: late() });
                failed.extend(silent);
                return Err(ConnectError::Attempts(failed));
            }
        }
    }
}

/// The first attempt that is over, which is then no longer running.
async fn first<T, F: Future<Output = T>>(
    running: &mut Vec<(SocketAddr, Pin<Box<F>>)>,
) -> (SocketAddr, T) {
    poll_fn(|cx| {
        for at in 0..running.len() {
            if let Poll::Ready(outcome) = running[at].1.as_mut().poll(cx) {
                return Poll::Ready((running.swap_remove(at).0, outcome));
            }
        }
        Poll::Pending
    })
    .await
}

/// IPv6 and IPv4 in turn, each in the system's order, beginning with the family that the system puts first (§4).
fn interleave(addresses: Vec<SocketAddr>) -> VecDeque<SocketAddr> {
    let first_is_v6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (mut ours, mut theirs): (VecDeque<_>, VecDeque<_>) = addresses
        .into_iter()
        .partition(|address| address.is_ipv6() == first_is_v6);
    let mut order = VecDeque::with_capacity(ours.len() + theirs.len());
    while !ours.is_empty() || !theirs.is_empty() {
        order.extend(ours.pop_front());
        order.extend(theirs.pop_front());
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;
    use tokio::time::sleep;

    fn v4(n: u8) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, n], 80))
    }

    fn v6(n: u16) -> SocketAddr {
        SocketAddr::from(([0xfd00, 0, 0, 0, 0, 0, 0, n], 80))
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(10)
    }

    #[test]
    fn families_take_turns() {
        assert_eq!(
            interleave(vec![v6(1), v6(2), v6(3), v4(1), v4(2)]),
            [v6(1), v4(1), v6(2), v4(2), v6(3)]
        );
        assert_eq!(interleave(vec![v4(1), v6(1), v4(2)]), [v4(1), v6(1), v4(2)]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_address_costs_a_quarter_of_a_second() {
        let began = Instant::now();
        let winner = race(vec![v6(1), v6(2), v4(1)], soon(), |address| async move {
            if address == v6(1) {
                sleep(Duration::from_secs(3600)).await;
            }
            Ok(address)
        });
        assert_eq!(winner.await.unwrap(), v4(1));
        assert_eq!(began.elapsed(), STAGGER);
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_first_address_may_still_win() {
        let began = Instant::now();
        let winner = race(vec![v6(1), v4(1)], soon(), |address| async move {
            let seconds = if address == v6(1) { 1 } else { 2 };
            sleep(Duration::from_secs(seconds)).await;
            Ok(address)
        });
        assert_eq!(winner.await.unwrap(), v6(1));
        assert_eq!(began.elapsed(), Duration::from_secs(1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_starts_the_next_at_once_and_all_are_told() {
        let started = Mutex::new(Vec::new());
        let began = Instant::now();
        let outcome: Result<(), _> = race(vec![v6(1), v6(2), v4(1)], soon(), |address| {
            started.lock().unwrap().push(began.elapsed());
            async move { Err(io::Error::other(format!("no {}", address.port()))) }
        })
        .await;
        assert_eq!(*started.lock().unwrap(), [Duration::ZERO; 3]);
        assert_eq!(
            outcome.unwrap_err().to_string(),
            "[fd00::1]:80: no 80; 10.0.0.1:80: no 80; [fd00::2]:80: no 80"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn the_deadline_ends_all_attempts() {
        let began = Instant::now();
        let outcome: Result<(), _> = race(vec![v6(1), v4(1)], soon(), |address| async move {
            if address == v4(1) {
                return Err(io::Error::other("refused"));
            }
            std::future::pending().await
        })
        .await;
        assert_eq!(began.elapsed(), Duration::from_secs(10));
        assert_eq!(
            outcome.unwrap_err().to_string(),
            "10.0.0.1:80: refused; [fd00::1]:80: no answer before the deadline"
        );
    }

    #[tokio::test]
    async fn a_name_without_address_is_told() {
        let outcome: Result<(), _> = race(Vec::new(), soon(), |_| async { Ok(()) }).await;
        assert!(matches!(outcome, Err(ConnectError::NoAddress)));
    }
}
