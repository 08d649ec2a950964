//! The keys that a client masks with.

use std::collections::HashSet;

use openline::{Config, WebSocket};
use tokio::io::AsyncReadExt;

use crate::opened;

/// The keys of so many frames.
async fn keys(mut ws: WebSocket, mut there: tokio::io::DuplexStream, count: usize) -> Vec<u32> {
    let mut keys = Vec::new();
    for _ in 0..count {
        ws.send("x").await.unwrap();
        let mut frame = [0; 7];
        there.read_exact(&mut frame).await.unwrap();
        assert_eq!(frame[..2], [0x81, 0x81]);
        keys.push(u32::from_be_bytes(frame[2..6].try_into().unwrap()));
    }
    keys
}

/// What can be seen of randomness from outside: no key comes twice but by chance, each bit is set as often as not, and what
/// came before tells nothing of what comes next. That they come from a strong generator, seeded by the operating system, is
/// said where it is chosen.
#[tokio::test]
async fn attack_25_masks_are_different_and_evenly_spread_client() {
    const COUNT: usize = 2000;
    let (one, there) = opened(false, Config::default()).await;
    let mut all = keys(one, there, COUNT).await;
    let (other, there) = opened(false, Config::default()).await;
    all.extend(keys(other, there, COUNT).await);
    let different: HashSet<u32> = all.iter().copied().collect();
    // Two in 2^32 are alike by chance one time in 500.
    assert!(
        different.len() >= all.len() - 2,
        "{} different",
        different.len()
    );
    let changes: Vec<u32> = all.windows(2).map(|pair| pair[0] ^ pair[1]).collect();
    let steps: Vec<u32> = all
        .windows(2)
        .map(|pair| pair[1].wrapping_sub(pair[0]))
        .collect();
    for words in [&all, &changes, &steps] {
        for bit in 0..32 {
            let set = words.iter().filter(|word| *word >> bit & 1 == 1).count();
            // Half of 4,000, and more than ten times what chance strays by.
            assert!((1600..2400).contains(&set), "bit {bit} is set {set} times");
        }
    }
}

/// A server's frames have none, so there is none to foresee.
#[tokio::test]
async fn attack_25_a_server_masks_nothing_server() {
    let (mut ws, mut there) = opened(true, Config::default()).await;
    ws.send("hello").await.unwrap();
    let mut frame = [0; 7];
    there.read_exact(&mut frame).await.unwrap();
    assert_eq!(&frame, b"\x81\x05hello");
}
