//! What to do about an error.

use std::io;

use http::StatusCode;
use openline::{CloseCode, ConnectError};
use openline_server::{BindError, NameError, OpenError};

use super::Error;
use crate::http::Answer;
use crate::server_url::UrlError;

const CHANNEL_RULE: &str = "a channel is 1 to 16 segments joined by /, each of 1 to 64 characters from \
     A-Z a-z 0-9 _ . ~ - (but not . or ..), such as flights/UA1545-EWR";

const NO_SERVER: &str =
    "is a server running there? start one with `openline demo`, or name another with --server";

const NO_TLS: &str = "no TLS is spoken there; if that is meant to be, try http:// (or ws://) in place of https:// in --server";

const NO_HTTP: &str = "no HTTP is spoken there; if that is TLS, try https:// (or wss://) in place of http:// in --server";

const NO_HOST: &str = "is the host's name in --server right, and this machine connected?";

impl Error {
    pub(super) fn hint(&self) -> Option<String> {
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
pub(super) fn is_no_http(error: &hyper_util::client::legacy::Error) -> bool {
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
