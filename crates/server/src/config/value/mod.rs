//! What is written for a setting, and how each kind of setting reads it.

mod choice;
mod quantity;
mod text;

use std::marker::PhantomData;

use self::choice::Choice;
pub(super) use self::choice::{Decisions, Forwarders, LogFormats};
pub(super) use super::ratio::Part;

/// A value as a file, the environment or a command line gives it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Raw {
    /// Text. From the environment and the command line all values are, and a setting of many takes
    /// them apart at commas.
    Text(String),
    /// A whole number.
    Integer(i64),
    /// A number that is not whole, as it is written.
    Fraction(String),
    /// `true` or `false`.
    Bool(bool),
    /// Several values.
    List(Vec<Raw>),
    /// What no setting takes: what it is called.
    Other(&'static str),
}

impl Raw {
    pub(super) fn wrong(&self) -> String {
        match self {
            Self::Text(text) => format!("{text:?} is not understood"),
            Self::Fraction(number) => format!("{number} is not understood"),
            Self::Integer(number) => format!("{number} is not understood"),
            Self::Bool(value) => format!("{value} is not understood"),
            Self::List(_) => "a list is not understood".to_owned(),
            Self::Other(what) => format!("{what} is not understood"),
        }
    }

    fn text(&self) -> Result<&str, String> {
        match self {
            Self::Text(text) => Ok(text.trim()),
            other => Err(other.wrong()),
        }
    }

    /// The elements, of one or of many.
    fn elements(&self) -> Result<Vec<&str>, String> {
        match self {
            Self::List(items) => items.iter().map(Self::text).collect(),
            Self::Text(text) => Ok(text
                .split(',')
                .map(str::trim)
                .filter(|item| !item.is_empty())
                .collect()),
            other => Err(other.wrong()),
        }
    }
}

/// How settings of one kind are written.
pub(super) trait Kind {
    type Value: PartialEq;
    /// What may be written, for errors and the reference.
    const FORM: &'static str;
    const IS_LIST: bool = false;
    const IS_SECRET: bool = false;

    /// Reads a value; the error says what is wrong.
    fn read(raw: &Raw) -> Result<Self::Value, String>;
    /// The value as TOML; `None` if nothing is set.
    fn show(value: &Self::Value) -> Option<String>;
}

macro_rules! kinds {
    ($($(#[doc = $doc:literal])+ $name:ident;)*) => {
        $($(#[doc = $doc])+ #[derive(Debug)] pub(super) struct $name;)*
    };
}

kinds! {
    /// A number of things.
    Count;
    /// A number of bytes.
    Size;
    /// A time.
    Time;
    /// An address to listen on.
    Address;
    /// Texts.
    Texts;
    /// A text.
    Text;
    /// What is logged.
    LogFilter;
    /// A text that nobody must see, or none.
    Secret;
    /// A file's path.
    File;
    /// A directory's path.
    Directory;
    /// Yes or no.
    Switch;
    /// Networks.
    Networks;
    /// Channels and patterns.
    Filters;
    /// A number, which may be zero.
    Number;
    /// The hash of an API key, or none.
    Hash;
}

/// A value of some kind, or none.
#[derive(Debug)]
pub(super) struct Maybe<K>(PhantomData<K>);

pub(super) type MaybeAddress = Maybe<Address>;
pub(super) type MaybeCount = Maybe<Count>;
pub(super) type MaybeDirectory = Maybe<Directory>;
pub(super) type MaybeFile = Maybe<File>;
pub(super) type MaybeNumber = Maybe<Number>;
pub(super) type MaybePolicy = Maybe<Choice<super::SlowPolicy>>;
pub(super) type MaybeSize = Maybe<Size>;
pub(super) type MaybeSwitch = Maybe<Switch>;
pub(super) type MaybeText = Maybe<Text>;
pub(super) type MaybeTime = Maybe<Time>;

impl<K: Kind> Kind for Maybe<K> {
    type Value = Option<K::Value>;
    const FORM: &'static str = K::FORM;
    const IS_LIST: bool = K::IS_LIST;
    const IS_SECRET: bool = K::IS_SECRET;

    fn read(raw: &Raw) -> Result<Self::Value, String> {
        K::read(raw).map(Some)
    }

    fn show(value: &Self::Value) -> Option<String> {
        value.as_ref().and_then(K::show)
    }
}

fn quoted(text: &str) -> String {
    format!("{text:?}")
}

fn list<'a>(items: impl Iterator<Item = &'a str>) -> Option<String> {
    let items: Vec<_> = items.map(quoted).collect();
    Some(format!("[{}]", items.join(", ")))
}
