//! Namespaces: options of all channels below a prefix.

use std::collections::BTreeMap;
use std::time::Duration;

use super::setting::settings;
use crate::channel::Filter;

settings! {
    /// Options of the channels below one prefix.
    pub struct Namespace {
        /// Whether publications are compressed on WebSockets whose client can. One that listens by a
        /// pattern is sent compressed ones if all that the pattern may reach are to be. Where nothing is
        /// set, what `compression` says counts.
        compression = MaybeSwitch, live => compression: Option<bool> = None;
    }
    groups {
        /// What clients without credentials may do here.
        anonymous => anonymous: Anonymous;

        /// What listeners here are sent that are too slow for everything.
        slow => slow: Slow;

        /// What is kept here.
        history => history: History;
    }
}

settings! {
    /// What clients may do that bring no credentials. Where nothing is set, they may do all if the
    /// server listens on a loopback address and has no key, no token and no webhook, and nothing
    /// otherwise.
    pub struct Anonymous {
        /// Whether they may publish and delete.
        publish = MaybeSwitch, live => publish: Option<bool> = None;

        /// Whether they may listen, and read what is kept.
        subscribe = MaybeSwitch, live => subscribe: Option<bool> = None;
    }
}

settings! {
    /// What is kept of the publications of a namespace's channels. Where nothing is set, what
    /// [`HistoryLimits`](super::HistoryLimits) says counts, and its bounds on all channels together
    /// always do.
    pub struct History {
        /// Publications kept in a channel. `1` keeps the latest alone. `0` keeps none: a publication is
        /// for those who listen at that moment, and whoever comes back after it is told of the gap.
        count = MaybeNumber, live => count: Option<usize> = None;

        /// Bytes kept in a channel.
        bytes = MaybeSize, live => bytes: Option<usize> = None;

        /// Age up to which a publication is kept.
        age = MaybeTime, live => age: Option<Duration> = None;
    }
}

settings! {
    /// What listeners are sent that are too slow for everything. Where a namespace says nothing, what
    /// is set for all channels counts.
    pub struct Slow {
        /// `disconnect`: everything; past `limits.queue` the listener is let go, to come back with its
        /// cursor and get the rest. `latest`: of each channel, only the newest waits. `rate`: everyone
        /// is sent at most `rate` publications a second of each channel, the newest of those that came.
        policy = MaybePolicy, live => policy: Option<SlowPolicy> = None;

        /// Publications a second of each channel under the policy `rate`.
        rate = MaybeCount, live => rate: Option<usize> = None;
    }
}

/// What becomes of a listener that is too slow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SlowPolicy {
    /// It is let go.
    Disconnect,
    /// Only the newest of each channel waits for it.
    Latest,
    /// It is sent so many a second of each channel.
    Rate,
}

/// The namespace that `channel` is in: the one with the longest prefix that fits.
pub(crate) fn of<'a, T>(
    namespaces: &'a BTreeMap<String, T>,
    channel: &str,
) -> Option<(&'a str, &'a T)> {
    if namespaces.is_empty() {
        return None;
    }
    let mut prefix = channel;
    loop {
        if let Some((name, namespace)) = namespaces.get_key_value(prefix) {
            return Some((name, namespace));
        }
        prefix = prefix.rsplit_once('/')?.0;
    }
}

/// Every namespace that may have a channel of `filter`, and, as `None`, whether channels without one
/// may be among them. What is said of more namespaces than there are is on the safe side.
pub(crate) fn touched<'a, T>(
    namespaces: &'a BTreeMap<String, T>,
    filter: &Filter,
) -> Vec<Option<&'a T>> {
    let pattern = match filter {
        Filter::Exact(channel) => {
            return vec![of(namespaces, channel.as_str()).map(|(_, namespace)| namespace)];
        }
        Filter::Pattern(pattern) => pattern,
    };
    // All channels of a pattern begin with what stands before its first star.
    let fixed = pattern.prefix().trim_end_matches('/');
    let around = of(namespaces, fixed);
    let wanted: Vec<_> = pattern.segments().collect();
    // One above what all of them begin with has a longer one beside it, if any.
    let is_above = |name: &str| {
        let rest = fixed.strip_prefix(name);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    let below = namespaces
        .iter()
        .filter(|(name, _)| !is_above(name) && reaches(&wanted, name));
    let mut touched = vec![around.map(|(_, namespace)| namespace)];
    touched.extend(below.map(|(_, namespace)| Some(namespace)));
    touched
}

/// Whether a pattern may fit the channel `name`, or one below it.
fn reaches(pattern: &[&str], name: &str) -> bool {
    let mut wanted = pattern.iter();
    for segment in name.split('/') {
        match wanted.next() {
            Some(&"**") => return true,
            Some(&"*") => {}
            Some(&own) if own == segment => {}
            _ => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> BTreeMap<String, String> {
        names
            .iter()
            .map(|&name| (name.to_owned(), name.to_owned()))
            .collect()
    }

    #[test]
    fn the_longest_prefix_counts_and_ends_at_a_slash() {
        let all = names(&["flights", "flights/today"]);
        let of = |channel: &str| of(&all, channel).map(|(name, _)| name);
        assert_eq!(of("flights"), Some("flights"));
        assert_eq!(of("flights/UA1545"), Some("flights"));
        assert_eq!(of("flights/today/UA1545"), Some("flights/today"));
        assert_eq!(of("flightsim/x"), None);
        assert_eq!(of("gates"), None);
    }

    #[test]
    fn a_pattern_touches_all_namespaces_that_it_may_reach() {
        let all = names(&["flights", "flights/secret", "gates", "a/b/c"]);
        let touched = |filter: &str| -> Vec<_> {
            touched(&all, &filter.parse().unwrap())
                .into_iter()
                .map(|name| name.map(String::as_str))
                .collect()
        };
        assert_eq!(touched("flights/x"), [Some("flights")]);
        assert_eq!(
            touched("flights/*"),
            [Some("flights"), Some("flights/secret")]
        );
        assert_eq!(touched("flights/x/*"), [Some("flights")]);
        assert_eq!(touched("flights/secret/**"), [Some("flights/secret")]);
        assert_eq!(
            touched("**"),
            [
                None,
                Some("a/b/c"),
                Some("flights"),
                Some("flights/secret"),
                Some("gates")
            ]
        );
        assert_eq!(
            touched("*/secret"),
            [None, Some("flights"), Some("flights/secret"), Some("gates")]
        );
        assert_eq!(touched("*"), [None, Some("flights"), Some("gates")]);
        assert_eq!(touched("a/*"), [None]);
        assert_eq!(touched("a/b/*"), [None, Some("a/b/c")]);
    }
}
