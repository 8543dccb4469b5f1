//! What an exporter would send, as text for people.

use std::collections::BTreeMap;

/// What an exporter would send for some batches, and what it would leave out and change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Preview {
    /// Requests one after another, in the form that a person reads: each is a line, or lines if that is what is sent.
    pub text: String,
    /// Items that would be left out, by reason: what counts in [`DROPPED`](crate::names::DROPPED) when it is sent.
    pub dropped: BTreeMap<String, u64>,
    /// Changes to fit the destination, by reason: what counts in [`ADJUSTED`](crate::names::ADJUSTED) when it is sent.
    pub adjusted: BTreeMap<String, u64>,
}

impl Preview {
    /// Adds a line, and ends it.
    pub fn line(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }

    /// Adds counts of items left out, without those that are zero.
    pub fn dropped<'r>(&mut self, counts: impl IntoIterator<Item = (&'r str, u64)>) {
        add(&mut self.dropped, counts);
    }

    /// Adds counts of changes, without those that are zero.
    pub fn adjusted<'r>(&mut self, counts: impl IntoIterator<Item = (&'r str, u64)>) {
        add(&mut self.adjusted, counts);
    }
}

fn add<'r>(map: &mut BTreeMap<String, u64>, counts: impl IntoIterator<Item = (&'r str, u64)>) {
    for (reason, n) in counts.into_iter().filter(|(_, n)| *n > 0) {
        *map.entry(reason.to_owned()).or_default() += n;
    }
}
