//! `openline publish`.

use std::io::{IsTerminal as _, Read as _};
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, Request, StatusCode};
use http_body_util::Full;
use openline_server::Channel;

use crate::args::Publish;
use crate::credential::Credential;
use crate::error::Error;
use crate::http::Http;
use crate::listen::Backoff;
use crate::output::{Output, talk};
use crate::server_url::Server;

/// How often a publication is tried in all.
const ATTEMPTS: u32 = 4;

/// How long one attempt may take until the server answers.
const PATIENCE: Duration = Duration::from_secs(30);

/// A server that wants to be left alone for longer than this is not waited for.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// The longest answer to a publication.
const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// The longest standard input that is read. A server's own limit is far below it, and told by that server.
const MAX_INPUT_BYTES: usize = 64 * 1024 * 1024;

const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const BYTES: HeaderValue = HeaderValue::from_static("application/octet-stream");

/// Publishes, and prints the server's receipt.
pub(crate) async fn run(args: Publish) -> Result<(), Error> {
    let channel: Channel = args.channel.parse().map_err(|source| Error::Channel {
        name: args.channel,
        source,
    })?;
    let server = Server::parse(&args.target.server)?;
    let content_type = args
        .content_type
        .map(|value| header(&value, "--content-type"))
        .transpose()?;
    let key = match args.idempotency_key {
        Some(key) => header(&key, "--idempotency-key")?,
        None => header(
            &format!("{:032x}", rand::random::<u128>()),
            "--idempotency-key",
        )?,
    };
    let body = body(args.body)?;
    let content_type = content_type.unwrap_or(match std::str::from_utf8(&body) {
        Ok(_) => TEXT,
        Err(_) => BYTES,
    });

    let url = server.channel(channel.as_str(), &[]);
    let http = Http::new(server, Credential::new(args.target.token_file))?;
    let mut backoff = Backoff::default();
    let mut attempts = 0;
    loop {
        attempts += 1;
        let mut request = Request::new(Full::new(body.clone()));
        *request.method_mut() = Method::POST;
        let headers = request.headers_mut();
        headers.insert(CONTENT_TYPE, content_type.clone());
        headers.insert("idempotency-key", key.clone());
        let receipt = http.fetch(
            &url,
            request,
            StatusCode::CREATED,
            PATIENCE,
            MAX_ANSWER_BYTES,
        );
        let error = match receipt.await {
            Ok(receipt) => return print(&receipt).await,
            Err(error) => error,
        };
        let wait = backoff.next(error.retry_after(), rand::random());
        if attempts == ATTEMPTS || wait > LONGEST_WAIT || !is_worth_a_retry(&error) {
            return Err(error);
        }
        talk(format_args!(
            "trying again in {:.1} s: {}",
            wait.as_secs_f64(),
            error.on_one_line()
        ));
        tokio::time::sleep(wait).await;
    }
}

/// Every attempt bears the same key, so that trying again never publishes twice. `409` says that an attempt before is
/// still under way: its answer will be ours.
fn is_worth_a_retry(error: &Error) -> bool {
    let under_way = matches!(error, Error::Answer(answer) if answer.status == StatusCode::CONFLICT);
    under_way || error.may_pass()
}

async fn print(receipt: &[u8]) -> Result<(), Error> {
    let receipt: Box<serde_json::value::RawValue> =
        serde_json::from_slice(receipt).map_err(Error::Json)?;
    Output::new()
        .line(&crate::listen::one_line(receipt.get()))
        .await
}

fn body(argument: Option<String>) -> Result<Bytes, Error> {
    let stdin = std::io::stdin();
    match argument.as_deref() {
        None if stdin.is_terminal() => Err(Error::NoBody),
        None | Some("-") => {
            let mut body = Vec::new();
            // One byte more tells whether there is more.
            let mut input = stdin.lock().take(MAX_INPUT_BYTES as u64 + 1);
            input.read_to_end(&mut body).map_err(Error::Input)?;
            if body.len() > MAX_INPUT_BYTES {
                return Err(Error::LongInput {
                    limit: MAX_INPUT_BYTES,
                });
            }
            Ok(body.into())
        }
        Some(body) => Ok(Bytes::copy_from_slice(body.as_bytes())),
    }
}

fn header(value: &str, option: &'static str) -> Result<HeaderValue, Error> {
    HeaderValue::from_str(value).map_err(|_| Error::HeaderValue { option })
}
