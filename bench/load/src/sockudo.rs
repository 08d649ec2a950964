//! Sockudo speaks Pusher's protocol: how it is set up, listened to and published to.

use std::time::{SystemTime, UNIX_EPOCH};

use md5::{Digest as _, Md5};
use openline_bench::link::{Greeting, Target};
use openline_bench::wire::{TEXT, client_frame};
use ring::hmac;

/// One app; no limit that the bench would meet, and no metrics, whose port might be taken.
pub const SETTINGS: [(&str, &str); 9] = [
    ("HOST", "127.0.0.1"),
    ("METRICS_ENABLED", "false"),
    ("RATE_LIMITER_ENABLED", "false"),
    ("RUST_LOG", "error"),
    ("SOCKUDO_DEFAULT_APP_ID", "bench"),
    ("SOCKUDO_DEFAULT_APP_KEY", "bench"),
    ("SOCKUDO_DEFAULT_APP_SECRET", "bench"),
    ("SOCKUDO_DEFAULT_APP_MAX_CONNECTIONS", "1000000"),
    (
        "SOCKUDO_DEFAULT_APP_MAX_BACKEND_EVENTS_PER_SECOND",
        "1000000000",
    ),
];

pub fn target(port: u16) -> Target {
    let subscribe = br#"{"event":"pusher:subscribe","data":{"channel":"bench"}}"#;
    Target {
        greeting: vec![
            Greeting {
                say: Vec::new(),
                hear: b"pusher:connection_established",
            },
            Greeting {
                say: client_frame(TEXT, subscribe),
                hear: b"subscription_succeeded",
            },
        ],
        ..Target::websocket(port, "/app/bench?protocol=7&client=bench&version=1")
    }
}

/// A publication, signed now: it is good for ten minutes.
pub fn publication(port: u16, text: &str) -> Vec<u8> {
    const PATH: &str = "/apps/bench/events";
    let body = format!(r#"{{"name":"message","channel":"bench","data":"{text}"}}"#);
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let query = format!(
        "auth_key=bench&auth_timestamp={}&auth_version=1.0&body_md5={}",
        now.unwrap_or_default().as_secs(),
        hex(&Md5::digest(&body))
    );
    let key = hmac::Key::new(hmac::HMAC_SHA256, b"bench");
    let signature = hmac::sign(&key, format!("POST\n{PATH}\n{query}").as_bytes());
    format!(
        "POST {PATH}?{query}&auth_signature={} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        hex(signature.as_ref()),
        body.len()
    )
    .into_bytes()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
