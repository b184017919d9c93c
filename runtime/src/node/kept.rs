//! What definitions are compiled to, kept while they are in use.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

/// Entries kept; beyond that all are forgotten and compiled again as they are used.
const KEPT: usize = 4_096;

/// Compiled things by what they were compiled from.
#[derive(Debug)]
pub(crate) struct Kept<K, V>(Mutex<HashMap<K, Arc<V>>>);

impl<K, V> Default for Kept<K, V> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Hash + Eq, V> Kept<K, V> {
    /// What `key` was compiled to; compiled now if it is not there. Two at once may both compile it.
    pub(crate) fn get<Q>(&self, key: &Q, compile: impl FnOnce() -> V) -> Arc<V>
    where
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
        K: Borrow<Q>,
    {
        if let Some(known) = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(key) {
            return known.clone();
        }
        let compiled = Arc::new(compile());
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= KEPT {
            all.clear();
        }
        all.insert(key.to_owned(), compiled.clone());
        compiled
    }
}

#[cfg(test)]
mod tests {
    use super::{KEPT, Kept};

    #[test]
    fn each_is_compiled_once_while_there_is_room() {
        let kept: Kept<String, usize> = Kept::default();
        assert_eq!((*kept.get("a", || 1), *kept.get("a", || 2)), (1, 1));
        for number in 0..KEPT {
            kept.get(format!("{number}").as_str(), || number);
        }
        assert_eq!(*kept.get("a", || 3), 3, "the room is bounded");
    }
}
