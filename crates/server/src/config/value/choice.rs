//! One of a few words, or several.

use std::marker::PhantomData;

use super::{Kind, Raw, quoted};
use crate::config::{Decision, ForwardedBy, LogFormat, SlowPolicy};

/// One of a few words.
#[derive(Debug)]
pub(in crate::config) struct Choice<T>(PhantomData<T>);

/// What a choice is between.
pub(in crate::config) trait Choices: Copy + PartialEq + 'static {
    const FORM: &'static str;
    const ALL: &'static [(&'static str, Self)];
}

impl Choices for SlowPolicy {
    const FORM: &'static str = "\"disconnect\", \"latest\" or \"rate\"";
    const ALL: &'static [(&'static str, Self)] = &[
        ("disconnect", Self::Disconnect),
        ("latest", Self::Latest),
        ("rate", Self::Rate),
    ];
}

impl<T: Choices> Kind for Choice<T> {
    type Value = T;
    const FORM: &'static str = T::FORM;

    fn read(raw: &Raw) -> Result<T, String> {
        let text = raw.text()?;
        let found = T::ALL.iter().find(|(name, _)| *name == text);
        found.map(|(_, value)| *value).ok_or_else(|| raw.wrong())
    }

    fn show(value: &T) -> Option<String> {
        let found = T::ALL.iter().find(|(_, choice)| choice == value);
        found.map(|(name, _)| quoted(name))
    }
}

pub(in crate::config) type LogFormats = Choice<LogFormat>;

/// Several of a few words.
#[derive(Debug)]
pub(in crate::config) struct Several<T>(PhantomData<T>);

impl<T: Choices> Kind for Several<T> {
    type Value = Vec<T>;
    const FORM: &'static str = T::FORM;
    const IS_LIST: bool = true;

    fn read(raw: &Raw) -> Result<Vec<T>, String> {
        let choice = |text: &&str| Choice::<T>::read(&Raw::Text((*text).to_owned()));
        raw.elements()?.iter().map(choice).collect()
    }

    fn show(value: &Vec<T>) -> Option<String> {
        let names: Vec<_> = value.iter().filter_map(Choice::<T>::show).collect();
        Some(format!("[{}]", names.join(", ")))
    }
}

pub(in crate::config) type Decisions = Several<Decision>;

impl Choices for Decision {
    const FORM: &'static str = "a list of \"connect\", \"subscribe\" and \"publish\"";
    const ALL: &'static [(&'static str, Self)] = &[
        ("connect", Self::Connect),
        ("subscribe", Self::Subscribe),
        ("publish", Self::Publish),
    ];
}

pub(in crate::config) type Forwarders = Choice<ForwardedBy>;

impl Choices for ForwardedBy {
    const FORM: &'static str = "\"none\", \"forwarded\" or \"x-forwarded-for\"";
    const ALL: &'static [(&'static str, Self)] = &[
        ("none", Self::None),
        ("forwarded", Self::Forwarded),
        ("x-forwarded-for", Self::XForwardedFor),
    ];
}

impl Choices for LogFormat {
    const FORM: &'static str = "\"text\" or \"json\"";
    const ALL: &'static [(&'static str, Self)] = &[("text", Self::Text), ("json", Self::Json)];
}
