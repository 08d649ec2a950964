//! `openline serve` and `openline demo`.

use std::io::IsTerminal as _;
use std::sync::Arc;

use listenfd::ListenFd;
use openline_server::{Config, Drained, LogFormat, NewKey, Reload, Server};
use tracing_subscriber::EnvFilter;

use crate::args::{CheckConfig, Demo, Serve};
use crate::error::Error;
use crate::feed::{self, Day, Replay};
use crate::output::{Output, talk};
use crate::settings;
use crate::signals::{Hangups, Shutdown};

/// Serves until the end is asked for.
pub(crate) async fn serve(args: Serve) -> Result<(), Error> {
    let load = move || {
        let mut config = settings::load(&args.flags)?;
        args.keep.settle(&mut config)?;
        Ok(config)
    };
    let (shutdown, config) = start(&load)?;
    let hangups = Hangups::new()?;
    let kept = match &config.data_dir {
        Some(directory) if !config.memory => {
            format!("publications are kept in {}", directory.display())
        }
        _ => "publications are kept in memory, and gone with this server".to_owned(),
    };
    // It may wait for another server to let go of the log.
    let server = tokio::select! {
        server = bind(config) => server?,
        () = shutdown.clone().requested() => return Ok(()),
    };
    talk(kept);
    tokio::spawn(reload(load, server.reload(), hangups));
    Output::new().line(&listening(&server)).await?;
    ended(server.run(shutdown.requested()).await);
    Ok(())
}

/// Serves the page and replays the day until the end is asked for.
pub(crate) async fn demo(args: Demo) -> Result<(), Error> {
    let load = move || {
        let mut config = settings::load(&args.flags)?;
        config.pages = true;
        // Another day begins with each start.
        config.memory = true;
        // The demo's board is for whoever can reach it; what is on it is not.
        config.anonymous.subscribe.get_or_insert(true);
        Ok(config)
    };
    let (shutdown, config) = start(&load)?;
    let hangups = Hangups::new()?;
    let day = Arc::new(Day::embedded()?);
    let flights = day.flights();
    let server = bind(config).await?;
    tokio::spawn(reload(load, server.reload(), hangups));
    let page = page(&server);
    let mut output = Output::new();
    for line in [
        listening(&server),
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

/// `openline check-config`.
pub(crate) async fn check_config(args: CheckConfig) -> Result<(), Error> {
    let mut output = Output::new();
    let Some(file) = args.file else {
        return output.line(settings::page().trim_end()).await;
    };
    settings::load_file(&file)?.check().map_err(Error::Bind)?;
    output
        .line(&format!("{}: all is well", file.display()))
        .await
}

/// `openline new-key`.
pub(crate) async fn new_key() -> Result<(), Error> {
    let new = NewKey::random();
    let mut output = Output::new();
    output.line(&new.key).await?;
    talk(format_args!(
        "keep the key; nobody can show it again. For the server's configuration, under a name of your choice:\n\n\
         [key.backend]\nhash = \"{}\"",
        new.hash
    ));
    Ok(())
}

/// Takes over the process's signals and its log, and reads the configuration.
fn start(load: &impl Fn() -> Result<Config, Error>) -> Result<(Shutdown, Config), Error> {
    let config = load()?;
    let filter = EnvFilter::builder()
        .with_default_directive(tracing_subscriber::filter::LevelFilter::WARN.into())
        .parse_lossy(&config.log);
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(has_colours());
    match config.log_format {
        LogFormat::Json => log.json().flatten_event(true).init(),
        _ => log.init(),
    }
    for (name, near) in settings::strange_variables() {
        talk(format_args!(
            "warning: {name} is not a setting; did you mean {near}?"
        ));
    }
    Ok((Shutdown::on_signals()?, config))
}

async fn bind(config: Config) -> Result<Server, Error> {
    // A supervisor that has bound the socket hands it over (systemd's LISTEN_FDS).
    let handed = ListenFd::from_env().take_tcp_listener(0);
    let server = match handed.map_err(Error::Handed)? {
        Some(listener) => Server::bind_to(listener, config).await,
        None => Server::bind(config).await,
    };
    let server = server.map_err(Error::Bind)?;
    talk(access(&server));
    Ok(server)
}

/// Reads the configuration again whenever the process is told to (SIGHUP). What is wrong then is told, and nothing
/// changes.
async fn reload(load: impl Fn() -> Result<Config, Error>, reload: Reload, mut hangups: Hangups) {
    loop {
        hangups.next().await;
        let changed = tokio::task::block_in_place(|| {
            load().and_then(|config| reload.apply(config).map_err(Error::Bind))
        });
        match changed {
            Ok(fixed) if fixed.is_empty() => talk("reloaded the configuration"),
            Ok(fixed) => talk(format_args!(
                "reloaded the configuration; these need a new start: {}",
                fixed.join(", ")
            )),
            Err(error) => {
                talk("the configuration was not reloaded; the one before stays in force");
                error.print();
            }
        }
    }
}

/// Colours are for terminals, and for who did not ask for none (<https://no-color.org>).
fn has_colours() -> bool {
    let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    std::io::stderr().is_terminal() && !unwanted
}

/// What anonymous clients may do, which is to be known at every start.
fn access(server: &Server) -> &'static str {
    if server.is_open() {
        "everyone on this machine may publish and listen: there are no keys and no tokens in the configuration"
    } else {
        "only who has a key or a token may publish and listen, and anonymous clients where the configuration lets them"
    }
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
fn listening(server: &Server) -> String {
    format!("listening on {}://{}/", scheme(server), server.local_addr())
}

/// The server's page as a browser on this machine finds it: an address that stands for all of them is no destination.
fn page(server: &Server) -> String {
    let (scheme, address) = (scheme(server), server.local_addr());
    if address.ip().is_unspecified() {
        format!("{scheme}://localhost:{}/", address.port())
    } else {
        format!("{scheme}://{address}/")
    }
}

fn scheme(server: &Server) -> &'static str {
    if server.is_tls() { "https" } else { "http" }
}
