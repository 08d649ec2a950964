//! The command line.

use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

const EXIT_CODES: &str = "\
Exit codes:
  0  done; for `demo`, `serve` and `listen` also the end by SIGINT or SIGTERM; for all, a reader of the
     output who has gone
  1  it failed: standard error says why, and what to do
  2  the command line is wrong";

const SERVER_NOTES: &str = "\
Environment:
  OPENLINE_LOG  what to log on standard error: error, warn, info, debug, trace, or filters such as
                openline_server=debug [default: warn]

Exit codes:
  0  ended by SIGINT or SIGTERM, after its connections (a second signal ends it at once, with 1)
  1  it failed: standard error says why, and what to do
  2  the command line is wrong";

/// Ask once, hear every change: a push server with one URL per channel, and every way to listen.
#[derive(Debug, Parser)]
#[command(name = "openline", version, after_help = EXIT_CODES)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start a server with a departure board, and replay a real day of flights on it
    ///
    /// Starts a server and replays all 992 departures from New York on 12 September 2013 on channels like
    /// flights/UA1545-EWR. Open the printed address in a browser.
    Demo(Demo),
    /// Start a server
    ///
    /// Starts a server without pages and without publications: both are yours to bring.
    Serve(Serve),
    /// Publish on a channel
    ///
    /// Publishes BODY and prints where it stands: {"channel","cursor","time"}.
    ///
    /// A lost connection and a busy server are tried again a few times. That is safe, for every publication has an
    /// idempotency key: the server takes it once.
    Publish(Publish),
    /// Listen to a channel or a pattern of channels: one JSON envelope a line
    ///
    /// Prints what is published, one JSON envelope a line: {"channel","cursor","time","type","data"}, with "base64" in
    /// place of "data" for binary bodies.
    ///
    /// What came last is printed first, then each change. A lost connection is made again and resumed where it broke:
    /// nothing is missing and nothing printed twice, or standard error says GAP. Server-Sent Events of one channel
    /// carry bodies only, so its lines are {"channel","cursor","data"} with the body as a string.
    Listen(Listen),
}

#[derive(Debug, Args)]
#[command(after_help = SERVER_NOTES)]
pub(crate) struct Demo {
    #[command(flatten)]
    pub(crate) serve: Serve,

    /// How many times faster than that day; 120 is two hours a minute. Quiet stretches are shortened to one second,
    /// so below 60 (a minute of that day a second) the pace does not drop
    #[arg(long, value_name = "FACTOR", default_value_t = 120,
          value_parser = clap::value_parser!(u32).range(1..=86_400))]
    pub(crate) speed: u32,
}

#[derive(Debug, Args)]
#[command(after_help = SERVER_NOTES)]
pub(crate) struct Serve {
    /// Address and port to listen on; port 0 takes any free one. The real address is printed
    #[arg(long = "listen", value_name = "ADDR", default_value = "127.0.0.1:8000", value_parser = address)]
    pub(crate) address: SocketAddr,

    /// Let web pages of this origin in (https://app.example), beside the server's own; `*` for all. Can be repeated
    #[arg(long = "allow-origin", value_name = "ORIGIN")]
    pub(crate) allow_origins: Vec<String>,

    /// Answer to this host name too (push.example, or push.example:8443), beside those listened on. Needed behind a
    /// proxy. Can be repeated
    #[arg(long = "allow-host", value_name = "HOST")]
    pub(crate) allow_hosts: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Target {
    /// The server's URL: http, https, ws or wss
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8000")]
    pub(crate) server: String,
}

#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct Publish {
    /// Where to publish, for example flights/UA1545-EWR
    pub(crate) channel: String,

    /// What to publish; `-`, or nothing when the input is not a terminal, reads standard input
    pub(crate) body: Option<String>,

    #[command(flatten)]
    pub(crate) target: Target,

    /// The body's media type [default: text/plain; charset=utf-8 if it is UTF-8, else application/octet-stream]
    #[arg(long, value_name = "TYPE")]
    pub(crate) content_type: Option<String>,

    /// Publish at most once under this key, for five minutes [default: a new one]
    #[arg(long, value_name = "KEY")]
    pub(crate) idempotency_key: Option<String>,
}

#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct Listen {
    /// A channel, flights/UA1545-EWR, or a pattern: 'flights/*' for one segment, 'flights/**' for all the rest
    pub(crate) channel: String,

    #[command(flatten)]
    pub(crate) target: Target,

    /// How to listen
    #[arg(long, value_enum, default_value = "ws")]
    pub(crate) via: Via,

    /// Begin after this cursor, from an earlier envelope; an empty one is as none: from the latest
    #[arg(long, value_name = "CURSOR")]
    pub(crate) since: Option<String>,

    /// End after this many publications
    #[arg(long, value_name = "N")]
    pub(crate) count: Option<NonZeroU64>,

    /// Seconds between two questions, for `--via poll` [default: 2]
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub(crate) interval: Option<Duration>,
}

/// The ways to listen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Via {
    /// WebSocket
    Ws,
    /// Server-Sent Events
    Sse,
    /// A plain HTTP stream of JSON lines
    Stream,
    /// Ask, and be answered when there is news
    LongPoll,
    /// Ask again and again
    Poll,
}

impl std::fmt::Display for Via {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Ws => "WebSocket",
            Self::Sse => "Server-Sent Events",
            Self::Stream => "an HTTP stream",
            Self::LongPoll => "long polling",
            Self::Poll => "polling",
        })
    }
}

fn address(text: &str) -> Result<SocketAddr, &'static str> {
    text.parse()
        .map_err(|_| "write an IP address and a port: 127.0.0.1:8000")
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if (0.05..=86_400.0).contains(&seconds) {
        Ok(Duration::from_secs_f64(seconds))
    } else {
        Err("not from 0.05 to 86400".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn intervals_are_bounded() {
        assert_eq!(seconds("0.5"), Ok(Duration::from_millis(500)));
        for wrong in ["0", "-1", "NaN", "inf", "1e9", "two", ""] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
    }
}
