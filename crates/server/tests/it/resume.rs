//! Whatever happens between, and whatever way is used: who comes back with its last cursor gets
//! exactly what it missed, or is told of a gap.

use std::collections::{BTreeMap, HashMap};

use openline::{Client, WebSocket};
use proptest::prelude::*;
use serde_json::Value;

use crate::common::{Connection, Harness, json, request, soon};

/// Publications kept of a channel: few, so that gaps occur.
const HISTORY: usize = 3;

/// One thing that happens.
#[derive(Debug, Clone)]
enum Step {
    /// Publishes on a channel, with nobody listening.
    Publish(u8),
    /// Forgets a channel's history.
    Delete(u8),
    /// Listens from the last cursor on; meanwhile publishes on those channels; takes so many
    /// publications, at most those that there are; goes away without a word.
    Listen {
        way: Way,
        meanwhile: Vec<u8>,
        take: usize,
    },
    /// Forgets its cursor: what comes next is a start.
    Restart,
}

/// The ways that carry a cursor.
#[derive(Debug, Clone, Copy)]
enum Way {
    Sse,
    Ndjson,
    WebSocket,
    Poll { limit: usize },
    LongPoll { limit: usize },
}

fn way() -> impl Strategy<Value = Way> {
    prop_oneof![
        Just(Way::Sse),
        Just(Way::Ndjson),
        Just(Way::WebSocket),
        (1..5_usize).prop_map(|limit| Way::Poll { limit }),
        (1..5_usize).prop_map(|limit| Way::LongPoll { limit }),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let meanwhile = prop::collection::vec(0..4_u8, 0..4);
    prop_oneof![
        4 => (0..4_u8).prop_map(Step::Publish),
        1 => (0..4_u8).prop_map(Step::Delete),
        5 => (way(), meanwhile, 0..8_usize)
            .prop_map(|(way, meanwhile, take)| Step::Listen { way, meanwhile, take }),
        1 => Just(Step::Restart),
    ]
}

/// What the server should know: every publication ever, and what may have been dropped.
#[derive(Default)]
struct Model {
    /// All publications in order: channel, and body, which is its place here, counted from 1.
    log: Vec<u8>,
    /// Of each channel the places that are kept.
    kept: BTreeMap<u8, Vec<usize>>,
    /// Of each channel the last place dropped.
    floors: BTreeMap<u8, usize>,
}

impl Model {
    fn published(&mut self, channel: u8) {
        self.log.push(channel);
        let kept = self.kept.entry(channel).or_default();
        kept.push(self.log.len());
        if kept.len() > HISTORY {
            self.floors.insert(channel, kept.remove(0));
        }
    }

    fn deleted(&mut self, channel: u8) {
        if let Some(&last) = self.kept.entry(channel).or_default().last() {
            self.floors.insert(channel, last);
            self.kept.remove(&channel);
        }
    }

    fn is_lost(&self, covers: fn(u8) -> bool, settled: usize) -> bool {
        self.floors
            .iter()
            .any(|(&channel, &floor)| covers(channel) && settled < floor)
    }

    /// All that came after a place, whether it is still kept or not.
    fn after(&self, covers: fn(u8) -> bool, place: usize) -> Vec<usize> {
        (place + 1..=self.log.len())
            .filter(|&at| covers(self.log[at - 1]))
            .collect()
    }

    fn latest(&self, covers: fn(u8) -> bool) -> Vec<usize> {
        let channels = self.kept.iter().filter(|(channel, _)| covers(**channel));
        let mut latest: Vec<usize> = channels
            .filter_map(|(_, kept)| kept.last().copied())
            .collect();
        latest.sort_unstable();
        latest
    }
}

/// Where the listener stands: the server's word for it, and what that means.
#[derive(Debug, Clone)]
struct Place {
    cursor: String,
    at: usize,
    /// Up to here nothing counts as lost: the end of the log when a snapshot was begun of which
    /// only a page was taken.
    settled: usize,
}

struct Listener {
    server: Harness,
    path: &'static str,
    covers: fn(u8) -> bool,
    model: Model,
    place: Option<Place>,
    /// Each publication's place by its cursor.
    places: HashMap<String, usize>,
}

impl Listener {
    async fn publish(&mut self, channel: u8) {
        self.model.published(channel);
        let body = self.model.log.len().to_string();
        let cursor = self.server.publish(&format!("c/{channel}"), &body).await;
        self.places.insert(cursor, self.model.log.len());
    }

    async fn delete(&mut self, channel: u8) {
        self.model.deleted(channel);
        self.server
            .request("DELETE", &format!("/channels/c/{channel}"), &[], b"")
            .await;
    }

    /// What must be told to one who comes now: whether it recovers, and which publications.
    fn wanted(&self) -> (bool, Vec<usize>) {
        match &self.place {
            None => (true, self.model.latest(self.covers)),
            Some(place) if self.model.is_lost(self.covers, place.settled) => {
                (false, self.model.latest(self.covers))
            }
            Some(place) => {
                let mut wanted = self.model.after(self.covers, place.at);
                if place.settled > place.at {
                    // The rest of a snapshot: of what was there then, the latest of each channel.
                    wanted.retain(|&at| at > place.settled || self.was_latest(at, place.settled));
                }
                (true, wanted)
            }
        }
    }

    fn was_latest(&self, at: usize, end: usize) -> bool {
        let channel = self.model.log[at - 1];
        let kept = self.model.kept.get(&channel);
        kept.is_some_and(|kept| kept.contains(&at)) && !self.model.log[at..end].contains(&channel)
    }

    fn since(&self) -> &str {
        self.place.as_ref().map_or("", |place| &place.cursor)
    }

    /// Streams: where it stands, what was missed, what comes.
    async fn stream(&mut self, way: Way, meanwhile: &[u8], take: usize) {
        let (recovered, mut wanted) = self.wanted();
        let mut line = Line::open(&self.server, way, self.path, self.since()).await;
        let (cursor, said) = line.standing().await;
        assert_eq!(said, recovered);
        let at = match &self.place {
            Some(place) if recovered => {
                assert_eq!(cursor, place.cursor, "it stands where it was asked to");
                place.at
            }
            _ => wanted
                .first()
                .map_or(self.model.log.len(), |first| first - 1),
        };
        let settled = match &self.place {
            Some(place) if recovered => place.settled,
            _ => at,
        };
        let mut place = Place {
            cursor,
            at,
            settled,
        };
        for &channel in meanwhile {
            self.publish(channel).await;
            if (self.covers)(channel) {
                wanted.push(self.model.log.len());
            }
        }
        for wanted in wanted.into_iter().take(take) {
            let (cursor, body) = line.publication().await;
            assert_eq!(body, wanted.to_string());
            assert_eq!(self.places[&cursor], wanted);
            place = Place {
                cursor,
                at: wanted,
                settled: wanted,
            };
        }
        self.place = Some(place);
    }

    /// One page; a long poll that finds nothing gets what comes meanwhile.
    async fn poll(&mut self, limit: usize, meanwhile: &[u8], hold: bool) {
        let (recovered, mut wanted) = self.wanted();
        let path = format!("{}?since={}&limit={limit}", self.path, self.since());
        let comes = meanwhile
            .iter()
            .copied()
            .find(|&channel| (self.covers)(channel));
        // Without anything to come the wait would only be waited out.
        let held = hold && recovered && wanted.is_empty() && comes.is_some();
        let headers = if held {
            &[("Prefer", "wait=60")][..]
        } else {
            &[]
        };
        let mut connection = self.server.connect().await;
        connection.send(&request("GET", &path, headers, b"")).await;
        let mut settled = match &self.place {
            Some(place) if recovered => place.settled,
            _ => self.model.log.len(),
        };
        if let Some(channel) = comes.filter(|_| held) {
            self.publish(channel).await;
            wanted.push(self.model.log.len());
            settled = 0;
        }
        let page = json(&connection.response("GET").await.body);
        for &channel in meanwhile.iter().filter(|_| !held) {
            self.publish(channel).await;
        }
        assert_eq!(page["recovered"], recovered);
        let got: Vec<(String, String)> = page["publications"]
            .as_array()
            .unwrap()
            .iter()
            .map(read)
            .collect();
        let cut = wanted.len() > limit;
        wanted.truncate(limit);
        let bodies: Vec<String> = wanted.iter().map(usize::to_string).collect();
        assert!(
            got.iter().map(|(_, body)| body).eq(&bodies),
            "{got:?} is not {bodies:?}"
        );
        let cursor = page["cursor"].as_str().unwrap().to_owned();
        let at = match wanted.last() {
            Some(&last) if cut => last,
            _ if held => self.model.log.len(),
            _ => self.model.log.len() - meanwhile.len(),
        };
        let settled = if cut { settled.max(at) } else { at };
        self.place = Some(Place {
            cursor,
            at,
            settled,
        });
    }

    async fn run(&mut self, step: &Step) {
        match step {
            Step::Publish(channel) => self.publish(*channel).await,
            Step::Delete(channel) => self.delete(*channel).await,
            Step::Restart => self.place = None,
            Step::Listen {
                way: Way::Poll { limit },
                meanwhile,
                ..
            } => {
                self.poll(*limit, meanwhile, false).await;
            }
            Step::Listen {
                way: Way::LongPoll { limit },
                meanwhile,
                ..
            } => {
                self.poll(*limit, meanwhile, true).await;
            }
            Step::Listen {
                way,
                meanwhile,
                take,
            } => self.stream(*way, meanwhile, *take).await,
        }
    }
}

/// A stream by one of three ways.
enum Line {
    Events(Connection),
    Lines(Connection),
    Socket(Box<WebSocket>),
}

impl Line {
    async fn open(server: &Harness, way: Way, path: &str, since: &str) -> Self {
        let url = match since {
            "" => path.to_owned(),
            since => format!("{path}?since={since}"),
        };
        match way {
            Way::Sse => {
                // As EventSource does: the URL stays, the id is new.
                let headers = [("Accept", "text/event-stream"), ("Last-Event-ID", since)];
                Self::Events(server.stream(path, &headers).await)
            }
            Way::WebSocket => {
                let url = format!("ws://{}{url}", server.address);
                let client = Client::new(&url).unwrap().subprotocol("openline.v1");
                Self::Socket(Box::new(soon(client.connect()).await.unwrap().0))
            }
            _ => {
                let headers = [("Accept", "application/x-ndjson")];
                Self::Lines(server.stream(&url, &headers).await)
            }
        }
    }

    async fn standing(&mut self) -> (String, bool) {
        let object = match self {
            Self::Events(events) => json(events.event().await.unwrap().data.as_bytes()),
            _ => self.object().await,
        };
        let cursor = object["cursor"].as_str().unwrap().to_owned();
        (cursor, object["recovered"].as_bool().unwrap())
    }

    /// The next publication's cursor and body.
    async fn publication(&mut self) -> (String, String) {
        match self {
            Self::Events(events) => {
                let event = events.event().await.unwrap();
                let body = match event.data.as_bytes() {
                    data @ [b'{', ..] => read(&json(data)).1,
                    _ => event.data,
                };
                (event.id, body)
            }
            _ => read(&self.object().await),
        }
    }

    async fn object(&mut self) -> Value {
        match self {
            Self::Events(_) => unreachable!("events are not objects"),
            Self::Lines(lines) => lines.object().await.unwrap(),
            Self::Socket(socket) => {
                let message = soon(socket.next()).await.unwrap().unwrap();
                json(message.as_text().unwrap().as_bytes())
            }
        }
    }
}

/// An envelope's cursor and body.
fn read(envelope: &Value) -> (String, String) {
    let text = |name: &str| envelope[name].as_str().unwrap().to_owned();
    (text("cursor"), text("data"))
}

fn check(path: &'static str, covers: fn(u8) -> bool, steps: &[Step]) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let server = Harness::with(|config| config.history.count = HISTORY).await;
        let (model, places) = (Model::default(), HashMap::new());
        let mut listener = Listener {
            server,
            path,
            covers,
            model,
            place: None,
            places,
        };
        for step in steps {
            listener.run(step).await;
        }
    });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn of_one_channel_nothing_is_lost_in_silence(steps in prop::collection::vec(step(), 1..24)) {
        check("/channels/c/0", |channel| channel == 0, &steps);
    }

    #[test]
    fn of_a_pattern_nothing_is_lost_in_silence(steps in prop::collection::vec(step(), 1..24)) {
        check("/channels/c/*", |_| true, &steps);
    }
}
