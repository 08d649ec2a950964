//! What can go wrong in a command, how it is told, and whether coming back can help.

use std::io::{self, Write as _};
use std::time::Duration;

use http::StatusCode;
use openline::{CloseCode, ConnectError};
use openline_server::{BindError, NameError, OpenError, SettingError};

use crate::feed::{DataError, FeedError};
use crate::http::Answer;
use crate::listen::SseError;
use crate::server_url::UrlError;
use crate::settings::FileError;

/// Exit code of a command that failed.
pub(crate) const EXIT_FAILURE: u8 = 1;

/// Exit code of a command line that is wrong. Clap uses the same.
const EXIT_USAGE: u8 = 2;

const CHANNEL_RULE: &str = "a channel is 1 to 16 segments joined by /, each of 1 to 64 characters from \
     A-Z a-z 0-9 _ . ~ - (but not . or ..), such as flights/UA1545-EWR";

const NO_SERVER: &str =
    "is a server running there? start one with `openline demo`, or name another with --server";

const NO_TLS: &str = "no TLS is spoken there; if that is meant to be, try http:// (or ws://) in place of https:// in --server";

const NO_HTTP: &str = "no HTTP is spoken there; if that is TLS, try https:// (or wss://) in place of http:// in --server";

const NO_HOST: &str = "is the host's name in --server right, and this machine connected?";

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

    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Channel {
                source: NameError::Pattern,
                ..
            } => "publish on each channel by its own name; only `openline listen` takes patterns",
            Self::Channel { .. } => CHANNEL_RULE,
            Self::ServerUrl {
                source: UrlError::Channels,
                ..
            } => {
                "leave /channels and what follows it away; a path before it may stay: http://127.0.0.1:8000 or \
                 https://push.example/prefix"
            }
            Self::LongInput { .. } => {
                "one publication is one body, of at most 262144 bytes unless the server is told otherwise; publish an \
                 address of what is larger"
            }
            Self::ServerUrl { .. } => "write it as http://127.0.0.1:8000 or https://push.example",
            Self::NoBody => {
                "give the body as an argument, or pipe it in: echo hello | openline publish news -"
            }
            Self::IntervalWithoutPoll => "the other ways of listening do not ask again and again",
            Self::Config(_) => {
                "docs/configuration.md lists all keys; so does `openline check-config --reference`"
            }
            Self::NoDataDir => {
                "name one with --data-dir, or keep them in memory only with --memory"
            }
            Self::Bind(BindError::Log(error)) => return log_hint(error),
            Self::Bind(error) => return bind_hint(error),
            Self::Connect { source, .. } => return connect_hint(source),
            Self::Request { source, .. } if is_no_http(source) => NO_HTTP,
            Self::WebSocket(error) => return connect_hint(error),
            Self::MediaType { .. } | Self::Subprotocol(_) | Self::Json(_) | Self::UnknownObject => {
                "is it an Openline server, and --server its URL?"
            }
            Self::Answer(answer) => answer.hint()?,
            Self::Closed { code, .. } if *code == CloseCode::POLICY => {
                "the server does not let this client listen here"
            }
            _ => return None,
        };
        Some(hint.to_owned())
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

fn bind_hint(error: &BindError) -> Option<String> {
    match error {
        BindError::InUse { key, address } => Some(format!(
            "choose another address with --{}; {}:0 takes any free port",
            key.replace('.', "-"),
            address.ip()
        )),
        BindError::Listen {
            key,
            address,
            source,
        } => {
            let flag = key.replace('.', "-");
            match source.kind() {
                io::ErrorKind::AddrNotAvailable => Some(format!(
                    "{} is not an address of this machine; choose another with --{flag}",
                    address.ip()
                )),
                io::ErrorKind::PermissionDenied => {
                    Some(format!("choose a port above 1023 with --{flag}"))
                }
                _ => None,
            }
        }
        BindError::NoProxies { .. } => {
            Some("name them as addresses or networks: --proxies-trusted 10.0.0.0/8".to_owned())
        }
        BindError::Traces(_) => Some(
            "where the configuration has no traces.endpoint, OTEL_EXPORTER_OTLP_ENDPOINT of the environment is taken"
                .to_owned(),
        ),
        BindError::Host { .. } => Some(
            "write --allow-host as push.example or push.example:8443, once for each host; there is no `*`"
                .to_owned(),
        ),
        BindError::Origin { .. } => {
            Some("write --allow-origin as https://app.example, without a path".to_owned())
        }
        _ => None,
    }
}

fn log_hint(error: &OpenError) -> Option<String> {
    let hint = match error {
        OpenError::InUse { .. } => {
            "stop the other server, or choose another directory with --data-dir; --memory keeps nothing on the disk"
        }
        OpenError::NotDirectory { .. } | OpenError::Foreign { .. } => {
            "choose another directory with --data-dir; one that is not there yet is made"
        }
        OpenError::Directory { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
            "let this user write there, or choose another directory with --data-dir"
        }
        OpenError::Newer { .. } => {
            "start the Openline that made it, or begin anew in another directory with --data-dir"
        }
        OpenError::Damaged { .. } => {
            "nothing was changed; put a backup back, or move the directory away to begin anew (docs/storage.md)"
        }
        _ => return None,
    };
    Some(hint.to_owned())
}

fn connect_hint(error: &(dyn std::error::Error + 'static)) -> Option<String> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        let is_refusal = |io: &io::Error| io.kind() == io::ErrorKind::ConnectionRefused;
        let io = error.downcast_ref::<io::Error>();
        if io.is_some_and(is_refusal) {
            return Some(NO_SERVER.to_owned());
        }
        // It tells what came of each address of a host, none of which is its source.
        if let Some(ConnectError::Attempts(attempts)) = error.downcast_ref()
            && attempts.iter().any(|attempt| is_refusal(&attempt.error))
        {
            return Some(NO_SERVER.to_owned());
        }
        if is_plain_answer(error) {
            return Some(NO_TLS.to_owned());
        }
        // The HTTP client hides the type of this error, and says it in two words.
        let is_resolve = matches!(error.downcast_ref(), Some(ConnectError::Resolve(_)));
        if is_resolve || error.to_string() == "dns error" {
            return Some(NO_HOST.to_owned());
        }
        // What an I/O error wraps is not its source, but the wrapped one's source is.
        cause = match io.and_then(io::Error::get_ref) {
            Some(wrapped) => Some(wrapped),
            None => error.source(),
        };
    }
    None
}

/// Whether what was answered is no HTTP.
fn is_no_http(error: &hyper_util::client::legacy::Error) -> bool {
    let source = std::error::Error::source(error);
    source
        .and_then(|source| source.downcast_ref::<hyper::Error>())
        .is_some_and(hyper::Error::is_parse)
}

/// Whether the other side of a TLS handshake spoke something else.
fn is_plain_answer(error: &(dyn std::error::Error + 'static)) -> bool {
    use rustls::{Error::InvalidMessage, InvalidMessage::InvalidContentType};
    matches!(
        error.downcast_ref(),
        Some(InvalidMessage(InvalidContentType))
    )
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

    fn hint(&self) -> Option<&'static str> {
        match self.status {
            StatusCode::UNAUTHORIZED => Some(
                "put an API key or a token into the environment as OPENLINE_TOKEN, or into a file for --token-file",
            ),
            // A problem's detail says what to do; without one this may be anybody's answer.
            _ if self.detail.is_none() => Some("is it an Openline server, and --server its URL?"),
            StatusCode::UNPROCESSABLE_ENTITY => {
                Some("leave --idempotency-key away for a new publication")
            }
            _ => None,
        }
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
