//! The declaration of settings: what [`settings!`](crate::config) says once about each is its field
//! and default, its key, the check of what is written for it, and its place in the reference.

use super::value::{Kind, Raw};

/// One thing that can be set, as its declaration tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Setting {
    /// The parts of its key, from the outermost table in. `*` stands for a name of one's own.
    pub path: Vec<&'static str>,
    /// What it does, in sentences.
    pub about: String,
    /// What may be written for it.
    pub form: &'static str,
    /// Its default as TOML; `None` where nothing is set, or where the value is a secret.
    pub default: Option<String>,
    /// Whether it takes many values.
    pub is_list: bool,
    /// Whether its value must not be seen, as on a command line it would be.
    pub is_secret: bool,
    /// Whether a reload puts it into force; what does not needs a new start.
    pub is_live: bool,
}

impl Setting {
    /// The key as it is written: `limits.connections`.
    pub fn key(&self) -> String {
        self.path.join(".")
    }

    /// Whether it belongs to a table that has a name of one's own.
    pub fn is_named(&self) -> bool {
        self.path.contains(&"*")
    }
}

/// Why a key was not set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SettingError {
    /// No setting has that key.
    #[error("there is no such key")]
    Unknown,
    /// The value is none that the setting takes.
    #[error("{wrong}; write {form}")]
    Value {
        /// What is wrong with it.
        wrong: String,
        /// What may be written.
        form: &'static str,
    },
}

/// A group of settings. Implemented by [`Config`](crate::Config) and its parts, by their
/// declaration.
pub trait Settings: Default + PartialEq {
    /// Appends the declaration of each, with `at` before its path.
    fn describe(at: &[&'static str], all: &mut Vec<Setting>);

    /// Sets what has that key.
    ///
    /// # Errors
    /// Why it was not set; nothing has changed then.
    fn set(&mut self, path: &[&str], value: &Raw) -> Result<(), SettingError>;

    /// Makes the table with a name of one's own that has that path, with defaults, if it is not there: one in which nothing is
    /// set counts too. Other paths change nothing.
    fn name(&mut self, path: &[&str]);

    /// Appends the keys of what a reload cannot put into force and differs from `new`.
    fn fixed(&self, new: &Self, at: &[&'static str], keys: &mut Vec<String>);
}

/// The declaration of a setting of kind `K`.
pub(super) fn declare<K: Kind>(
    at: &[&'static str],
    path: &[&'static str],
    about: &[&str],
    is_live: bool,
    default: &K::Value,
) -> Setting {
    Setting {
        path: [at, path].concat(),
        about: about
            .iter()
            .map(|line| line.trim())
            .collect::<Vec<_>>()
            .join(" "),
        form: K::FORM,
        default: if K::IS_SECRET { None } else { K::show(default) },
        is_list: K::IS_LIST,
        is_secret: K::IS_SECRET,
        is_live,
    }
}

/// Sets a field of kind `K`.
pub(super) fn assign<K: Kind>(field: &mut K::Value, value: &Raw) -> Result<(), SettingError> {
    *field = K::read(value).map_err(|wrong| SettingError::Value {
        wrong,
        form: K::FORM,
    })?;
    Ok(())
}

/// Whether a setting takes effect by a reload.
macro_rules! is_live {
    (live) => {
        true
    };
    (fixed) => {
        false
    };
}

/// Declares a struct of settings. Each field has its documentation, its key, its kind, whether a
/// reload puts it into force (`live`, or `fixed`), its name, type and default. `groups` are structs of
/// settings under a key, `named` ones maps from a name of one's own to such structs;
/// `plain` fields are the program's alone.
macro_rules! settings {
    (
        $(#[$meta:meta])*
        pub struct $name:ident {
            $(
                $(#[doc = $doc:literal])+
                $($key:ident).+ = $kind:ident, $change:ident => $field:ident: $type:ty = $default:expr;
            )*
        }
        $(groups {
            $(
                $(#[doc = $gdoc:literal])+
                $gkey:ident => $gfield:ident: $gtype:ty;
            )*
        })?
        $(named {
            $(
                $(#[doc = $ndoc:literal])+
                $nkey:ident => $nfield:ident: $ntype:ty;
            )*
        })?
        $(plain {
            $(
                $(#[doc = $pdoc:literal])+
                $pfield:ident: $ptype:ty = $pdefault:expr;
            )*
        })?
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct $name {
            $(
                $(#[doc = $doc])+
                #[doc = concat!("\n\nKey: `", $crate::config::setting::dotted!($($key).+), "`. Default: `", stringify!($default), "`.")]
                pub $field: $type,
            )*
            $($(
                $(#[doc = $gdoc])+
                pub $gfield: $gtype,
            )*)?
            $($(
                $(#[doc = $ndoc])+
                pub $nfield: std::collections::BTreeMap<String, $ntype>,
            )*)?
            $($(
                $(#[doc = $pdoc])+
                pub $pfield: $ptype,
            )*)?
        }

        impl Default for $name {
            fn default() -> Self {
                Self {
                    $($field: $default,)*
                    $($($gfield: Default::default(),)*)?
                    $($($nfield: Default::default(),)*)?
                    $($($pfield: $pdefault,)*)?
                }
            }
        }

        impl $crate::config::Settings for $name {
            #[allow(unused_variables)]
            fn describe(at: &[&'static str], all: &mut Vec<$crate::config::Setting>) {
                let default = Self::default();
                $(
                    all.push($crate::config::setting::declare::<$crate::config::value::$kind>(
                        at,
                        &[$(stringify!($key)),+],
                        &[$($doc),+],
                        $crate::config::setting::is_live!($change),
                        &default.$field,
                    ));
                )*
                $($(
                    <$gtype as $crate::config::Settings>::describe(&[at, &[stringify!($gkey)]].concat(), all);
                )*)?
                $($(
                    <$ntype as $crate::config::Settings>::describe(&[at, &[stringify!($nkey), "*"]].concat(), all);
                )*)?
            }

            #[allow(unused_variables)]
            fn set(
                &mut self,
                path: &[&str],
                value: &$crate::config::Raw,
            ) -> Result<(), $crate::config::SettingError> {
                $(
                    if path == [$(stringify!($key)),+] {
                        return $crate::config::setting::assign::<$crate::config::value::$kind>(&mut self.$field, value);
                    }
                )*
                $($(
                    if let [stringify!($gkey), rest @ ..] = path {
                        return self.$gfield.set(rest, value);
                    }
                )*)?
                $($(
                    if let [stringify!($nkey), name, rest @ ..] = path {
                        return self.$nfield.entry((*name).to_owned()).or_default().set(rest, value);
                    }
                )*)?
                Err($crate::config::SettingError::Unknown)
            }

            #[allow(unused_variables)]
            fn name(&mut self, path: &[&str]) {
                $($(
                    if let [stringify!($nkey), name] = path {
                        self.$nfield.entry((*name).to_owned()).or_default();
                    }
                )*)?
            }

            #[allow(unused_variables)]
            fn fixed(&self, new: &Self, at: &[&'static str], keys: &mut Vec<String>) {
                $(
                    if !$crate::config::setting::is_live!($change) && self.$field != new.$field {
                        keys.push([at, &[$(stringify!($key)),+]].concat().join("."));
                    }
                )*
                $($(
                    self.$gfield.fixed(&new.$gfield, &[at, &[stringify!($gkey)]].concat(), keys);
                )*)?
            }
        }
    };
}

/// `a.b` for the tokens `a . b`, without the blanks.
macro_rules! dotted {
    ($first:ident $(. $rest:ident)*) => {
        concat!(stringify!($first) $(, ".", stringify!($rest))*)
    };
}

pub(super) use {dotted, is_live, settings};
