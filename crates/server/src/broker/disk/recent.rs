//! The publications of the last while, so that what is new is not read back from the disk.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::publication::Publication;

/// Bytes of publications that are kept in memory.
const BOUND: usize = 16 << 20;

/// The newest publications of all channels, in order.
#[derive(Debug, Default)]
pub(super) struct Recent {
    publications: VecDeque<Arc<Publication>>,
    weight: usize,
}

impl Recent {
    pub(super) fn push(&mut self, publication: Arc<Publication>) {
        self.weight += publication.weight();
        self.publications.push_back(publication);
        while self.weight > BOUND
            && let Some(first) = self.publications.pop_front()
        {
            self.weight -= first.weight();
        }
    }

    pub(super) fn get(&self, offset: u64) -> Option<Arc<Publication>> {
        let at = self
            .publications
            .binary_search_by_key(&offset, |publication| publication.offset());
        Some(Arc::clone(self.publications.get(at.ok()?)?))
    }
}
