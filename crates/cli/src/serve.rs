//! `openline serve` and `openline demo`.

use std::io::IsTerminal as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use openline_server::{Config, Drained, Server};
use tracing_subscriber::EnvFilter;

use crate::args::{Demo, KeptServe, Serve};
use crate::error::Error;
use crate::feed::{self, Day, Replay};
use crate::output::{Output, talk};
use crate::signals::Shutdown;

/// Names the environment variable that chooses what is logged, in the form of `tracing`'s filters.
const LOG_VARIABLE: &str = "OPENLINE_LOG";

/// Serves until the end is asked for.
pub(crate) async fn serve(args: KeptServe) -> Result<(), Error> {
    let shutdown = start()?;
    let directory = args.keep.directory()?;
    let kept = match &directory {
        Some(directory) => format!("publications are kept in {}", directory.display()),
        None => "publications are kept in memory, and gone with this server".to_owned(),
    };
    let server = bind(args.serve, directory, false).await?;
    talk(kept);
    Output::new().line(&listening(server.local_addr())).await?;
    ended(server.run(shutdown.requested()).await);
    Ok(())
}

/// Serves the page and replays the day until the end is asked for.
pub(crate) async fn demo(args: Demo) -> Result<(), Error> {
    let shutdown = start()?;
    let day = Arc::new(Day::embedded()?);
    let flights = day.flights();
    let server = bind(args.serve, None, true).await?;
    let page = page(server.local_addr());
    let mut output = Output::new();
    for line in [
        listening(server.local_addr()),
        format!(
            "replaying 12 September 2013 in New York: {flights} flights at {} times the pace of that day, again and again",
            args.speed
        ),
        format!("open {page} in a browser, or try:"),
        format!("  curl -N -H 'Accept: application/x-ndjson' '{page}channels/flights/*'"),
    ] {
        output.line(&line).await?;
    }
    let feed = feed::run(Replay::new(day, args.speed), server.publisher());
    let serving = server.run(shutdown.clone().requested());
    tokio::pin!(serving);
    tokio::select! {
        drained = &mut serving => ended(drained),
        outcome = feed => {
            // A server that drains may refuse the feed: that is its end, not a failure.
            if !shutdown.is_requested() {
                outcome?;
            }
            ended(serving.await);
        }
    }
    Ok(())
}

fn start() -> Result<Shutdown, Error> {
    let filter = EnvFilter::builder()
        .with_env_var(LOG_VARIABLE)
        .with_default_directive(tracing_subscriber::filter::LevelFilter::WARN.into())
        .from_env_lossy();
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(has_colours())
        .init();
    Shutdown::on_signals()
}

async fn bind(args: Serve, data_dir: Option<PathBuf>, pages: bool) -> Result<Server, Error> {
    let config = Config {
        listen: args.address,
        data_dir,
        pages,
        allow_origins: args.allow_origins,
        allow_hosts: args.allow_hosts,
        ..Config::default()
    };
    let server = Server::bind(config).await.map_err(Error::Bind)?;
    if let Some(warning) = exposure(server.local_addr()) {
        talk(warning);
    }
    Ok(server)
}

/// Colours are for terminals, and for who did not ask for none (<https://no-color.org>).
fn has_colours() -> bool {
    let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    std::io::stderr().is_terminal() && !unwanted
}

/// What to know about an address that others than this machine reach.
fn exposure(address: SocketAddr) -> Option<String> {
    let is_near = address.ip().to_canonical().is_loopback();
    (!is_near).then(|| {
        format!(
            "warning: everyone who reaches {address} may publish, delete and listen: there is no access control; keep \
             others out by a firewall or a proxy, or listen on 127.0.0.1"
        )
    })
}

fn ended(drained: Drained) {
    if drained.cut > 0 {
        talk(format_args!(
            "{} connections did not end in time and were cut",
            drained.cut
        ));
    }
}

/// The line that tells the address listened on, with the real port, for people and for scripts.
fn listening(address: SocketAddr) -> String {
    format!("listening on http://{address}/")
}

/// The server's page as a browser on this machine finds it: an address that stands for all of them is no destination.
fn page(address: SocketAddr) -> String {
    if address.ip().is_unspecified() {
        format!("http://localhost:{}/", address.port())
    } else {
        format!("http://{address}/")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_others_reach_is_warned_of() {
        for near in [
            "127.0.0.1:8000",
            "127.8.9.1:1",
            "[::1]:8000",
            "[::ffff:127.0.0.1]:1",
        ] {
            assert_eq!(exposure(near.parse().unwrap()), None, "{near}");
        }
        for far in ["0.0.0.0:8000", "[::]:8000", "192.168.1.9:8000"] {
            let warning = exposure(far.parse().unwrap()).unwrap();
            assert!(
                warning.contains(&format!("everyone who reaches {far} may publish")),
                "{warning}"
            );
        }
    }
}
