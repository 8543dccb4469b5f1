//! Closed files: their names, and which of them go.
//!
//! `otlp.json` becomes `otlp-2026-01-31T23-59-59.000.json` (UTC, when it was closed), as the Collector names it. A number
//! follows if that name is taken.

use crate::config::Rotation;
use crate::writer::FileError;
use std::fs;
use std::path::{Path, PathBuf};

const DAY_NANOS: u64 = 86_400 * 1_000_000_000;
/// Two files of one millisecond are rare; this many are a mistake elsewhere.
const SAME_NAME: u32 = 1000;
const TIMESTAMP: &str = "dddd-dd-ddTdd-dd-dd.ddd";

/// Renames a full file and deletes old ones.
pub(crate) fn rotate(path: &Path, settings: &Rotation, now: u64) -> Result<(), FileError> {
    let name = free_name(path, now)
        .ok_or_else(|| FileError::new(path, "find a free name for the closed file", already_there()))?;
    fs::rename(path, &name).map_err(|e| FileError::new(path, "rename", e))?;
    prune(path, settings, now);
    Ok(())
}

fn already_there() -> std::io::Error {
    std::io::ErrorKind::AlreadyExists.into()
}

/// What stands before and after the timestamp in the name of a closed file.
fn parts(path: &Path) -> (String, String) {
    let text = |part: Option<&std::ffi::OsStr>| part.map(|p| p.to_string_lossy().into_owned());
    let extension = text(path.extension()).map_or(String::new(), |e| format!(".{e}"));
    (format!("{}-", text(path.file_stem()).unwrap_or_default()), extension)
}

fn free_name(path: &Path, now: u64) -> Option<PathBuf> {
    let (before, after) = parts(path);
    let time = timestamp(now);
    (0..SAME_NAME)
        .map(|n| if n == 0 { String::new() } else { format!("-{n:03}") })
        .map(|number| path.with_file_name(format!("{before}{time}{number}{after}")))
        // A dangling link is a name that is taken, too.
        .find(|name| fs::symlink_metadata(name).is_err())
}

/// Deletes what is over the number and the age to keep. A file whose name is not exactly ours is never touched.
fn prune(path: &Path, settings: &Rotation, now: u64) {
    let directory = path.parent().filter(|d| !d.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let Ok(entries) = fs::read_dir(directory) else { return };
    let (before, after) = parts(path);
    let mut closed: Vec<String> = entries
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| is_closed(name, &before, &after))
        .collect();
    // Timestamps sort as their times do, and one with a number is later than that without; the newest come first.
    closed.sort_by(|a, b| b.trim_end_matches(&after).cmp(a.trim_end_matches(&after)));
    let oldest = timestamp(now.saturating_sub(settings.max_days.saturating_mul(DAY_NANOS)));
    for (position, name) in closed.iter().enumerate() {
        let too_many = settings.max_backups > 0 && position >= settings.max_backups;
        let time = name.get(before.len()..before.len() + TIMESTAMP.len()).unwrap_or_default();
        let too_old = settings.max_days > 0 && time < oldest.as_str();
        if too_many || too_old {
            let file = directory.join(name);
            match fs::remove_file(&file) {
                Ok(()) => tracing::info!(path = %file.display(), "deleted a closed file"),
                Err(error) => tracing::warn!(path = %file.display(), %error, "cannot delete a closed file"),
            }
        }
    }
}

fn is_closed(name: &str, before: &str, after: &str) -> bool {
    let Some(middle) = name.strip_prefix(before).and_then(|rest| rest.strip_suffix(after)) else {
        return false;
    };
    let Some((time, number)) = middle.split_at_checked(TIMESTAMP.len()) else { return false };
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    let fits = |(shape, byte): (u8, u8)| if shape == b'd' { byte.is_ascii_digit() } else { shape == byte };
    let numbered = number.strip_prefix('-').is_some_and(|n| n.len() == 3 && digits(n));
    TIMESTAMP.bytes().zip(time.bytes()).all(fits) && (number.is_empty() || numbered)
}

/// `2026-01-31T23-59-59.000`, in UTC.
fn timestamp(unix_nanos: u64) -> String {
    let millis = unix_nanos / 1_000_000;
    let (seconds, millis) = (millis / 1000, millis % 1000);
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = date(days);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}-{minute:02}-{second:02}.{millis:03}")
}

/// The date so many days after 1970-01-01, in the Gregorian calendar.
fn date(days: u64) -> (u64, u64, u64) {
    // Years that begin in March have their leap day at the end; 1970-01-01 is day 719468 of the year 0.
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let (day, march) = (day - (153 * month + 2) / 5 + 1, month);
    let month = if march < 10 { march + 3 } else { march - 9 };
    (year + era * 400 + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_file_is_named_by_the_time_of_its_closing() {
        // `date -u -d @N` says so.
        for (seconds, text) in [
            (0, "1970-01-01T00-00-00.000"),
            (951_782_399, "2000-02-28T23-59-59.000"),
            (951_782_400, "2000-02-29T00-00-00.000"),
            (1_709_164_800, "2024-02-29T00-00-00.000"),
            (1_767_225_599, "2025-12-31T23-59-59.000"),
            (4_107_542_400, "2100-03-01T00-00-00.000"),
        ] {
            assert_eq!(timestamp(seconds * 1_000_000_000), text);
        }
        assert_eq!(timestamp(1_767_225_600_123_999_999), "2026-01-01T00-00-00.123");
        assert_eq!(TIMESTAMP.len(), timestamp(0).len());
    }

    #[test]
    fn only_names_of_closed_files_are_ours() {
        let is = |name| is_closed(name, "otlp-", ".json");
        assert!(is("otlp-2026-01-01T00-00-00.000.json"));
        assert!(is("otlp-2026-01-01T00-00-00.000-001.json"));
        for other in [
            "otlp.json",
            "otlp-2026.json",
            "otlp-notes.json",
            "otlp-2026-01-01T00-00-00.000.json.gz",
            "otlp-2026-01-01T00-00-00.000-old.json",
            "otlp-2026-01-01T00-00-00.000-1.json",
            "otlp-éééé-01-01T00-00-00.000.json",
        ] {
            assert!(!is(other), "{other}");
        }
    }
}
