//! A backlog that is set apart: two more cursors of a destination say where it stands and where it ends, and the cursor of
//! the destination goes on behind it, so that what comes in does not wait for it.
//!
//! The end is stored first, then the place, and then the cursor of the destination moves. A crash in between leaves an end
//! that means nothing, or a place from which everything up to the end is still to come.

use super::{BACKLOG, Tail, UNTIL};
use crate::pipeline::journal::Outbound;
use muxbridge_core::BuildError;
use muxbridge_seglog::{Error, Position, Start};
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

/// The cursor where the backlog of a destination stands.
pub(crate) fn backlog_of(id: &str) -> String {
    format!("{BACKLOG}{id}")
}

/// The cursor where it ends.
pub(crate) fn until_of(id: &str) -> String {
    format!("{UNTIL}{id}")
}

/// What is about to be set apart.
pub(crate) struct Mark {
    outbound: Arc<Outbound>,
    id: String,
    /// Everything before it is done.
    from: Position,
    until: Position,
}

impl Mark {
    /// Adds both cursors. Blocks.
    ///
    /// # Errors
    /// They cannot be stored. None is there then.
    pub(crate) fn store(&self) -> Result<(), Error> {
        let log = &self.outbound.stored.log;
        let stored = log
            .cursor(&until_of(&self.id), Start::At(self.until))
            .and_then(|_| log.cursor(&backlog_of(&self.id), Start::At(self.from)));
        if stored.is_err() {
            self.remove();
        }
        stored.map(drop)
    }

    /// Removes them: nothing is set apart.
    pub(crate) fn remove(&self) {
        self.outbound.remove_backlog(&self.id);
    }
}

impl Tail {
    /// The place of a destination, and that of a backlog that an earlier run set apart. A new one begins at the end.
    pub(crate) fn open(
        outbound: &Arc<Outbound>,
        id: &str,
        pipelines: BTreeSet<String>,
    ) -> Result<(Self, Option<Self>), BuildError> {
        let mut live = Tail::new(outbound, id, pipelines.clone())?;
        let log = &outbound.stored.log;
        let cursor = backlog_of(id);
        if log.cursors().iter().all(|status| status.name != cursor) {
            outbound.remove_backlog(id);
            return Ok((live, None));
        }
        // An end that is missing can be the place of the destination: then something comes twice.
        let until = log.cursor(&until_of(id), Start::At(live.done));
        let until = until.map_err(|e| BuildError::new(e.to_string()))?;
        // The last run may have ended before it moved on.
        live.skip_to(until);
        let mut backlog = Tail::new(outbound, &cursor, pipelines)?;
        backlog.limit(until);
        live.place = 1;
        if backlog.is_finished() {
            backlog.remove_backlog();
            return Ok((live, None));
        }
        Ok((live, Some(backlog)))
    }

    /// Everything that is not done now, as a backlog.
    pub(crate) fn mark(&self) -> Mark {
        let (outbound, id) = (Arc::clone(&self.outbound), self.cursor.clone());
        Mark { outbound, id, from: self.done, until: self.end() }
    }

    /// Keeps what `mark` says, for which it has the cursors, and returns the place of what comes after it. What is under way
    /// stays with this one. `None` if it has read more meanwhile: then there is no backlog worth the name.
    ///
    /// # Errors
    /// A cursor is gone.
    pub(crate) fn set_apart(&mut self, mark: &Mark) -> Result<Option<Tail>, Error> {
        let log = &self.outbound.stored.log;
        if self.read.lsn >= mark.until.lsn || self.limit.is_some() {
            return Ok(None);
        }
        let backlog = backlog_of(&self.cursor);
        let reader = log.reader(&self.cursor)?;
        log.advance(&backlog, self.done)?;
        log.advance(&self.cursor, mark.until)?;
        let live = Tail {
            place: self.place + 1,
            outbound: Arc::clone(&self.outbound),
            cursor: std::mem::replace(&mut self.cursor, backlog),
            pipelines: self.pipelines.clone(),
            before: self.before.clone(),
            limit: None,
            // Its cursor has moved, and it follows it.
            reader,
            read: mark.until,
            open: VecDeque::new(),
            first: 0,
            done: mark.until,
        };
        self.reader.follow(&self.cursor);
        self.limit(mark.until);
        Ok(Some(live))
    }

    /// Takes what has come in since as a part of the backlog that this one is, if nothing of it has been read from `live`.
    pub(crate) fn extend(&mut self, live: &mut Tail) -> bool {
        let (Some(id), Some(limit)) = (self.cursor.strip_prefix(BACKLOG), self.limit) else { return false };
        let end = live.end();
        if live.done != limit || live.read != limit || !live.open.is_empty() || end.lsn <= limit.lsn {
            return false;
        }
        let log = &self.outbound.stored.log;
        // The end first: with the place alone, a crash would lose what is between.
        if log.advance(&until_of(id), end).is_err() || log.advance(&live.cursor, end).is_err() {
            return false;
        }
        (live.done, live.read) = (end, end);
        self.limit(end);
        true
    }

    /// It was a backlog, and is finished.
    pub(crate) fn remove_backlog(self) {
        if let Some(id) = self.cursor.strip_prefix(BACKLOG) {
            self.outbound.remove_backlog(id);
        }
    }
}
