//! What all connections of one runtime share.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::runtime::{Handle, Id};

/// One value for each runtime, as long as somebody keeps it: a task of that runtime, mostly.
pub(crate) struct PerRuntime<T>(Mutex<Vec<(Id, Weak<T>)>>);

impl<T> PerRuntime<T> {
    pub(crate) const fn new() -> Self {
        Self(Mutex::new(Vec::new()))
    }

    /// That of the runtime that runs this; `None` outside of one, or if none can be made.
    pub(crate) fn get(&self, make: impl FnOnce(&Handle) -> Option<Arc<T>>) -> Option<Arc<T>> {
        let runtime = Handle::try_current().ok()?;
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = all.iter().find(|(id, _)| *id == runtime.id());
        if let Some(value) = known.and_then(|(_, value)| value.upgrade()) {
            return Some(value);
        }
        all.retain(|(_, value)| value.strong_count() > 0);
        let value = make(&runtime)?;
        all.push((runtime.id(), Arc::downgrade(&value)));
        Some(value)
    }
}
