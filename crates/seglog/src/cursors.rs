//! Where each reader stands, stored in two files that are written in turn.

use crate::format::{Position, u32_at, u64_at};
use crate::options::Error;
use crate::vfs::{Mode, Vfs, VfsFile, read_full, write_all};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const MAGIC: [u8; 8] = *b"MUXCURS\n";
const NAMES: [&str; 2] = ["cursors.0", "cursors.1"];
/// Reserved for each file, so that a full disk does not stop cursors.
const FILE_BYTES: usize = 64 << 10;
const FIXED: usize = 32;
/// Longest name, in bytes.
pub(crate) const MAX_NAME: usize = 128;

pub(crate) type Positions = BTreeMap<String, Position>;

#[derive(Debug, Default)]
struct Slot {
    file: Option<Arc<dyn VfsFile>>,
    /// 0: nothing valid.
    generation: u64,
    positions: Positions,
}

/// The two files. The newer valid one counts; the other is the fallback.
#[derive(Debug)]
pub(crate) struct CursorFiles {
    vfs: Arc<dyn Vfs>,
    dir: PathBuf,
    slots: [Slot; 2],
    generation: u64,
}

impl CursorFiles {
    /// Reads both files. The flag says that there were cursors and none can be read.
    pub(crate) fn open(vfs: Arc<dyn Vfs>, dir: PathBuf) -> (Self, bool) {
        let (mut valid, mut damaged) = (false, false);
        let slots = NAMES.map(|name| {
            let Ok(file) = vfs.open(&dir.join(name), Mode::Write) else { return Slot::default() };
            let mut bytes = vec![0; FILE_BYTES];
            let read = read_full(&*file, &mut bytes, 0);
            match read.ok().and_then(|_| decode(&bytes)) {
                Some((generation, positions)) => {
                    valid = true;
                    Slot { file: Some(file), generation, positions }
                }
                None => {
                    damaged |= bytes.iter().any(|&b| b != 0);
                    Slot { file: Some(file), ..Slot::default() }
                }
            }
        });
        let generation = slots.iter().map(|s| s.generation).max().unwrap_or_default();
        (Self { vfs, dir, slots, generation }, damaged && !valid)
    }

    /// The newest positions on the disk, for one who only looks.
    pub(crate) fn read(vfs: &Arc<dyn Vfs>, dir: &Path) -> Positions {
        let found = NAMES.iter().filter_map(|name| {
            let file = vfs.open(&dir.join(name), Mode::Read).ok()?;
            let mut bytes = vec![0; FILE_BYTES];
            read_full(&*file, &mut bytes, 0).ok()?;
            decode(&bytes)
        });
        found.max_by_key(|(generation, _)| *generation).map(|(_, positions)| positions).unwrap_or_default()
    }

    /// The newest positions.
    pub(crate) fn latest(&self) -> Positions {
        self.slots.iter().max_by_key(|s| s.generation).map(|s| s.positions.clone()).unwrap_or_default()
    }

    /// The number below which neither file needs a record, for the cursors named. 0 if one of them is missing.
    pub(crate) fn floor<'a>(&self, mut names: impl Iterator<Item = &'a String>) -> u64 {
        let one = |name: &String| {
            let stored = |slot: &Slot| slot.positions.get(name).map_or(0, |p| p.lsn);
            self.slots.iter().filter(|s| s.generation > 0).map(stored).min().unwrap_or(0)
        };
        let first = names.next().map_or(0, one);
        names.map(one).fold(first, u64::min)
    }

    /// Stores the positions in the older file.
    pub(crate) fn store(&mut self, positions: Positions, sync: bool) -> Result<(), Error> {
        let older = usize::from(self.slots[1].generation < self.slots[0].generation);
        let generation = self.generation.saturating_add(1);
        let path = self.dir.join(NAMES[older]);
        let (vfs, dir) = (Arc::clone(&self.vfs), self.dir.clone());
        let slot = &mut self.slots[older];
        slot.generation = 0;
        let result = (|| -> io::Result<()> {
            let (file, fresh) = match slot.file.take() {
                Some(file) => (file, false),
                None => {
                    let _ = vfs.remove(&path);
                    let file = vfs.open(&path, Mode::Create)?;
                    file.allocate(FILE_BYTES as u64)?;
                    (file, true)
                }
            };
            write_all(&*file, &encode(generation, &positions), 0)?;
            if sync {
                file.sync_data()?;
                if fresh {
                    vfs.sync_dir(&dir)?;
                }
            }
            // After an error the file is not used again: nobody knows what of it is on the disk.
            slot.file = Some(file);
            Ok(())
        })();
        result.map_err(|error| Error::io("store cursors", path, error))?;
        slot.positions = positions;
        slot.generation = generation;
        self.generation = generation;
        Ok(())
    }
}

fn encode(generation: u64, positions: &Positions) -> Vec<u8> {
    let mut body = Vec::new();
    for (name, at) in positions {
        body.extend_from_slice(&(name.len() as u16).to_le_bytes());
        body.extend_from_slice(name.as_bytes());
        for number in [at.lsn, at.records, at.items] {
            body.extend_from_slice(&number.to_le_bytes());
        }
    }
    let mut out = MAGIC.to_vec();
    out.extend_from_slice(&u32::from(crate::format::VERSION).to_le_bytes());
    out.extend_from_slice(&(positions.len() as u32).to_le_bytes());
    out.extend_from_slice(&generation.to_le_bytes());
    out.extend_from_slice(&(body.len() as u32).to_le_bytes());
    let crc = crate::format::salted(generation, body.len() as u64, &[out.as_slice(), &body].concat());
    out.extend_from_slice(&crc.to_le_bytes());
    out.extend_from_slice(&body);
    out
}

fn decode(bytes: &[u8]) -> Option<(u64, Positions)> {
    if !bytes.starts_with(&MAGIC) || u32_at(bytes, 8)? != u32::from(crate::format::VERSION) {
        return None;
    }
    let (count, generation, len) = (u32_at(bytes, 12)?, u64_at(bytes, 16)?, u32_at(bytes, 24)?);
    let body = bytes.get(FIXED..FIXED.checked_add(len as usize)?)?;
    let head = bytes.get(..FIXED - 4)?;
    if u32_at(bytes, FIXED - 4)? != crate::format::salted(generation, u64::from(len), &[head, body].concat())
    {
        return None;
    }
    let (mut positions, mut at) = (Positions::new(), 0usize);
    for _ in 0..count {
        let len = usize::from(u16::from_le_bytes(body.get(at..at.checked_add(2)?)?.try_into().ok()?));
        let start = at.checked_add(2)?;
        let end = start.checked_add(len)?;
        let name = std::str::from_utf8(body.get(start..end)?).ok()?;
        let position = Position {
            lsn: u64_at(body, end)?,
            records: u64_at(body, end + 8)?,
            items: u64_at(body, end + 16)?,
        };
        positions.insert(name.to_owned(), position);
        at = end.checked_add(24)?;
    }
    Some((generation, positions))
}
