//! What an attacker must not foresee, and must not measure.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use openline_proto::{CloseCode, Config, Connection, Deflate, Message};

use crate::pair::{Pair, start};

/// Keys by number, so that it is seen which frame took which.
fn next_key() -> [u8; 4] {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes()
}

/// A key that is used twice tells the next frame's bytes to whoever chose the first's (RFC 6455 §10.3).
#[test]
fn attack_25_each_frame_has_a_key_of_its_own_client() {
    let now = start();
    let mut client = Connection::client(Arc::new(Config::default()), next_key, now);
    for number in 0..100_u8 {
        client.send_binary(&[number; 10]).unwrap();
        client.ping(&[number]).unwrap();
        client.send(Message::from(vec![number; 10_000])).unwrap();
    }
    client.close(now, CloseCode::NORMAL, "").unwrap();
    let mut output = Vec::new();
    while client.queued() > 0 {
        let mut slices = [std::io::IoSlice::new(&[]); 8];
        let filled = client.poll_slices(&mut slices);
        let before = output.len();
        slices[..filled]
            .iter()
            .for_each(|slice| output.extend_from_slice(slice));
        client.written(output.len() - before);
    }
    let (mut keys, mut frames, mut rest) = (BTreeSet::new(), 0, &output[..]);
    while !rest.is_empty() {
        let (length, at) = match rest[1] & 0x7f {
            126 => (usize::from(u16::from_be_bytes([rest[2], rest[3]])), 4),
            short => (usize::from(short), 2),
        };
        keys.insert(rest[at..at + 4].to_vec());
        frames += 1;
        rest = &rest[at + 4 + length..];
    }
    assert_eq!((frames, keys.len()), (301, 301));
}

/// A message that holds a secret goes plain beside others that are compressed, and leaves no trace in their context.
#[test]
fn attack_28_a_message_may_be_kept_out_of_the_compressor() {
    let secret = "the session's token is 8f14e45fceea167a5a36dedd4bea2543";
    let guess = secret.repeat(4);
    for alone in [false, true] {
        let deflate = Deflate::default()
            .server_no_context_takeover(alone)
            .client_no_context_takeover(alone);
        let config = Config::default().deflate(Some(deflate));
        // How long the guess is on the wire, behind the secret and without it.
        let sizes = [true, false].map(|behind| {
            let mut pair = Pair::new(config.clone(), config.clone());
            [&mut pair.server, &mut pair.client].map(|end| {
                if behind {
                    let message = Message::from(secret);
                    end.connection.send_uncompressed(message).unwrap();
                    let sent = end.take_output();
                    assert_eq!(sent[0], 0x81, "it is not compressed");
                }
                end.connection.send_text(&guess).unwrap();
                let sent = end.take_output();
                assert_eq!(sent[0], 0xc1);
                sent.len()
            })
        });
        assert_eq!(
            sizes[0], sizes[1],
            "the length tells whether the guess is right"
        );
    }
}
