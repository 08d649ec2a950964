//! Meters: requests and bytes, as this server counts them, by a name that the client gives.
//!
//! The pages show with them what each way to listen costs.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::Method;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use jiff::Timestamp;
use serde::Serialize;

use crate::http::{App, Kind, Problem};
use crate::sync::lock;

/// Meters kept at once; past it the one that was used the longest ago goes.
const MAX_METERS: usize = 1000;
/// Most names in one request for `/meters`.
const MAX_NAMES: usize = 100;
/// Longest name of a meter.
const MAX_NAME: usize = 64;

/// What one name has used.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    requests: AtomicU64,
    up: AtomicU64,
    down: AtomicU64,
}

impl Meter {
    pub(crate) fn add_request(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    /// Bytes from the client.
    pub(crate) fn add_up(&self, bytes: u64) {
        self.up.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Bytes to the client.
    pub(crate) fn add_down(&self, bytes: u64) {
        self.down.fetch_add(bytes, Ordering::Relaxed);
    }

    fn told(&self) -> Told {
        Told {
            requests: self.requests.load(Ordering::Relaxed),
            bytes_up: self.up.load(Ordering::Relaxed),
            bytes_down: self.down.load(Ordering::Relaxed),
        }
    }
}

/// What a meter says.
#[derive(Debug, Serialize)]
struct Told {
    requests: u64,
    bytes_up: u64,
    bytes_down: u64,
}

/// All meters, by name.
#[derive(Debug, Default)]
pub(crate) struct Meters(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    meters: HashMap<String, (u64, Arc<Meter>)>,
    /// Grows with each use.
    uses: u64,
}

impl Meters {
    /// The meter of that name, made if need be.
    pub(crate) fn get(&self, name: &str) -> Arc<Meter> {
        let mut table = lock(&self.0);
        table.uses += 1;
        let now = table.uses;
        if let Some((used, meter)) = table.meters.get_mut(name) {
            *used = now;
            return Arc::clone(meter);
        }
        if table.meters.len() >= MAX_METERS {
            let oldest = table.meters.iter().min_by_key(|(_, (used, _))| *used);
            if let Some(name) = oldest.map(|(name, _)| name.clone()) {
                table.meters.remove(&name);
            }
        }
        let meter = Arc::<Meter>::default();
        table
            .meters
            .insert(name.to_owned(), (now, Arc::clone(&meter)));
        meter
    }

    fn told(&self, name: &str) -> Told {
        let table = lock(&self.0);
        table
            .meters
            .get(name)
            .map_or_else(|| Meter::default().told(), |(_, meter)| meter.told())
    }
}

/// A meter's name is 1 to 64 characters from `A-Z a-z 0-9 _ -`.
pub(crate) fn check_name(name: &str) -> Result<(), Problem> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
    if (1..=MAX_NAME).contains(&name.len()) && name.bytes().all(allowed) {
        return Ok(());
    }
    Err(Problem::new(
        Kind::BadRequest,
        format!("a meter's name has 1 to {MAX_NAME} characters from A-Z a-z 0-9 _ -"),
    ))
}

#[derive(Serialize)]
struct Answer {
    /// The server's clock, so that a page can tell its own clock's offset.
    time: String,
    meters: BTreeMap<String, Told>,
}

/// `GET /meters?name=a&name=b`.
pub(crate) async fn answer(State(app): State<Arc<App>>, request: Request) -> Response {
    tell(&app, &request).unwrap_or_else(IntoResponse::into_response)
}

fn tell(app: &App, request: &Request) -> Result<Response, Problem> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return Err(Problem::method("GET, HEAD"));
    }
    let query = request.uri().query().unwrap_or_default();
    let mut told = BTreeMap::new();
    for (_, name) in form_urlencoded::parse(query.as_bytes()).filter(|(key, _)| key == "name") {
        check_name(&name)?;
        let meter = app.meters.told(&name);
        told.insert(name.into_owned(), meter);
        if told.len() > MAX_NAMES {
            return Err(Problem::new(
                Kind::BadRequest,
                format!("ask for at most {MAX_NAMES} meters at once"),
            ));
        }
    }
    let answer = Answer {
        time: format!("{:.3}", Timestamp::now()),
        meters: told,
    };
    // Texts and numbers: they always have a JSON form.
    let body = serde_json::to_string(&answer).unwrap_or_default();
    let mut response = (body + "\n").into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_one_used_the_longest_ago_goes_first() {
        let meters = Meters::default();
        for name in 0..MAX_METERS {
            meters.get(&name.to_string()).add_request();
        }
        meters.get("0");
        meters.get("one more");
        assert_eq!(meters.told("0").requests, 1);
        assert_eq!(meters.told("1").requests, 0);
        assert_eq!(meters.told("2").requests, 1);
    }

    #[test]
    fn names_are_checked() {
        assert!(check_name("lane-1_A").is_ok());
        for wrong in ["", "a b", "é", &"x".repeat(65)] {
            assert!(check_name(wrong).is_err(), "{wrong}");
        }
    }
}
