//! Log files of the processes: appended to, bounded at each start, and quoted in errors.

use std::{
    fs::{self, File, OpenOptions},
    io::{Read, Seek, SeekFrom},
    path::Path,
};

use crate::error::{Error, Result};

/// A log longer than this is set aside (as `NAME.1`, one generation) before the next start.
const ROTATE_BYTES: u64 = 8 << 20;
/// How many last lines an error quotes.
const TAIL_LINES: usize = 20;
/// How much of a log's end is read for that.
const TAIL_BYTES: u64 = 16 << 10;

/// Opens a log for appending and returns its length before this start.
pub(crate) fn open(path: &Path) -> Result<(File, u64)> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(Error::file("create", folder))?;
    }
    if fs::metadata(path).is_ok_and(|meta| meta.len() > ROTATE_BYTES) {
        let mut aside = path.as_os_str().to_owned();
        aside.push(".1");
        fs::rename(path, &aside).map_err(Error::file("rename", path))?;
    }
    let file = OpenOptions::new().create(true).append(true).open(path).map_err(Error::file("open", path))?;
    let length = file.metadata().map_err(Error::file("read", path))?.len();
    Ok((file, length))
}

/// The last lines that were written after `start`.
pub(crate) fn tail(path: &Path, start: u64) -> String {
    let read = || -> std::io::Result<String> {
        let mut file = File::open(path)?;
        let from = start.max(file.metadata()?.len().saturating_sub(TAIL_BYTES));
        file.seek(SeekFrom::Start(from))?;
        let mut bytes = Vec::new();
        file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
        Ok(last_lines(&String::from_utf8_lossy(&bytes)))
    };
    match read() {
        Ok(text) if text.is_empty() => "(nothing was logged)".to_owned(),
        Ok(text) => text,
        Err(error) => format!("(the log cannot be read: {error})"),
    }
}

/// The last lines of a text, for error messages.
pub(crate) fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_long_log_is_set_aside_and_a_short_one_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("server.log");
        fs::write(&path, "first run\n").unwrap();
        let (mut file, start) = open(&path).unwrap();
        file.write_all(b"second run\n").unwrap();
        assert_eq!((start, tail(&path, start).as_str()), (10, "second run"));

        File::create(&path).unwrap().set_len(ROTATE_BYTES + 1).unwrap();
        let (_, start) = open(&path).unwrap();
        assert_eq!(start, 0);
        assert!(folder.path().join("server.log.1").exists());
    }

    #[test]
    fn only_the_last_lines_are_quoted() {
        let text: String = (0..100).map(|n| format!("line {n}\n\n")).collect();
        let tail = last_lines(&text);
        assert!(tail.starts_with("line 80\n") && tail.ends_with("line 99"));
    }
}
