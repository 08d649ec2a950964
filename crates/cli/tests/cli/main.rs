//! Runs the real `openline` binary, as a user would.

mod attacks;
mod command_line;
mod data_dir;
mod documents;
mod guarantees;
mod kill_loop;
#[cfg(target_os = "linux")]
mod memory;
mod post;
mod publish_and_listen;
mod scripted;
mod serving;
mod settings;
mod support;
#[cfg(unix)]
mod takeover;
mod tls;
mod traffic;
