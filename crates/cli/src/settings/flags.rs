//! The options that the settings' declaration gives to `serve` and `demo`.

use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use openline_server::{Raw, Setting};

use super::{flag, unnamed, variable};
use crate::keep::Keep;

/// What was given on the command line.
#[derive(Debug, Default)]
pub(crate) struct Flags {
    /// `--config`.
    pub(crate) file: Option<PathBuf>,
    pub(super) values: Vec<(Setting, Raw)>,
}

const CONFIG: &str = "config";

/// Those that have an option here.
fn open() -> impl Iterator<Item = Setting> {
    unnamed().filter(|setting| !setting.is_secret && !Keep::has(setting))
}

fn argument(setting: &Setting) -> Arg {
    let default = match setting.default.as_deref() {
        None | Some("[]") => String::new(),
        Some(default) => format!(" [default: {}]", default.trim_matches('"')),
    };
    let repeated = if setting.is_list {
        " Can be repeated"
    } else {
        ""
    };
    let about = setting.about.trim_end_matches('.');
    let end = if setting.is_list { "." } else { "" };
    let help = format!(
        "{about}{end}{repeated}{default} [env: {}]",
        variable(setting)
    );
    let value = setting.path.last().copied().unwrap_or_default();
    let argument = Arg::new(setting.key())
        .long(flag(setting))
        .value_name(value.to_uppercase())
        .help(help)
        .hide_short_help(setting.path.len() > 1)
        .action(if setting.is_list {
            ArgAction::Append
        } else {
            ArgAction::Set
        });
    match setting.path.as_slice() {
        [group, _, ..] => argument.help_heading(heading(group)),
        _ => argument,
    }
}

/// `Limits` for `limits`.
fn heading(group: &str) -> String {
    let mut letters = group.chars();
    let first = letters.next().map(|first| first.to_ascii_uppercase());
    first.into_iter().chain(letters).collect()
}

impl clap::Args for Flags {
    fn augment_args(command: Command) -> Command {
        let file = Arg::new(CONFIG)
            .long(CONFIG)
            .value_name("FILE")
            .value_parser(value_parser!(PathBuf))
            .help("Configuration file, in TOML; docs/configuration.md lists its keys [env: OPENLINE_CONFIG]")
            .display_order(0);
        command
            .arg(file)
            .args(open().map(|setting| argument(&setting)))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl clap::FromArgMatches for Flags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut flags = Self::default();
        flags.update_from_arg_matches(matches)?;
        Ok(flags)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        let variable = || std::env::var_os("OPENLINE_CONFIG").map(PathBuf::from);
        self.file = matches
            .get_one::<PathBuf>(CONFIG)
            .cloned()
            .or_else(variable);
        for setting in open() {
            let Some(given) = matches.get_many::<String>(&setting.key()) else {
                continue;
            };
            let mut given: Vec<_> = given.cloned().map(Raw::Text).collect();
            let value = match given.pop() {
                Some(value) if !setting.is_list => value,
                last => {
                    given.extend(last);
                    Raw::List(given)
                }
            };
            self.values.push((setting, value));
        }
        Ok(())
    }
}
