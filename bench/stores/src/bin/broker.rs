//! Measures the push server's own log on disk, through its broker:
//!
//! ```console
//! $ cargo run --release --manifest-path bench/stores/Cargo.toml --bin broker -- DIR
//! ```
//!
//! `DIR` lies on the disk to be measured.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use openline_server::{AppendOptions, Broker, Channel, Content, DiskBroker, HistoryLimits, Hub, Since};
use tokio::task::JoinSet;

type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

const CHANNELS: u64 = 100_000;
const TIME: Duration = Duration::from_secs(4);

fn limits() -> HistoryLimits {
    HistoryLimits {
        count: 2,
        total_bytes: Some(1 << 30),
        ..HistoryLimits::default()
    }
}

#[tokio::main]
async fn main() -> Outcome<()> {
    let dir = std::env::args()
        .nth(1)
        .ok_or("say in which directory to measure")?;
    let dir = Path::new(&dir).join("broker");
    let _ = std::fs::remove_dir_all(&dir);
    let before = resident()?;
    let broker: Arc<dyn Broker> =
        Arc::new(DiskBroker::open(&dir, limits(), 1000, Hub::new(1 << 20))?);

    let begun = Instant::now();
    publish(&broker, 512, 2 * CHANNELS, Duration::MAX).await?;
    println!(
        "filled {CHANNELS} channels with 2 each: {:.1} s",
        begun.elapsed().as_secs_f64()
    );
    println!(
        "memory: {} MiB for {:?}",
        (resident()? - before) / 1024,
        broker.stats()
    );
    for publishers in [1, 8, 64, 512] {
        let (count, slowest) = publish(&broker, publishers, u64::MAX, TIME).await?;
        let rate = count as f64 / TIME.as_secs_f64();
        println!(
            "{publishers} publishers: {rate:.0}/s, slowest {} ms",
            slowest.as_millis()
        );
    }
    broker.close().await?;
    drop(broker);

    let begun = Instant::now();
    let broker: Arc<dyn Broker> =
        Arc::new(DiskBroker::open(&dir, limits(), 1000, Hub::new(1 << 20))?);
    println!("opened again: {} ms", begun.elapsed().as_millis());
    let begun = Instant::now();
    for number in 0..1000 {
        let latest = broker.latest(&channel(number * 97)?).await?;
        latest.ok_or("a publication is missing")?;
    }
    println!(
        "a latest from the disk: {} µs",
        begun.elapsed().as_micros() / 1000
    );
    let begun = Instant::now();
    let page = broker
        .read(&"flights/**".parse()?, Since::Start, 1000)
        .await?;
    println!(
        "a page of {} from the disk: {} ms",
        page.publications.len(),
        begun.elapsed().as_millis()
    );
    broker.close().await?;
    std::fs::remove_dir_all(&dir)?;
    Ok(())
}

fn channel(number: u64) -> Outcome<Channel> {
    Ok(format!("flights/{:06}", number % CHANNELS).parse()?)
}

/// Publishers that wait for an answer each before they publish again.
async fn publish(
    broker: &Arc<dyn Broker>,
    publishers: usize,
    limit: u64,
    time: Duration,
) -> Outcome<(u64, Duration)> {
    let next = Arc::new(AtomicU64::new(0));
    let begun = Instant::now();
    let mut tasks = JoinSet::new();
    for _ in 0..publishers {
        let (broker, next) = (Arc::clone(broker), Arc::clone(&next));
        tasks.spawn(async move {
            let mut slowest = Duration::ZERO;
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= limit || begun.elapsed() >= time {
                    return Ok::<_, Box<dyn std::error::Error + Send + Sync>>(slowest);
                }
                // Spread over all, each as often as the others.
                let channel = channel(number.wrapping_mul(48_271))?;
                let body = format!("{{\"number\":{number},\"text\":\"{:x<100}\"}}", "");
                let content = Content::new("application/json", body.into())?;
                let sent = Instant::now();
                broker.append(channel, content, AppendOptions::default()).await?;
                slowest = slowest.max(sent.elapsed());
            }
        });
    }
    let mut slowest = Duration::ZERO;
    while let Some(ended) = tasks.join_next().await {
        slowest = slowest.max(ended??);
    }
    Ok((next.load(Ordering::Relaxed).min(limit), slowest))
}

/// Memory in use, in KiB.
fn resident() -> Outcome<usize> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .ok_or("no such field")?;
    Ok(line.split_whitespace().nth(1).unwrap_or_default().parse()?)
}
