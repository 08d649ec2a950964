//! Who listens to what, found without asking every subscriber.

use std::collections::HashMap;

use super::group::Group;
use crate::channel::{Channel, Filter, Pattern};

/// Exact names in a map; patterns in a tree by segment, where a publication visits only what its
/// own segments and stars lead to.
#[derive(Debug, Default)]
pub(super) struct Index {
    exact: HashMap<Channel, Group>,
    patterns: Node,
}

#[derive(Debug, Default)]
struct Node {
    /// By name of the next segment; `*` leads on under its own text, which no name has.
    next: HashMap<Box<str>, Node>,
    /// Those whose pattern ends here.
    here: Option<Box<Group>>,
    /// Those whose pattern goes on with `**`.
    rest: Option<Box<Group>>,
}

impl Index {
    /// Those who listen by `filter`, the first one included.
    pub(super) fn group(&mut self, filter: &Filter) -> &mut Group {
        let new = || Group::new(filter);
        match filter {
            Filter::Exact(channel) => self.exact.entry(channel.clone()).or_insert_with(new),
            Filter::Pattern(pattern) => {
                let place = self.patterns.place(pattern);
                place.get_or_insert_with(|| Box::new(new()))
            }
        }
    }

    /// Lets `act` change those who listen by `filter`, if there are any. Nothing is left of a group that is empty then.
    pub(super) fn change<T>(
        &mut self,
        filter: &Filter,
        act: impl FnOnce(&mut Group) -> T,
    ) -> Option<T> {
        match filter {
            Filter::Exact(channel) => {
                let group = self.exact.get_mut(channel)?;
                let done = act(group);
                if group.is_empty() {
                    self.exact.remove(channel);
                }
                Some(done)
            }
            Filter::Pattern(pattern) => {
                let segments: Vec<&str> = pattern.segments().collect();
                self.patterns.change(&segments, act)
            }
        }
    }

    /// Calls `found` for those who listen to `channel`, by each of their filters.
    pub(super) fn each(&mut self, channel: &Channel, mut found: impl FnMut(&mut Group)) {
        if let Some(group) = self.exact.get_mut(channel) {
            found(group);
        }
        if !self.patterns.is_empty() {
            let segments: Vec<&str> = channel.segments().collect();
            self.patterns.each(&segments, &mut found);
        }
    }

    /// Calls `found` for all there are.
    pub(super) fn all(&self, mut found: impl FnMut(&Group)) {
        self.exact.values().for_each(&mut found);
        self.patterns.all(&mut found);
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.patterns.is_empty()
    }
}

impl Node {
    /// Where the subscribers of `pattern` are kept.
    fn place(&mut self, pattern: &Pattern) -> &mut Option<Box<Group>> {
        let mut node = self;
        for segment in pattern.segments() {
            if segment == "**" {
                return &mut node.rest;
            }
            node = node.next.entry(segment.into()).or_default();
        }
        &mut node.here
    }

    fn change<T>(&mut self, segments: &[&str], act: impl FnOnce(&mut Group) -> T) -> Option<T> {
        let place = match segments {
            [] => &mut self.here,
            ["**"] => &mut self.rest,
            [first, others @ ..] => {
                let next = self.next.get_mut(*first)?;
                let done = next.change(others, act);
                if next.is_empty() {
                    self.next.remove(*first);
                }
                return done;
            }
        };
        let done = act(place.as_mut()?);
        place.take_if(|group| group.is_empty());
        Some(done)
    }

    fn each(&mut self, segments: &[&str], found: &mut impl FnMut(&mut Group)) {
        let Some((first, others)) = segments.split_first() else {
            self.here.as_deref_mut().into_iter().for_each(found);
            return;
        };
        self.rest.as_deref_mut().into_iter().for_each(&mut *found);
        for step in [*first, "*"] {
            if let Some(next) = self.next.get_mut(step) {
                next.each(others, found);
            }
        }
    }

    fn all(&self, found: &mut impl FnMut(&Group)) {
        let groups = [&self.here, &self.rest].into_iter().flatten();
        groups.for_each(|group| found(group));
        self.next.values().for_each(|node| node.all(found));
    }

    fn is_empty(&self) -> bool {
        self.next.is_empty() && self.here.is_none() && self.rest.is_none()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::hub::queue::Queue;

    const FILTERS: [&str; 12] = [
        "a", "a/b", "a/b/c", "*", "**", "a/*", "a/**", "*/b", "*/b/**", "a/*/c", "*/*", "b/**",
    ];
    const CHANNELS: [&str; 8] = [
        "a", "b", "a/b", "b/b", "a/b/c", "a/c/c", "c/b/a/d", "a/b/c/d",
    ];

    fn filters() -> Vec<Filter> {
        FILTERS.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn it_finds_exactly_those_whose_filter_matches() {
        let filters = filters();
        let mut index = Index::default();
        for filter in &filters {
            index.group(filter).insert(&Arc::new(Queue::new(None)));
        }
        let mut all = 0;
        index.all(|_| all += 1);
        assert_eq!(all, filters.len());
        for channel in CHANNELS.map(|name| name.parse::<Channel>().unwrap()) {
            let mut found = Vec::new();
            index.each(&channel, |group| found.push(group.filter().to_string()));
            found.sort_unstable();
            let wanted = filters.iter().filter(|filter| filter.matches(&channel));
            let mut wanted: Vec<_> = wanted.map(Filter::to_string).collect();
            wanted.sort_unstable();
            assert_eq!(found, wanted, "{channel}");
        }
    }

    #[test]
    fn nothing_is_left_of_those_who_go() {
        let filters = filters();
        let mut index = Index::default();
        let mut all = Vec::new();
        for filter in filters.iter().chain(&filters) {
            let queue = Arc::new(Queue::new(None));
            index.group(filter).insert(&queue);
            all.push((filter, queue));
        }
        for (filter, queue) in all {
            assert!(!index.is_empty());
            index.change(filter, |group| group.remove(&queue));
        }
        assert!(index.is_empty());
        assert!(index.change(&filters[0], |_| ()).is_none());
    }
}
