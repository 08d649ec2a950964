//! Things that are found by a number.

use std::mem;

/// A list in which the number of one that has left goes to the next that comes.
#[derive(Debug)]
pub(crate) struct Slots<T> {
    all: Vec<T>,
    free: Vec<u32>,
}

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Self {
            all: Vec::new(),
            free: Vec::new(),
        }
    }
}

impl<T: Default> Slots<T> {
    /// Puts one in; its number.
    pub(crate) fn insert(&mut self, value: T) -> u32 {
        match self.free.pop() {
            Some(number) => {
                self.all[number as usize] = value;
                number
            }
            None => {
                self.all.push(value);
                (self.all.len() - 1) as u32
            }
        }
    }

    /// Puts another in the place of one that is there.
    pub(crate) fn set(&mut self, number: u32, value: T) {
        self.all[number as usize] = value;
    }

    /// Takes one out, whose number is still in use.
    pub(crate) fn take(&mut self, number: u32) -> T {
        mem::take(&mut self.all[number as usize])
    }

    /// Gives a number back. After a crowd, the place for it is given back.
    pub(crate) fn remove(&mut self, number: u32) {
        self.set(number, T::default());
        self.free.push(number);
        if self.is_empty() {
            *self = Self::default();
        }
    }

    /// What has a number.
    pub(crate) fn get(&self, number: usize) -> Option<&T> {
        self.all.get(number)
    }

    /// In the order of their numbers, with nothing behind those that are not in use.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.all.iter()
    }

    /// Places, those of numbers that are not in use included.
    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }

    /// Numbers that are in use.
    pub(crate) fn count(&self) -> usize {
        self.len() - self.free.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.count() == 0
    }
}
