//! Small notes that outlive the process: which alerts were given, events that still have to reach
//! somebody, what the policies have learned. A few rows, written beside the requests, never on their
//! way.
//!
//! In SQLite it is a table of the ledger's file, so that one backup holds both. Of one process: the
//! notes of two replicas do not meet.

use std::collections::BTreeMap;
use std::path::Path;

use parking_lot::Mutex;

use super::sqlite::NotesFile;
use super::usage::LedgerError;

/// One note. The topic says who reads it, the key is unique within it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// Whose it is.
    pub topic: &'static str,
    /// Which.
    pub key: String,
    /// What it says; its owner knows the form.
    pub text: String,
    /// When it was written, milliseconds since the Unix epoch.
    pub at_ms: i64,
}

/// The notes of this process. Every method blocks for as long as a disk takes: not for async code.
#[derive(Debug)]
pub struct Notebook {
    kept: Kept,
}

#[derive(Debug)]
enum Kept {
    Memory(Mutex<BTreeMap<(&'static str, String), Note>>),
    File(NotesFile),
}

impl Notebook {
    /// Notes that go with the process.
    #[must_use]
    pub fn memory() -> Self {
        Self {
            kept: Kept::Memory(Mutex::default()),
        }
    }

    /// Notes in the ledger's file at `path`.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn sqlite(path: &Path) -> Result<Self, LedgerError> {
        Ok(Self {
            kept: Kept::File(NotesFile::open(path)?),
        })
    }

    /// Writes `first` unless there is a note of its topic and key, and `others` together with it, in
    /// one step. False when it was there: nothing has changed then.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn claim(&self, first: &Note, others: &[Note]) -> Result<bool, LedgerError> {
        match &self.kept {
            Kept::Memory(notes) => {
                let mut notes = notes.lock();
                if notes.contains_key(&place(first)) {
                    return Ok(false);
                }
                for note in std::iter::once(first).chain(others) {
                    notes.insert(place(note), note.clone());
                }
                Ok(true)
            }
            Kept::File(file) => file.claim(first, others),
        }
    }

    /// Writes notes in one step, in the place of those that were there.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn put(&self, notes: &[Note]) -> Result<(), LedgerError> {
        match &self.kept {
            Kept::Memory(kept) => {
                let mut kept = kept.lock();
                for note in notes {
                    kept.insert(place(note), note.clone());
                }
                Ok(())
            }
            Kept::File(file) => file.put(notes),
        }
    }

    /// Every note of a topic, oldest first.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn all(&self, topic: &'static str) -> Result<Vec<Note>, LedgerError> {
        match &self.kept {
            Kept::Memory(kept) => {
                let kept = kept.lock();
                let of_topic = kept.values().filter(|note| note.topic == topic);
                let mut notes: Vec<Note> = of_topic.cloned().collect();
                notes.sort_by_key(|note| note.at_ms);
                Ok(notes)
            }
            Kept::File(file) => file.all(topic),
        }
    }

    /// Strikes a note out; none is fine.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn remove(&self, topic: &'static str, key: &str) -> Result<(), LedgerError> {
        match &self.kept {
            Kept::Memory(kept) => {
                kept.lock().remove(&(topic, key.to_owned()));
                Ok(())
            }
            Kept::File(file) => file.remove(topic, key),
        }
    }

    /// Strikes out what a topic has from before an instant.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn forget(&self, topic: &'static str, before_ms: i64) -> Result<(), LedgerError> {
        match &self.kept {
            Kept::Memory(kept) => {
                kept.lock()
                    .retain(|_, note| note.topic != topic || note.at_ms >= before_ms);
                Ok(())
            }
            Kept::File(file) => file.forget(topic, before_ms),
        }
    }
}

fn place(note: &Note) -> (&'static str, String) {
    (note.topic, note.key.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(topic: &'static str, key: &str, text: &str, at_ms: i64) -> Note {
        Note {
            topic,
            key: key.to_owned(),
            text: text.to_owned(),
            at_ms,
        }
    }

    fn check(book: &Notebook) {
        let marker = note("seen", "a", "", 1);
        let event = note("out", "evt_1", "{}", 1);
        assert!(
            book.claim(&marker, std::slice::from_ref(&event))
                .expect("written")
        );
        let later = note("out", "evt_2", "{}", 2);
        assert!(!book.claim(&marker, &[later]).expect("read"));
        assert_eq!(book.all("out").expect("read"), [event]);
        book.put(&[note("out", "evt_1", "new", 5), note("out", "evt_0", "", 3)])
            .expect("written");
        let texts: Vec<String> = book
            .all("out")
            .expect("read")
            .into_iter()
            .map(|note| note.text)
            .collect();
        assert_eq!(texts, ["", "new"]);
        book.remove("out", "evt_0").expect("written");
        book.forget("out", 5).expect("written");
        assert_eq!(book.all("out").expect("read").len(), 1);
        book.forget("out", 6).expect("written");
        assert_eq!(book.all("out").expect("read"), []);
        assert_eq!(book.all("seen").expect("read"), [marker]);
    }

    #[test]
    fn memory_and_file_keep_the_same_notes() {
        check(&Notebook::memory());
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("t.db");
        check(&Notebook::sqlite(&path).expect("opened"));
        let again = Notebook::sqlite(&path).expect("opened");
        assert_eq!(again.all("seen").expect("read").len(), 1);
    }
}
