//! Things side by side in memory, each found by a number that stays the same.

use std::ops::Range;

/// A dense list whose holes are filled again.
#[derive(Debug)]
pub(super) struct Slots<T> {
    all: Vec<Option<T>>,
    holes: Vec<u32>,
}

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Self {
            all: Vec::new(),
            holes: Vec::new(),
        }
    }
}

impl<T> Slots<T> {
    /// Puts one in; its number.
    pub(super) fn insert(&mut self, value: T) -> u32 {
        if let Some(number) = self.holes.pop()
            && let Some(hole) = self.all.get_mut(number as usize)
        {
            *hole = Some(value);
            return number;
        }
        if self.all.len() == self.all.capacity() {
            // Doubled, half of it could be empty for long.
            self.all.reserve_exact(self.all.len() / 8 + 1);
        }
        self.all.push(Some(value));
        (self.all.len() - 1) as u32
    }

    /// Takes one out. When none is left, the memory is given back.
    pub(super) fn remove(&mut self, number: u32) -> Option<T> {
        let value = self.all.get_mut(number as usize)?.take()?;
        self.holes.push(number);
        if self.is_empty() {
            *self = Self::default();
        }
        Some(value)
    }

    pub(super) fn get(&self, number: u32) -> Option<&T> {
        self.all.get(number as usize)?.as_ref()
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.all.len() - self.holes.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.count() == 0
    }

    /// One more than the greatest number that may be in use.
    pub(super) fn end(&self) -> u32 {
        self.all.len() as u32
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.all.iter().flatten()
    }

    /// Those of some numbers, with these.
    pub(super) fn range(&mut self, some: Range<u32>) -> impl Iterator<Item = (u32, &mut T)> {
        let end = (some.end as usize).min(self.all.len());
        let part = self.all.get_mut(some.start as usize..end);
        (some.start..)
            .zip(part.unwrap_or_default())
            .filter_map(|(number, slot)| Some((number, slot.as_mut()?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stay_and_holes_are_filled() {
        let mut slots = Slots::default();
        let numbers: Vec<u32> = (0..100).map(|value| slots.insert(value)).collect();
        assert_eq!(numbers, (0..100).collect::<Vec<_>>());
        assert_eq!(slots.remove(40), Some(40));
        assert_eq!(slots.remove(40), None);
        assert_eq!((slots.get(40), slots.get(41)), (None, Some(&41)));
        let part: Vec<u32> = slots.range(38..43).map(|(number, _)| number).collect();
        assert_eq!(part, [38, 39, 41, 42]);
        assert_eq!((slots.count(), slots.insert(7)), (99, 40));
        assert_eq!((slots.end(), slots.iter().count()), (100, 100));
    }

    #[test]
    fn a_list_that_is_empty_has_no_memory_and_one_in_use_little_to_spare() {
        let mut slots = Slots::default();
        for value in 0..1000_u32 {
            slots.insert(value);
            assert!(slots.all.capacity() <= slots.count() * 9 / 8 + 8);
        }
        for number in 0..1000 {
            slots.remove(number);
        }
        assert_eq!((slots.all.capacity(), slots.holes.capacity()), (0, 0));
    }
}
