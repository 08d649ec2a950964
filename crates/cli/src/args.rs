//! The command line.

use std::num::NonZeroU64;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::keep::Keep;
use crate::settings::Flags;

// Lines of at most 78 characters: these texts are wrapped here, and must not be again by a usual terminal.

const EXIT_CODES: &str = "\
Exit codes:
  0  done, or the reader of the output has gone
  1  it failed: standard error says why, and what to do
  2  the command line is wrong";

const LISTENER_EXIT_CODES: &str = "\
Exit codes:
  0  done, ended by SIGINT or SIGTERM, or the reader of the output has gone
  1  it failed: standard error says why, and what to do
  2  the command line is wrong";

const SERVER_NOTES: &str = "\
Exit codes:
  0  ended by SIGINT or SIGTERM, after its connections
  1  it failed: standard error says why, and what to do; or a second signal,
     half a second after the first or later, ended it at once
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
    /// Check a configuration file
    ///
    /// Reads FILE as `serve --config FILE` does, tells everything that is wrong with it, and starts nothing.
    CheckConfig(CheckConfig),
    /// Make an API key for a back end
    ///
    /// Prints a new random key, and the lines of a configuration file that let whoever has it in. The server keeps only
    /// the hash: the key is shown this once.
    NewKey,
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
    pub(crate) flags: Flags,

    /// How many times faster than that day; 120 is two hours a minute. Quiet stretches are shortened to one second,
    /// so below 60 (a minute of that day a second) the pace does not drop
    #[arg(long, value_name = "FACTOR", default_value_t = 120, value_parser = speed)]
    pub(crate) speed: u32,
}

#[derive(Debug, Args)]
#[command(after_help = SERVER_NOTES)]
pub(crate) struct Serve {
    #[command(flatten)]
    pub(crate) flags: Flags,

    #[command(flatten)]
    pub(crate) keep: Keep,
}

#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct CheckConfig {
    /// The file
    #[arg(value_name = "FILE", required_unless_present = "reference")]
    pub(crate) file: Option<PathBuf>,

    /// Print the reference of all settings instead, in Markdown
    #[arg(long, conflicts_with = "file")]
    pub(crate) reference: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Target {
    /// The server's URL: http, https, ws or wss; a path goes before /channels
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8000")]
    pub(crate) server: String,

    /// File with the API key or token to send, read again for each connection. Without it, what the environment has in
    /// OPENLINE_TOKEN is sent
    #[arg(long, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
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
#[command(after_help = LISTENER_EXIT_CODES)]
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
    #[arg(long, value_name = "N", value_parser = count)]
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

fn speed(text: &str) -> Result<u32, String> {
    const SPEEDS: RangeInclusive<u32> = 1..=86_400;
    let speed = text.parse().ok().filter(|speed| SPEEDS.contains(speed));
    speed.ok_or_else(|| "write a whole number from 1 to 86400, such as 120".to_owned())
}

fn count(text: &str) -> Result<NonZeroU64, &'static str> {
    text.parse()
        .map_err(|_| "write a whole number from 1 on; without --count there is no end")
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok();
    seconds
        .filter(|seconds| (0.05..=86_400.0).contains(seconds))
        .map(Duration::from_secs_f64)
        .ok_or_else(|| "write seconds from 0.05 to 86400, such as 0.5".to_owned())
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
    fn notes_fit_a_terminal() {
        for notes in [EXIT_CODES, LISTENER_EXIT_CODES, SERVER_NOTES] {
            assert!(notes.lines().all(|line| line.len() <= 78), "{notes}");
        }
    }

    #[test]
    fn intervals_are_bounded() {
        assert_eq!(seconds("0.5"), Ok(Duration::from_millis(500)));
        for wrong in ["0", "-1", "NaN", "inf", "1e9", "two", ""] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
    }
}
