//! Who may do what.

mod expiry;
mod rights;
mod tokens;

use std::path::PathBuf;
use std::time::Duration;

use openline::{Client, WebSocket};
use openline_server::{ApiKey, Config, Namespace, NewKey};
use serde_json::{Value, json};

use crate::common::{Harness, Issuer, Response, encode, seconds_from_now, soon};

const LISTEN: (&str, &str) = ("Accept", "text/event-stream");

fn filters(texts: &[&str]) -> Vec<openline_server::Filter> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

/// Adds a key of that name; the field that bears it.
fn with_key(config: &mut Config, name: &str, change: impl FnOnce(&mut ApiKey)) -> String {
    let new = NewKey::random();
    let mut key = ApiKey {
        hash: Some(new.hash),
        ..ApiKey::default()
    };
    change(&mut key);
    config.keys.insert(name.to_owned(), key);
    format!("Bearer {}", new.key)
}

fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

/// A server that knows this issuer.
async fn trusting(issuer: &Issuer) -> Harness {
    Harness::with(|config| {
        config.token.secret = Some(issuer.shared());
        config.token.leeway = Duration::from_millis(1);
    })
    .await
}

/// What a client with that token gets of a channel.
async fn get(server: &Harness, path: &str, token: &str) -> Response {
    server.get(path, &[("Authorization", &bearer(token))]).await
}

fn file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/it/data")
        .join(name)
}

fn scratch(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name)
}

fn status(refused: Result<(WebSocket, http::Response<()>), openline::Error>) -> u16 {
    match refused {
        Err(openline::Error::Handshake { response, .. }) => response.status().as_u16(),
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("it opened"),
    }
}
