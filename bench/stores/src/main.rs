//! Measures stores as the push server's log would use them:
//!
//! ```console
//! $ cargo run --release --manifest-path bench/stores/Cargo.toml -- DIR [STORE...]
//! ```
//!
//! `DIR` lies on the disk to be measured; as root, a small file system in memory is mounted below
//! it for the test of a full one. Prints one Markdown table.

mod stores;

use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use stores::{Outcome, Store};

/// Bytes of a publication's body.
const BODY: usize = 125;
/// Channels, and the publications that each keeps: past it the oldest goes.
const CHANNELS: u64 = 100_000;
const KEPT: usize = 2;
/// How long each rate is measured.
const TIME: Duration = Duration::from_secs(4);
/// Publishers that wait for an answer each before they publish again.
const PUBLISHERS: [usize; 4] = [1, 8, 64, 512];
/// Size of the file system that gets full.
const SMALL: u64 = 160 << 20;

fn main() -> Outcome<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["--fill", store, dir] => fill(store, Path::new(dir)),
        ["--die", store, dir] => write_until_killed(store, Path::new(dir)),
        ["--start", store, dir] => start(store, Path::new(dir)),
        ["--full", store, dir] => full(store, Path::new(dir)),
        [dir, ref names @ ..] => {
            let names = if names.is_empty() {
                stores::NAMES
            } else {
                names
            };
            table(Path::new(dir), names)
        }
        [] => Err("say in which directory to measure".into()),
    }
}

/// Runs each phase in a process of its own, so that memory and start-up are those of that phase.
fn table(dir: &Path, names: &[&str]) -> Outcome<()> {
    for name in names {
        let dir = dir.join(name);
        let _ = std::fs::remove_dir_all(&dir);
        println!("## {name}");
        for phase in ["--fill", "--die", "--start"] {
            run(phase, name, &dir)?;
        }
        small_disk(name, &dir)?;
        let _ = std::fs::remove_dir_all(&dir);
    }
    Ok(())
}

fn run(phase: &str, name: &str, dir: &Path) -> Outcome<()> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args([phase, name]).arg(dir);
    if phase != "--die" {
        let status = command.status()?;
        if !status.success() {
            println!("{phase} ended with {status}");
        }
        return Ok(());
    }
    let mut child = command.stdout(Stdio::piped()).spawn()?;
    let mut acknowledged = String::new();
    let mut lines = BufReader::new(child.stdout.take().ok_or("no output")?).lines();
    let begun = Instant::now();
    while let Some(Ok(line)) = lines.next() {
        acknowledged = line;
        if begun.elapsed() > Duration::from_secs(3) {
            child.kill()?;
        }
    }
    child.wait()?;
    std::fs::write(dir.join("acknowledged"), acknowledged)?;
    Ok(())
}

/// What is to be written: publications on random channels, and what they push out.
struct Load {
    next: u64,
    random: u64,
    channels: Vec<VecDeque<u64>>,
}

impl Load {
    fn new() -> Self {
        Self {
            next: 1,
            random: 0x9e37_79b9_7f4a_7c15,
            channels: (0..CHANNELS).map(|_| VecDeque::new()).collect(),
        }
    }

    fn batch(&mut self, count: usize) -> (Vec<(u64, Vec<u8>)>, Vec<u64>) {
        let (mut inserts, mut deletes) = (Vec::with_capacity(count), Vec::new());
        for _ in 0..count {
            self.random ^= self.random << 13;
            self.random ^= self.random >> 7;
            self.random ^= self.random << 17;
            let channel = self.random % CHANNELS;
            let kept = &mut self.channels[channel as usize];
            kept.push_back(self.next);
            if kept.len() > KEPT {
                deletes.extend(kept.pop_front());
            }
            // Name, type, time and the like, then a body that does not compress.
            let mut record =
                format!("flights/{channel:06}|application/json|1790000000000|").into_bytes();
            let mut noise = self.random;
            record.extend((0..BODY).map(|_| {
                noise = noise
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                (noise >> 56) as u8
            }));
            inserts.push((self.next, record));
            self.next += 1;
        }
        (inserts, deletes)
    }
}

fn fill(name: &str, dir: &Path) -> Outcome<()> {
    let before = memory("VmRSS:")?;
    let mut store = stores::open(name, dir)?;
    let mut load = Load::new();
    let begun = Instant::now();
    for _ in 0..400 {
        let (inserts, deletes) = load.batch(1000);
        store.commit(&inserts, &deletes)?;
    }
    let books = 100_000 * 80 / 1024;
    println!(
        "filled with 400,000 in batches of 1,000: {:.1} s",
        begun.elapsed().as_secs_f64()
    );
    for publishers in PUBLISHERS {
        let (rate, slowest) = rate(&mut *store, &mut load, publishers)?;
        println!("{publishers} publishers: {rate:.0}/s, slowest {slowest:.0} ms");
    }
    let of_one: Vec<u64> = (0..100)
        .map(|n| load.channels[n * 7].back().copied().unwrap_or(1))
        .collect();
    let begun = Instant::now();
    for _ in 0..100 {
        for &offset in &of_one {
            std::hint::black_box(store.get(offset)?);
        }
    }
    println!(
        "read 100 scattered: {:.0} µs",
        begun.elapsed().as_secs_f64() * 1e4
    );
    println!(
        "memory: {} MiB now, {} MiB at most",
        memory("VmRSS:")?.saturating_sub(before + books) / 1024,
        memory("VmHWM:")?.saturating_sub(before + books) / 1024
    );
    let live: usize = load.channels.iter().map(VecDeque::len).sum();
    drop(store);
    println!("on disk: {} MiB for {live} kept", size(dir)? >> 20);
    Ok(())
}

/// A closed loop: each publisher waits for the answer to its last publication. The writer takes
/// all that wait at once, as the server's does.
fn rate(store: &mut dyn Store, load: &mut Load, publishers: usize) -> Outcome<(f64, f64)> {
    let (publish, waiting) = mpsc::channel::<mpsc::SyncSender<()>>();
    let threads: Vec<_> = (0..publishers)
        .map(|_| {
            let publish = publish.clone();
            std::thread::Builder::new()
                .stack_size(64 << 10)
                .spawn(move || {
                    let mut slowest = Duration::ZERO;
                    loop {
                        let begun = Instant::now();
                        let (done, answer) = mpsc::sync_channel(1);
                        if publish.send(done).is_err() || answer.recv().is_err() {
                            return slowest;
                        }
                        slowest = slowest.max(begun.elapsed());
                    }
                })
        })
        .collect::<Result<_, _>>()?;
    drop(publish);
    let begun = Instant::now();
    let mut count = 0;
    while begun.elapsed() < TIME {
        let mut batch = vec![waiting.recv()?];
        batch.extend(waiting.try_iter().take(1023));
        let (inserts, deletes) = load.batch(batch.len());
        store.commit(&inserts, &deletes)?;
        count += batch.len();
        for done in batch {
            let _ = done.send(());
        }
    }
    let rate = count as f64 / begun.elapsed().as_secs_f64();
    drop(waiting);
    let mut slowest = Duration::ZERO;
    for thread in threads {
        slowest = slowest.max(thread.join().map_err(|_| "a publisher panicked")?);
    }
    Ok((rate, slowest.as_secs_f64() * 1e3))
}

fn write_until_killed(name: &str, dir: &Path) -> Outcome<()> {
    let mut store = stores::open(name, dir)?;
    let mut load = Load::new();
    load.next = 1 << 40;
    loop {
        let (inserts, deletes) = load.batch(64);
        store.commit(&inserts, &deletes)?;
        println!("{} {}", load.next - 1, deletes.iter().max().unwrap_or(&0));
        std::io::stdout().flush()?;
    }
}

fn start(name: &str, dir: &Path) -> Outcome<()> {
    let acknowledged = std::fs::read_to_string(dir.join("acknowledged"))?;
    let acknowledged: u64 = acknowledged.split(' ').next().unwrap_or_default().parse()?;
    let begun = Instant::now();
    let mut store = stores::open(name, dir)?;
    let opened = begun.elapsed();
    let (mut count, mut last, mut bytes) = (0_u64, 0, 0);
    store.scan(&mut |offset, record| {
        count += 1;
        bytes += record.len();
        last = offset;
    })?;
    println!(
        "after a kill: opened in {} ms, {count} records read in {} ms, {}",
        opened.as_millis(),
        (begun.elapsed() - opened).as_millis(),
        if last >= acknowledged {
            "all acknowledged are there"
        } else {
            "ACKNOWLEDGED ONES ARE LOST"
        }
    );
    Ok(())
}

fn small_disk(name: &str, dir: &Path) -> Outcome<()> {
    let small: PathBuf = dir.join("small");
    std::fs::create_dir_all(&small)?;
    let size = format!("size={SMALL}");
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", &size, "tmpfs"])
        .arg(&small)
        .status()?;
    if !mounted.success() {
        println!("full disk: not measured, for only root may mount one");
        return Ok(());
    }
    let outcome = run("--full", name, &small);
    Command::new("umount").arg(&small).status()?;
    outcome
}

/// Fills the disk while it writes, then gives space back.
fn full(name: &str, dir: &Path) -> Outcome<()> {
    let ballast = dir.join("ballast");
    let mut store = stores::open(name, &dir.join("log"))?;
    let mut load = Load::new();
    for _ in 0..20 {
        let (inserts, deletes) = load.batch(500);
        store.commit(&inserts, &deletes)?;
    }
    // All but a little of the space.
    let mut file = std::fs::File::create(&ballast)?;
    let piece = vec![1; 1 << 16];
    while file.write_all(&piece).is_ok() {}
    file.set_len(file.metadata()?.len().saturating_sub(1 << 20))?;
    drop(file);
    let mut acknowledged = load.next - 1;
    let error = loop {
        let (inserts, deletes) = load.batch(500);
        match store.commit(&inserts, &deletes) {
            Ok(()) => acknowledged = load.next - 1,
            Err(error) => break error,
        }
        if load.next > 2_000_000 {
            break "none: it went on writing".into();
        }
    };
    println!("full disk: {error}");
    let read = |store: &mut dyn Store| match store.get(acknowledged) {
        Ok(Some(_)) => "the last acknowledged is read".to_owned(),
        Ok(None) => "THE LAST ACKNOWLEDGED IS NOT THERE".to_owned(),
        Err(error) => format!("CANNOT READ: {error}"),
    };
    println!("- while full: {}", read(&mut *store));
    std::fs::remove_file(&ballast)?;
    let (inserts, deletes) = load.batch(1);
    let again = store.commit(&inserts, &deletes);
    println!(
        "- with space again: {}",
        match again {
            Ok(()) => "it writes".to_owned(),
            Err(error) => format!("CANNOT WRITE: {error}"),
        }
    );
    drop(store);
    let mut store = stores::open(name, &dir.join("log"))?;
    println!("- opened again: {}", read(&mut *store));
    Ok(())
}

/// A line of `/proc/self/status`, in KiB.
fn memory(field: &str) -> Outcome<usize> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status
        .lines()
        .find(|line| line.starts_with(field))
        .ok_or("no such field")?;
    Ok(line.split_whitespace().nth(1).unwrap_or_default().parse()?)
}

fn size(dir: &Path) -> Outcome<u64> {
    let mut sum = 0;
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let data = entry.metadata()?;
        sum += if data.is_dir() {
            size(&entry.path())?
        } else {
            std::os::unix::fs::MetadataExt::blocks(&data) * 512
        };
    }
    Ok(sum)
}
