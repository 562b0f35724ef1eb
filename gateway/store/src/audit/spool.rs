//! What cannot be written now waits on disk: segments of one authenticated line an entry, synced before
//! anybody relies on them, removed once all of a segment is in the database. A segment that is being
//! written is locked, so that replicas may share the directory. All calls here block.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use uuid::Uuid;

use super::chain::ChainKey;
use super::row::Entry;

/// A segment is closed at this size.
const SEGMENT: u64 = 8 << 20;
/// Length of the authentication code in front of a line.
const MAC: usize = 43;

/// See the head of this file.
pub(super) struct Spool {
    dir: PathBuf,
    replica: Uuid,
    key: ChainKey,
    limit: u64,
    bytes: AtomicU64,
    /// The last attempt to write failed.
    failing: AtomicBool,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    segment: Option<Writing>,
    made: u64,
}

/// The segment that is being written.
struct Writing {
    path: PathBuf,
    file: File,
    size: u64,
}

impl Writing {
    /// All of it or nothing: what a full disk took half of is taken back, or each attempt would leave a file.
    fn append(&mut self, text: &[u8]) -> io::Result<()> {
        let done = self.file.write_all(text).and_then(|()| self.file.sync_data());
        if done.is_ok() {
            self.size += text.len() as u64;
        } else if self.size == 0 {
            // Should these fail, too: a torn line is skipped when read back, and what is there twice counts once.
            let _ = fs::remove_file(&self.path);
        } else {
            let _ = self.file.set_len(self.size);
        }
        done
    }
}

/// One segment, read back. Locked until dropped.
pub(super) struct Segment {
    path: PathBuf,
    file: File,
    /// What is in it.
    pub(super) entries: Vec<Entry>,
    /// Lines that are not ours or were damaged, beyond a torn last one.
    pub(super) damaged: usize,
}

impl Spool {
    /// Makes the directory, readable by us alone.
    pub(super) fn open(dir: &Path, replica: Uuid, key: ChainKey, limit: u64) -> io::Result<Spool> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        let spool = Spool {
            dir: dir.to_owned(),
            replica,
            key,
            limit,
            bytes: AtomicU64::new(0),
            failing: AtomicBool::new(false),
            open: Mutex::new(Open::default()),
        };
        spool.measure()?;
        Ok(spool)
    }

    /// Bytes on disk that are ours to bring back.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// False while the disk takes nothing.
    pub(super) fn is_writable(&self) -> bool {
        !self.failing.load(Ordering::Relaxed)
    }

    /// Appends all entries and syncs once; returns those that the limit left out. Events that conclude a
    /// call may fill the last quarter, others not.
    pub(super) fn append<'a>(
        &self,
        entries: impl IntoIterator<Item = &'a Entry>,
    ) -> io::Result<Vec<&'a Entry>> {
        let mut text = Vec::new();
        let mut left_out = Vec::new();
        for entry in entries {
            let used = self.bytes() + text.len() as u64;
            let concludes = match entry {
                Entry::Event { row, .. } => row.concludes,
                Entry::Intent { .. } => true,
            };
            if used >= if concludes { self.limit } else { self.limit / 4 * 3 } {
                left_out.push(entry);
            } else {
                self.line(entry, &mut text)?;
            }
        }
        let written = self.write(&text);
        self.failing.store(written.is_err(), Ordering::Relaxed);
        written.map(|()| left_out)
    }

    fn line(&self, entry: &Entry, text: &mut Vec<u8>) -> io::Result<()> {
        let json = serde_json::to_vec(entry)?;
        let mac = self.key.mac(&[b"spool/", &json]);
        text.extend_from_slice(STANDARD_NO_PAD.encode(mac).as_bytes());
        text.push(b' ');
        text.extend_from_slice(&json);
        text.push(b'\n');
        Ok(())
    }

    fn write(&self, text: &[u8]) -> io::Result<()> {
        if text.is_empty() {
            return Ok(());
        }
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let mut segment = match open.segment.take() {
            Some(segment) => segment,
            None => self.new_segment(&mut open.made)?,
        };
        // After an error the segment is closed: nobody knows what of it the disk has.
        segment.append(text)?;
        self.bytes.fetch_add(text.len() as u64, Ordering::Relaxed);
        if segment.size < SEGMENT {
            open.segment = Some(segment);
        }
        Ok(())
    }

    fn new_segment(&self, made: &mut u64) -> io::Result<Writing> {
        *made += 1;
        let path = self.dir.join(format!("{}-{made:08}.spool", self.replica));
        let file = OpenOptions::new().append(true).create_new(true).mode(0o600).open(&path)?;
        file.lock()?;
        File::open(&self.dir)?.sync_all()?;
        Ok(Writing { path, file, size: 0 })
    }

    /// Closes the segment that is being written, so that it can be read back.
    pub(super) fn seal(&self) {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).segment = None;
    }

    /// Segments that may hold something, oldest first; includes those that others still write.
    pub(super) fn segments(&self) -> io::Result<Vec<PathBuf>> {
        let mut found = Vec::new();
        for file in fs::read_dir(&self.dir)? {
            let path = file?.path();
            if path.extension().is_some_and(|extension| extension == "spool") {
                found.push((fs::metadata(&path).and_then(|m| m.modified()).ok(), path));
            }
        }
        found.sort();
        Ok(found.into_iter().map(|(_, path)| path).collect())
    }

    /// Reads a segment; `None` while somebody else has it.
    pub(super) fn read(&self, path: &Path) -> io::Result<Option<Segment>> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        // Whoever had the lock may have removed it meanwhile.
        if !path.exists() {
            return Ok(None);
        }
        let text = fs::read(path)?;
        let mut segment = Segment { path: path.to_owned(), file, entries: Vec::new(), damaged: 0 };
        for line in text.split_inclusive(|byte| *byte == b'\n') {
            match line.split_last() {
                Some((b'\n', whole)) => match self.parse(whole) {
                    Some(entry) => segment.entries.push(entry),
                    None => segment.damaged += 1,
                },
                // Torn by a crash: nobody was told that it is safe.
                _ => break,
            }
        }
        Ok(Some(segment))
    }

    fn parse(&self, line: &[u8]) -> Option<Entry> {
        let (mac, json) = line.split_at_checked(MAC)?;
        let json = json.strip_prefix(b" ")?;
        let mac = STANDARD_NO_PAD.decode(mac).ok()?;
        let expected = self.key.mac(&[b"spool/", json]);
        if mac != expected {
            return None;
        }
        serde_json::from_slice(json).ok()
    }

    /// All of it is in the database: away with it. A damaged one is kept under another name.
    pub(super) fn done(&self, segment: Segment) -> io::Result<()> {
        if segment.damaged > 0 {
            fs::rename(&segment.path, segment.path.with_extension("damaged"))?;
        } else {
            fs::remove_file(&segment.path)?;
        }
        drop(segment.file);
        self.measure()
    }

    /// Counts what is ours: what we write, and what nobody writes any more.
    fn measure(&self) -> io::Result<()> {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let mut bytes = open.segment.as_ref().map_or(0, |segment| segment.size);
        for path in self.segments()? {
            let Ok(file) = File::open(&path) else { continue };
            if file.try_lock().is_ok() {
                bytes += file.metadata().map_or(0, |found| found.len());
            }
        }
        self.bytes.store(bytes, Ordering::Relaxed);
        Ok(())
    }
}
