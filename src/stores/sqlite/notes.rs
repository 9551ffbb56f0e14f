//! The notebook's table in the ledger's file. It has its own connection, as feedback has: a note must
//! not wait for a batch.

use std::path::Path;

use parking_lot::Mutex;
use rusqlite::{Connection, Transaction, TransactionBehavior};

use super::{connect_to_write, refusal};
use crate::stores::notebook::Note;
use crate::stores::usage::LedgerError;

/// The notes of one file.
#[derive(Debug)]
pub(crate) struct NotesFile {
    path: Box<Path>,
    connection: Mutex<Connection>,
}

impl NotesFile {
    pub(crate) fn open(path: &Path) -> Result<Self, LedgerError> {
        Ok(Self {
            path: path.into(),
            connection: Mutex::new(connect_to_write(path)?),
        })
    }

    fn write<T>(
        &self,
        work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, LedgerError> {
        let mut connection = self.connection.lock();
        let done = connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .and_then(|transaction| {
                let done = work(&transaction)?;
                transaction.commit()?;
                Ok(done)
            });
        done.map_err(|error| refusal(&self.path, "write a note", error))
    }

    pub(crate) fn claim(&self, first: &Note, others: &[Note]) -> Result<bool, LedgerError> {
        self.write(|transaction| {
            let claimed = transaction.execute(
                "INSERT INTO notes (topic, key, text, at_ms) VALUES (?1, ?2, ?3, ?4) \
                 ON CONFLICT DO NOTHING",
                (first.topic, &first.key, &first.text, first.at_ms),
            )?;
            if claimed > 0 {
                put_all(transaction, others)?;
            }
            Ok(claimed > 0)
        })
    }

    pub(crate) fn put(&self, notes: &[Note]) -> Result<(), LedgerError> {
        self.write(|transaction| put_all(transaction, notes))
    }

    pub(crate) fn all(&self, topic: &'static str) -> Result<Vec<Note>, LedgerError> {
        let connection = self.connection.lock();
        let read = || {
            let mut statement = connection.prepare_cached(
                "SELECT key, text, at_ms FROM notes WHERE topic = ?1 ORDER BY at_ms, key",
            )?;
            let notes = statement.query_map([topic], |row| {
                Ok(Note {
                    topic,
                    key: row.get(0)?,
                    text: row.get(1)?,
                    at_ms: row.get(2)?,
                })
            })?;
            notes.collect::<rusqlite::Result<Vec<_>>>()
        };
        read().map_err(|error| refusal(&self.path, "read the notes", error))
    }

    pub(crate) fn remove(&self, topic: &str, key: &str) -> Result<(), LedgerError> {
        self.write(|transaction| {
            transaction.execute(
                "DELETE FROM notes WHERE topic = ?1 AND key = ?2",
                [topic, key],
            )?;
            Ok(())
        })
    }

    pub(crate) fn forget(&self, topic: &str, before_ms: i64) -> Result<(), LedgerError> {
        self.write(|transaction| {
            transaction.execute(
                "DELETE FROM notes WHERE topic = ?1 AND at_ms < ?2",
                (topic, before_ms),
            )?;
            Ok(())
        })
    }
}

fn put_all(transaction: &Transaction<'_>, notes: &[Note]) -> rusqlite::Result<()> {
    let mut statement = transaction.prepare_cached(
        "INSERT INTO notes (topic, key, text, at_ms) VALUES (?1, ?2, ?3, ?4) \
         ON CONFLICT (topic, key) DO UPDATE SET text = excluded.text, at_ms = excluded.at_ms",
    )?;
    for note in notes {
        statement.execute((note.topic, &note.key, &note.text, note.at_ms))?;
    }
    Ok(())
}
