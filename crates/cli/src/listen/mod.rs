//! `openline listen`: one loop over every transport that comes back by itself and prints nothing twice.

mod backoff;
mod item;
mod poll;
mod sse;
mod stream;
mod ws;

use std::collections::HashMap;
use std::num::NonZeroU64;
use std::time::Duration;

use openline_server::Filter;

use crate::args::{Listen, Via};
use crate::credential::Credential;
use crate::error::Error;
use crate::http::Http;
use crate::output::{Output, talk};
use crate::server_url::Server;
use crate::signals::Shutdown;

pub(crate) use backoff::Backoff;
pub(crate) use item::one_line;
pub(crate) use sse::SseError;
pub(crate) use ws::may_pass;

use item::Item;
use poll::Poll;
use stream::Stream;
use ws::Ws;

/// The longest item that a transport may carry. A publication of 262,144 bytes is at most six times as long in JSON.
const MAX_ITEM_BYTES: usize = 2 * 1024 * 1024;

/// How long a connection may be silent: two heartbeats of the server (25 s) and some slack.
const SILENCE: Duration = Duration::from_secs(60);

/// How long the server has to answer a request that it need not hold.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long `--via poll` waits between two questions, unless told otherwise.
const INTERVAL: Duration = Duration::from_secs(2);

/// Channels whose last cursor is remembered at once, at most about 300 bytes each.
const MOST_CHANNELS: usize = 65_536;

/// Listens until `--count` is reached, the end is asked for, or it makes no sense to come back.
pub(crate) async fn run(args: Listen) -> Result<(), Error> {
    let channel: Filter = args.channel.parse().map_err(|source| Error::Channel {
        name: args.channel,
        source,
    })?;
    if args.interval.is_some() && args.via != Via::Poll {
        return Err(Error::IntervalWithoutPoll);
    }
    let way = Way {
        http: Http::new(
            Server::parse(&args.target.server)?,
            Credential::new(args.target.token_file),
        )?,
        channel,
        via: args.via,
        interval: args.interval.unwrap_or(INTERVAL),
    };
    let mut listener = Listener {
        way,
        transport: None,
        was_connected: false,
        cursor: args.since.filter(|cursor| !cursor.is_empty()),
        printed: Printed::default(),
        left: args.count,
        output: Output::new(),
    };
    let shutdown = Shutdown::on_signals()?;
    let outcome = tokio::select! {
        outcome = listener.run() => outcome,
        () = shutdown.requested() => Ok(()),
    };
    if let Some(transport) = listener.transport {
        transport.close().await;
    }
    outcome
}

/// What to listen to, and how.
struct Way {
    http: Http,
    channel: Filter,
    via: Via,
    interval: Duration,
}

/// A connection, or for polling what stands for one.
enum Transport {
    Ws(Box<Ws>),
    Stream(Box<Stream>),
    Poll(Box<Poll>),
}

/// What a transport tells.
#[derive(Debug, PartialEq, Eq)]
enum Event {
    /// The first of a connection, and later whenever something was lost: where it stands.
    Stands { cursor: String, recovered: bool },
    /// A publication, and how it is printed.
    Publication {
        channel: String,
        cursor: String,
        line: String,
    },
    /// All up to here has been told.
    UpTo { cursor: String },
}

struct Listener {
    way: Way,
    transport: Option<Transport>,
    was_connected: bool,
    /// From where a next connection goes on. None: from the latest.
    cursor: Option<String>,
    printed: Printed,
    /// Publications still to come until the end. None: endless.
    left: Option<NonZeroU64>,
    output: Output,
}

impl Listener {
    async fn run(&mut self) -> Result<(), Error> {
        let mut backoff = Backoff::default();
        loop {
            let error = match self.listen(&mut backoff).await {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            self.transport = None;
            // Where nothing was ever heard of a server, a wrong URL is likelier than an outage.
            let heard = self.was_connected || error.is_said_by_the_server();
            if !heard || !error.may_pass() {
                return Err(error);
            }
            let wait = backoff.next(error.retry_after(), rand::random());
            talk(format_args!(
                "{}; reconnecting in {:.1} s",
                error.on_one_line(),
                wait.as_secs_f64()
            ));
            tokio::time::sleep(wait).await;
        }
    }

    /// One connection: returns when the count is reached.
    async fn listen(&mut self, backoff: &mut Backoff) -> Result<(), Error> {
        let resumes = self.cursor.is_some();
        let transport = self.way.open(self.cursor.as_deref()).await?;
        let transport = self.transport.insert(transport);
        let mut connected = false;
        loop {
            match transport.next().await? {
                Event::Stands { cursor, recovered } => {
                    if !std::mem::replace(&mut connected, true) {
                        self.was_connected = true;
                        backoff.reset();
                        talk(format_args!(
                            "connected to {} by {}",
                            self.way.http.server(),
                            self.way.via
                        ));
                    }
                    if !recovered {
                        talk("GAP: publications may be lost; going on from the latest");
                    } else if resumes {
                        talk("recovered: nothing was lost");
                    }
                    self.cursor = Some(cursor);
                }
                Event::UpTo { cursor } => self.cursor = Some(cursor),
                Event::Publication {
                    channel,
                    cursor,
                    line,
                } => {
                    if self.printed.is_new(channel, &cursor) {
                        self.output.line(&line).await?;
                        if let Some(left) = self.left {
                            self.left = NonZeroU64::new(left.get() - 1);
                            if self.left.is_none() {
                                return Ok(());
                            }
                        }
                    }
                    self.cursor = Some(cursor);
                }
            }
        }
    }
}

impl Way {
    /// Opens a connection that begins after `since`, or with the latest.
    async fn open(&self, since: Option<&str>) -> Result<Transport, Error> {
        Ok(match self.via {
            Via::Ws => Transport::Ws(Box::new(Ws::open(self, since).await?)),
            Via::Sse | Via::Stream => Transport::Stream(Box::new(Stream::open(self, since).await?)),
            Via::LongPoll | Via::Poll => Transport::Poll(Box::new(Poll::open(self, since).await?)),
        })
    }
}

impl Transport {
    async fn next(&mut self) -> Result<Event, Error> {
        match self {
            Self::Ws(ws) => ws.next().await,
            Self::Stream(stream) => stream.next().await,
            Self::Poll(poll) => poll.next().await,
        }
    }

    /// Takes leave, where the transport knows how to.
    async fn close(self) {
        if let Self::Ws(ws) = self {
            ws.close().await;
        }
    }
}

/// The cursor of the last line printed of each channel.
///
/// A resumed connection brings nothing twice. After a gap it brings the latest of every channel, which may be one that
/// is printed already, and then is that channel's last.
#[derive(Debug, Default)]
struct Printed(HashMap<String, String>);

impl Printed {
    fn is_new(&mut self, channel: String, cursor: &str) -> bool {
        if self.0.get(&channel).is_some_and(|last| last == cursor) {
            return false;
        }
        if self.0.len() >= MOST_CHANNELS && !self.0.contains_key(&channel) {
            self.0.clear();
        }
        self.0.insert(channel, cursor.to_owned());
        true
    }
}

impl Item {
    /// What an object of an enveloped stream tells.
    fn into_event(self, line: &str) -> Result<Event, Error> {
        match (self.channel, self.recovered) {
            (Some(channel), _) => Ok(Event::Publication {
                channel,
                cursor: self.cursor,
                line: one_line(line).into_owned(),
            }),
            (None, Some(recovered)) => Ok(Event::Stands {
                cursor: self.cursor,
                recovered,
            }),
            (None, None) => Err(Error::UnknownObject),
        }
    }
}
