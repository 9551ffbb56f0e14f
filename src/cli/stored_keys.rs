//! `tollgate keys add`, `list` and `revoke`: virtual keys in the store that replicas share, known to all of
//! them within about a second and without a change of the file.

use std::io::{self, Write};
use std::path::PathBuf;

use serde_json::{Map, Value};

use super::keys::{KeySource, fresh};
use super::{
    DEFAULT_CONFIG, EXIT_BAD_INPUT, EXIT_FAILED, EXIT_OK, KeysAddArgs, KeysListArgs,
    KeysRevokeArgs, complain,
};
use crate::bootstrap;
use crate::clock::Clock;
use crate::config::{self, Snapshot, stored_key};
use crate::stores::{RedisStore, SharedBoard, SharedError, StoredKeys};

/// The file that a command names, and the store that it names.
struct Place {
    snapshot: Snapshot,
    store: RedisStore,
    runtime: tokio::runtime::Runtime,
}

impl Place {
    /// Reads the file. `Err` is an exit code, after everything was said.
    fn open(named: Option<&PathBuf>, out: &mut dyn Write) -> io::Result<Result<Self, u8>> {
        let path = named.map_or_else(|| PathBuf::from(DEFAULT_CONFIG), Clone::clone);
        let now_ms = Clock::system().unix_ms();
        let loaded = config::load_file(&path, &|name| std::env::var(name).ok(), now_ms);
        let snapshot = match loaded {
            Ok(snapshot) => snapshot,
            Err(problems) => {
                super::check::write_problems(&problems, false, out)?;
                return Ok(Err(EXIT_BAD_INPUT));
            }
        };
        let Some(shared) = &snapshot.state.shared else {
            let message = format!(
                "{} names no `state.store` that could hold keys; `tollgate keys new` prints an entry for the file",
                path.display()
            );
            return Ok(Err(complain(&message, EXIT_BAD_INPUT)));
        };
        let store = match bootstrap::store(shared) {
            Ok(store) => store,
            Err(error) => return Ok(Err(refused(&error))),
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        Ok(Ok(Self {
            snapshot,
            store,
            runtime,
        }))
    }

    fn keys(&self) -> Result<StoredKeys, SharedError> {
        let nothing = StoredKeys::default();
        let found = self.runtime.block_on(self.store.keys(&nothing))?;
        Ok(found.unwrap_or_default())
    }

    fn put(&self, id: &str, text: &str) -> Result<(), SharedError> {
        self.runtime.block_on(self.store.put_key(id, text))
    }
}

fn refused(error: &SharedError) -> u8 {
    let code = match error {
        SharedError::Refused(_) => EXIT_BAD_INPUT,
        SharedError::Away(_) | SharedError::Garbled(_) => EXIT_FAILED,
    };
    complain(&format!("state.store: {error}"), code)
}

/// Makes a key and stores it, or stores one whose hash is given.
///
/// # Errors
/// When `out` cannot be written to.
pub fn add(args: &KeysAddArgs, out: &mut dyn Write) -> io::Result<u8> {
    let place = match Place::open(args.config.as_ref(), out)? {
        Ok(place) => place,
        Err(code) => return Ok(code),
    };
    let KeySource { key, sha256, id } = match &args.sha256 {
        None => fresh(args.id.as_deref()),
        Some(sha256) => KeySource::known(sha256, args.id.as_deref()),
    };
    let text = entry(args, &id, &sha256);
    if let Err(why) = stored_key(&text, &place.snapshot) {
        return Ok(complain(&format!("key `{id}`: {why}"), EXIT_BAD_INPUT));
    }
    let known = match place.keys() {
        Ok(known) => known,
        Err(error) => return Ok(refused(&error)),
    };
    let is_taken = |(known, text): &(String, String)| *known == id && !text.is_empty();
    if known.texts.iter().any(is_taken) {
        let message = format!("key `{id}` is stored already; revoke it first or choose another id");
        return Ok(complain(&message, EXIT_BAD_INPUT));
    }
    if let Err(error) = place.put(&id, &text) {
        return Ok(refused(&error));
    }
    match key {
        Some(key) => {
            writeln!(out, "{key}\n")?;
            writeln!(
                out,
                "Give the line above to the application; it is not kept anywhere."
            )?;
        }
        None => writeln!(out, "The key of this hash is admitted.")?,
    }
    writeln!(out, "Every replica knows key `{id}` within about a second.")?;
    Ok(EXIT_OK)
}

/// The entry as the store has it.
fn entry(args: &KeysAddArgs, id: &str, sha256: &str) -> String {
    let mut entry = Map::new();
    entry.insert("id".to_owned(), id.into());
    entry.insert("sha256".to_owned(), sha256.into());
    let texts = [
        ("team", args.team.clone()),
        ("app", args.app.clone()),
        ("tier", args.tier.map(|tier| tier.as_str().to_owned())),
    ];
    for (name, value) in texts {
        if let Some(value) = value {
            entry.insert(name.to_owned(), value.into());
        }
    }
    if !args.allow.is_empty() {
        entry.insert("allow".to_owned(), args.allow.clone().into());
    }
    let limits: Map<String, Value> = [
        (
            "requests_per_minute",
            args.requests_per_minute.map(u64::from),
        ),
        ("tokens_per_minute", args.tokens_per_minute),
        ("concurrent", args.concurrent.map(u64::from)),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some((name.to_owned(), value?.into())))
    .collect();
    if !limits.is_empty() {
        entry.insert("limits".to_owned(), limits.into());
    }
    Value::Object(entry).to_string()
}

/// Lists the stored keys, one a line, without their hashes.
///
/// # Errors
/// When `out` cannot be written to.
pub fn list(args: &KeysListArgs, out: &mut dyn Write) -> io::Result<u8> {
    let place = match Place::open(args.config.as_ref(), out)? {
        Ok(place) => place,
        Err(code) => return Ok(code),
    };
    let known = match place.keys() {
        Ok(known) => known,
        Err(error) => return Ok(refused(&error)),
    };
    for (id, text) in known.texts.iter().filter(|(_, text)| !text.is_empty()) {
        match stored_key(text, &place.snapshot) {
            Ok(key) => writeln!(
                out,
                "{id}  team {}  app {}  tier {}",
                key.team, key.app, key.tier
            )?,
            Err(why) => writeln!(out, "{id}  cannot be used here: {why}")?,
        }
    }
    Ok(EXIT_OK)
}

/// Revokes a stored key.
///
/// # Errors
/// When `out` cannot be written to.
pub fn revoke(args: &KeysRevokeArgs, out: &mut dyn Write) -> io::Result<u8> {
    let place = match Place::open(args.config.as_ref(), out)? {
        Ok(place) => place,
        Err(code) => return Ok(code),
    };
    let known = match place.keys() {
        Ok(known) => known,
        Err(error) => return Ok(refused(&error)),
    };
    let id = args.id.as_str();
    let mut texts = known.texts.iter();
    if !texts.any(|(known, text)| known == id && !text.is_empty()) {
        let message = format!(
            "no stored key has the id `{id}`; `tollgate keys list` shows them, and keys of the file are taken out there"
        );
        return Ok(complain(&message, EXIT_BAD_INPUT));
    }
    if let Err(error) = place.put(id, "") {
        return Ok(refused(&error));
    }
    writeln!(
        out,
        "No replica admits key `{id}` after about a second; one that cannot reach the store does until it can."
    )?;
    Ok(EXIT_OK)
}
