//! Names of regions, each held once however many reports it stands in, and no longer than any.

use std::collections::BTreeSet;
use std::sync::Arc;

/// Names that are held before it is looked for the first time which of them nobody needs.
const FEW: usize = 64;

/// Names that are in use, and at most as many again that were.
#[derive(Clone, Debug, Default)]
pub(super) struct Names {
    all: BTreeSet<Arc<str>>,
    /// How many were in use when that was looked for last.
    used: usize,
}

impl Names {
    /// The one copy of a name.
    pub(super) fn of(&mut self, name: &str) -> Arc<str> {
        if let Some(known) = self.all.get(name) {
            return Arc::clone(known);
        }
        // Only once there are twice as many: so each name is looked at a few times in its life.
        if self.all.len() >= FEW.max(self.used * 2) {
            self.all.retain(|name| Arc::strong_count(name) > 1);
            self.used = self.all.len();
        }
        let name: Arc<str> = name.into();
        self.all.insert(Arc::clone(&name));
        name
    }

    /// How many are held.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_held_once_and_not_for_long_after_its_last_use() {
        let mut names = Names::default();
        let kept: Vec<Arc<str>> = (0..100).map(|n| names.of(&format!("kept-{n}"))).collect();
        assert!(Arc::ptr_eq(&kept[7], &names.of("kept-7")));
        for n in 0..10_000 {
            names.of(&format!("gone-{n}"));
        }
        assert!(names.len() <= 2 * kept.len(), "{}", names.len());
        assert!(kept.iter().all(|name| Arc::ptr_eq(name, &names.of(name))), "what is in use stays");
    }
}
