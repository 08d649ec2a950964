//! What can go wrong in a command, how it is told, and whether coming back can help.

mod hint;

use std::io::{self, Write as _};
use std::time::Duration;

use http::StatusCode;
use openline::CloseCode;
use openline_server::{BindError, NameError, SettingError};

use self::hint::is_no_http;
use crate::feed::{DataError, FeedError};
use crate::http::Answer;
use crate::listen::SseError;
use crate::server_url::UrlError;
use crate::settings::FileError;

/// Exit code of a command that failed.
pub(crate) const EXIT_FAILURE: u8 = 1;

/// Exit code of a command line that is wrong. Clap uses the same.
const EXIT_USAGE: u8 = 2;

/// Why a command ended without having done its work.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum Error {
    // The command line is wrong.
    #[error("`{name}` is not a channel")]
    Channel { name: String, source: NameError },
    #[error("`{url}` is not a server's URL")]
    ServerUrl { url: String, source: UrlError },
    #[error("there is no body to publish, and standard input is a terminal")]
    NoBody,
    #[error("--interval is for `--via poll` only")]
    IntervalWithoutPoll,
    #[error("{place}: {problem}")]
    Setting {
        place: String,
        problem: SettingError,
    },
    #[error("no directory to keep publications in is known")]
    NoDataDir,
    #[error("{option} has a character that an HTTP header cannot carry")]
    HeaderValue { option: &'static str },

    // This machine.
    #[error("cannot write to standard output")]
    Output(#[source] io::Error),
    #[error("cannot read standard input")]
    Input(#[source] io::Error),
    #[error("cannot read the token file {}", path.display())]
    TokenFile {
        path: std::path::PathBuf,
        source: io::Error,
    },
    #[error("standard input is longer than {limit} bytes; nothing was published")]
    LongInput { limit: usize },
    #[error("cannot start")]
    Runtime(#[source] io::Error),
    #[error("cannot listen for signals")]
    Signals(#[source] io::Error),
    #[error("cannot set up TLS")]
    Tls(#[source] rustls::Error),
    #[error("the socket that was handed over (LISTEN_FDS) is none that TCP listens on")]
    Handed(#[source] io::Error),
    #[error(transparent)]
    Bind(BindError),
    #[error("cannot read the configuration file {}", path.display())]
    ConfigFile {
        path: std::path::PathBuf,
        source: io::Error,
    },
    #[error(transparent)]
    Config(FileError),
    #[error("the replay cannot begin")]
    Data(#[from] DataError),
    #[error("the replay has stopped")]
    Feed(#[from] FeedError),

    // The server, or the way to it.
    #[error("cannot reach {server}")]
    Connect {
        server: String,
        source: hyper_util::client::legacy::Error,
    },
    #[error("the request to {server} broke off")]
    Request {
        server: String,
        source: hyper_util::client::legacy::Error,
    },
    #[error("{server} did not answer within {} s", after.as_secs())]
    NoAnswer { server: String, after: Duration },
    #[error("the answer broke off")]
    Body(#[source] hyper::Error),
    #[error("the answer is longer than {limit} bytes")]
    LongAnswer { limit: usize },
    #[error(transparent)]
    Answer(Box<Answer>),
    #[error("the server answered with {found} where {expected} was asked for")]
    MediaType {
        expected: &'static str,
        found: String,
    },
    #[error("the server said nothing for {} s", .0.as_secs())]
    Silent(Duration),
    #[error("the server ended the stream")]
    Ended,
    #[error("the token has expired")]
    Expired,
    #[error("the server sent what is not Openline's JSON")]
    Json(#[source] serde_json::Error),
    #[error("the server sent an object that is neither an envelope nor a position")]
    UnknownObject,
    #[error("the server's event stream is broken")]
    Sse(#[from] SseError),
    #[error("the server does not speak the WebSocket subprotocol {0}")]
    Subprotocol(&'static str),
    #[error(transparent)]
    WebSocket(openline::Error),
    #[error("the server closed the connection with code {code}{}", shown(reason))]
    Closed { code: CloseCode, reason: String },
}

impl Error {
    /// The process's exit code.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Channel { .. }
            | Self::ServerUrl { .. }
            | Self::NoBody
            | Self::IntervalWithoutPoll
            | Self::NoDataDir
            | Self::HeaderValue { .. }
            | Self::Setting { .. }
            | Self::Bind(BindError::Host { .. } | BindError::Origin { .. }) => EXIT_USAGE,
            _ => EXIT_FAILURE,
        }
    }

    /// Whether the reader of standard output has gone, which is that reader's good right.
    pub(crate) fn is_broken_pipe(&self) -> bool {
        matches!(self, Self::Output(source) if source.kind() == io::ErrorKind::BrokenPipe)
    }

    /// Whether the same request may go well later.
    pub(crate) fn may_pass(&self) -> bool {
        match self {
            Self::Request { source, .. } => !is_no_http(source),
            Self::Connect { .. }
            | Self::NoAnswer { .. }
            | Self::Body(_)
            | Self::Silent(_)
            | Self::Ended
            | Self::Expired => true,
            Self::Answer(answer) => answer.may_pass(),
            Self::Closed { code, .. } => !is_final(*code),
            Self::WebSocket(error) => crate::listen::may_pass(error),
            _ => false,
        }
    }

    /// Whether the server itself told of the failure.
    pub(crate) fn is_said_by_the_server(&self) -> bool {
        matches!(self, Self::Answer(_) | Self::Closed { .. })
    }

    /// How long the server asked to be left alone.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Answer(answer) => answer.retry_after,
            _ => None,
        }
    }

    /// Tells the error on standard error: what, why, and what to do.
    pub(crate) fn print(&self) {
        // Nothing can be done when standard error is gone too.
        let _ = io::stderr().lock().write_all(self.report().as_bytes());
    }

    fn report(&self) -> String {
        let mut report = format!("error: {self}\n");
        for cause in self.causes() {
            report.push_str(&format!("  because: {cause}\n"));
        }
        if let Some(hint) = self.hint() {
            report.push_str(&format!("\nhint: {hint}\n"));
        }
        report
    }

    /// The error and its causes on one line, for the talk of a listener that goes on.
    pub(crate) fn on_one_line(&self) -> String {
        let mut line = self.to_string();
        for cause in self.causes() {
            line.push_str(": ");
            line.push_str(&cause);
        }
        line
    }

    /// The messages below this one, without those that only repeat the end of the one above, and the HTTP client's own,
    /// which says no more than the variant does.
    fn causes(&self) -> Vec<String> {
        let mut causes = Vec::new();
        let mut above = self.to_string();
        let mut source = std::error::Error::source(self);
        while let Some(cause) = source {
            let text = cause.to_string();
            if !above.ends_with(&text) && !cause.is::<hyper_util::client::legacy::Error>() {
                causes.push(text.clone());
                above = text;
            }
            source = cause.source();
        }
        causes
    }
}

/// Whether coming back after this close code would only end in the same way (RFC 6455, 7.4.1): wrong by protocol, data
/// or policy.
fn is_final(code: CloseCode) -> bool {
    matches!(code.0, 1002 | 1003 | 1007..=1010)
}

fn shown(reason: &str) -> String {
    if reason.is_empty() {
        String::new()
    } else {
        format!(": {reason}")
    }
}

impl Answer {
    /// Whether the status tells of a passing state.
    fn may_pass(&self) -> bool {
        matches!(
            self.status,
            StatusCode::REQUEST_TIMEOUT
                | StatusCode::TOO_EARLY
                | StatusCode::TOO_MANY_REQUESTS
                | StatusCode::INTERNAL_SERVER_ERROR
                | StatusCode::BAD_GATEWAY
                | StatusCode::SERVICE_UNAVAILABLE
                | StatusCode::GATEWAY_TIMEOUT
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_has_what_why_and_what_to_do() {
        let error = Error::Channel {
            name: "a//b".to_owned(),
            source: NameError::EmptySegment { segment: 2 },
        };
        let report = error.report();
        let (what, hint) = report.split_once("\n\n").unwrap();
        assert_eq!(
            what,
            "error: `a//b` is not a channel\n  because: segment 2 of the channel name is empty"
        );
        assert!(
            hint.starts_with("hint: a channel is 1 to 16 segments"),
            "{hint}"
        );
        assert_eq!(error.exit_code(), 2);
    }

    #[test]
    fn an_address_in_use_is_named_and_a_way_out_shown() {
        for (key, flag) in [
            ("listen", "--listen"),
            ("metrics.listen", "--metrics-listen"),
        ] {
            let error = Error::Bind(BindError::InUse {
                key,
                address: ([127, 0, 0, 1], 8000).into(),
            });
            let report = error.report();
            assert!(report.contains("127.0.0.1:8000 is in use"), "{report}");
            let hint = format!("hint: choose another address with {flag}; 127.0.0.1:0");
            assert!(report.contains(&hint), "{report}");
            assert_eq!(error.exit_code(), 1);
        }
    }

    #[test]
    fn a_cause_that_repeats_the_message_is_not_told_twice() {
        #[derive(Debug, thiserror::Error)]
        #[error("cannot write: {0}")]
        struct Repeats(#[source] io::Error);

        let error = Error::Output(io::Error::other(Repeats(io::ErrorKind::StorageFull.into())));
        let report = error.report();
        assert_eq!(report.matches("no storage space").count(), 1, "{report}");
    }

    #[test]
    fn close_codes_tell_whether_to_come_back() {
        let closed = |code| Error::Closed {
            code,
            reason: String::new(),
        };
        for code in [
            CloseCode::NORMAL,
            CloseCode::GOING_AWAY,
            CloseCode::RESTART,
            CloseCode::TRY_AGAIN,
        ] {
            assert!(closed(code).may_pass(), "{code:?}");
        }
        for code in [CloseCode::POLICY, CloseCode::TOO_BIG] {
            assert!(!closed(code).may_pass(), "{code:?}");
        }
    }

    #[test]
    fn only_a_broken_pipe_of_the_output_is_no_failure() {
        assert!(Error::Output(io::ErrorKind::BrokenPipe.into()).is_broken_pipe());
        assert!(!Error::Output(io::ErrorKind::StorageFull.into()).is_broken_pipe());
        assert!(!Error::Input(io::ErrorKind::BrokenPipe.into()).is_broken_pipe());
    }
}
