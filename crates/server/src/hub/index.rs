//! Who listens to what, found without asking every subscriber.

use std::collections::HashMap;
use std::sync::Arc;

use super::queue::Queue;
use crate::channel::{Channel, Filter, Pattern};

/// A subscriber's number, never used twice in a hub.
pub(super) type Id = u64;

type Subscribers = HashMap<Id, Arc<Queue>>;

/// Exact names in a map; patterns in a tree by segment, where a publication visits only what its
/// own segments and stars lead to.
#[derive(Debug, Default)]
pub(super) struct Index {
    exact: HashMap<Channel, Subscribers>,
    patterns: Node,
}

#[derive(Debug, Default)]
struct Node {
    /// By name of the next segment; `*` leads on under its own text, which no name has.
    next: HashMap<Box<str>, Node>,
    /// Those whose pattern ends here.
    here: Subscribers,
    /// Those whose pattern goes on with `**`.
    rest: Subscribers,
}

impl Index {
    pub(super) fn insert(&mut self, filter: &Filter, id: Id, queue: Arc<Queue>) {
        let subscribers = match filter {
            Filter::Exact(channel) => self.exact.entry(channel.clone()).or_default(),
            Filter::Pattern(pattern) => self.patterns.place(pattern),
        };
        subscribers.insert(id, queue);
    }

    pub(super) fn remove(&mut self, filter: &Filter, id: Id) {
        match filter {
            Filter::Exact(channel) => {
                if let Some(subscribers) = self.exact.get_mut(channel) {
                    subscribers.remove(&id);
                    if subscribers.is_empty() {
                        self.exact.remove(channel);
                    }
                }
            }
            Filter::Pattern(pattern) => {
                let segments: Vec<&str> = pattern.segments().collect();
                self.patterns.remove(&segments, id);
            }
        }
    }

    /// Calls `found` for each subscriber of `channel`, once each.
    pub(super) fn each(&self, channel: &Channel, mut found: impl FnMut(Id, &Arc<Queue>)) {
        for (&id, queue) in self.exact.get(channel).into_iter().flatten() {
            found(id, queue);
        }
        if !self.patterns.is_empty() {
            let segments: Vec<&str> = channel.segments().collect();
            self.patterns.each(&segments, &mut found);
        }
    }

    /// Calls `found` for each subscriber.
    pub(super) fn all(&self, mut found: impl FnMut(&Arc<Queue>)) {
        for queue in self.exact.values().flat_map(Subscribers::values) {
            found(queue);
        }
        self.patterns.all(&mut found);
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.patterns.is_empty()
    }
}

impl Node {
    /// Where the subscribers of `pattern` are kept.
    fn place(&mut self, pattern: &Pattern) -> &mut Subscribers {
        let mut node = self;
        for segment in pattern.segments() {
            if segment == "**" {
                return &mut node.rest;
            }
            node = node.next.entry(segment.into()).or_default();
        }
        &mut node.here
    }

    fn remove(&mut self, segments: &[&str], id: Id) {
        match segments {
            [] => {
                self.here.remove(&id);
            }
            ["**"] => {
                self.rest.remove(&id);
            }
            [first, others @ ..] => {
                if let Some(next) = self.next.get_mut(*first) {
                    next.remove(others, id);
                    if next.is_empty() {
                        self.next.remove(*first);
                    }
                }
            }
        }
    }

    fn all(&self, found: &mut impl FnMut(&Arc<Queue>)) {
        let subscribers = [&self.here, &self.rest].into_iter();
        subscribers
            .flat_map(Subscribers::values)
            .for_each(&mut *found);
        for node in self.next.values() {
            node.all(found);
        }
    }

    fn each(&self, segments: &[&str], found: &mut impl FnMut(Id, &Arc<Queue>)) {
        let Some((first, others)) = segments.split_first() else {
            for (&id, queue) in &self.here {
                found(id, queue);
            }
            return;
        };
        for (&id, queue) in &self.rest {
            found(id, queue);
        }
        for step in [*first, "*"] {
            if let Some(next) = self.next.get(step) {
                next.each(others, found);
            }
        }
    }

    fn is_empty(&self) -> bool {
        self.next.is_empty() && self.here.is_empty() && self.rest.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        for (id, filter) in (0..).zip(&filters) {
            index.insert(filter, id, Arc::new(Queue::new(1)));
        }
        for channel in CHANNELS.map(|name| name.parse::<Channel>().unwrap()) {
            let mut found = Vec::new();
            index.each(&channel, |id, _| found.push(id));
            found.sort_unstable();
            let wanted: Vec<Id> = (0..)
                .zip(&filters)
                .filter(|(_, f)| f.matches(&channel))
                .map(|(id, _)| id)
                .collect();
            assert_eq!(found, wanted, "{channel}");
        }
    }

    #[test]
    fn nothing_is_left_of_those_who_go() {
        let filters = filters();
        let mut index = Index::default();
        for (id, filter) in (0..).zip(filters.iter().chain(&filters)) {
            index.insert(filter, id, Arc::new(Queue::new(1)));
        }
        for (id, filter) in (0..).zip(filters.iter().chain(&filters)) {
            assert!(!index.is_empty());
            index.remove(filter, id);
            index.remove(filter, id);
        }
        assert!(index.is_empty());
    }
}
