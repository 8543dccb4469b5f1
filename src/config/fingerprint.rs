//! What was written for each component, as a number: equal numbers, equal configuration.

use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::LazyLock;

/// One for the process: the numbers are compared in memory alone, and tell nothing of a secret to who sees them.
static STATE: LazyLock<RandomState> = LazyLock::new(RandomState::new);

/// For each component of a whole configuration, under its path.
pub(super) fn of(root: &Map<String, Value>) -> BTreeMap<String, u64> {
    let mut found = BTreeMap::new();
    for section in ["receivers", "processors", "exporters"] {
        for (id, value) in root.get(section).and_then(Value::as_object).into_iter().flatten() {
            // Maps are sorted by their keys.
            found.insert(format!("{section}.{id}"), STATE.hash_one(value.to_string()));
        }
    }
    found
}
