//! The `openline` command: a push server, a demo on a real day of flights, a publisher and a listener.
//!
//! `docs/cli.md` in the repository is its reference.

mod args;
mod credential;
mod error;
mod feed;
mod http;
mod keep;
mod listen;
mod output;
mod publish;
mod serve;
mod server_url;
mod settings;
mod signals;

use std::process::ExitCode;

use clap::Parser as _;
use clap::error::ErrorKind;

use crate::args::{Cli, Command};
use crate::error::Error;
use crate::output::talk;

/// glibc keeps most of what was let go of in a flood, and a server at `limits.memory` would stay there for good; this one
/// gives it back to the system.
#[cfg(target_os = "linux")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const NOT_UTF_8: &str = "\nhint: arguments are UTF-8 text; publish other bytes by standard input: \
     openline publish pictures/gate - < gate.png";

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(answer) => {
            // Help and version go to standard output, whose reader may have gone: no failure of ours.
            let _ = answer.print();
            if answer.kind() == ErrorKind::InvalidUtf8 {
                talk(NOT_UTF_8);
            }
            return ExitCode::from(u8::try_from(answer.exit_code()).unwrap_or(error::EXIT_FAILURE));
        }
    };
    match run(cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is_broken_pipe() => ExitCode::SUCCESS,
        Err(error) => {
            error.print();
            ExitCode::from(error.exit_code())
        }
    }
}

fn run(command: Command) -> Result<(), Error> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(Error::Runtime)?;
    let outcome = runtime.block_on(async {
        match command {
            Command::Demo(args) => serve::demo(args).await,
            Command::Serve(args) => serve::serve(args).await,
            Command::CheckConfig(args) => serve::check_config(args).await,
            Command::NewKey => serve::new_key().await,
            Command::Publish(args) => publish::run(args).await,
            Command::Listen(args) => listen::run(args).await,
        }
    });
    // A write to a reader who does not read must not keep the process alive.
    runtime.shutdown_background();
    outcome
}
