//! Locks.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Takes a lock, also if one that held it has panicked.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
