//! The trained weights: one versioned file, read once and shared. A row of small integers for each
//! feature that is worth a row, found by its hash; a column for each task and for each further head.
//!
//! Layout, little-endian: magic, version, then sections (four letters, length, bytes), and a CRC-32 of
//! all before it. Sections: `HEAD` (JSON: how it was trained), `NUMS` (f32: scales, biases,
//! calibration), `SLOT` (u32: a table of hashes), `ROWS` (i8).

use std::sync::Arc;

mod file;
mod numbers;
mod scoring;
#[cfg(test)]
mod tests;

use super::excerpt::Reading;
use super::task::Task;

pub use file::ModelError;
use file::{check_of, first_slot, section, sections_of, slots_of, u32_of};
pub use numbers::{Numbers, OUTPUT_LOG2, length_class, log_length};
pub use scoring::{Found, GROUP_GAINS, Scored, Scorer, group_value};

/// What a weights file begins with.
pub const MAGIC: [u8; 4] = *b"TGCL";
/// The version of layout, features and hashes that this code reads.
pub const VERSION: u32 = 2;
/// Weights of one feature: the tasks, then the other heads.
pub const COLUMNS: usize = Task::COUNT + 4;
/// Column of the complexity.
pub const COMPLEXITY: usize = Task::COUNT;
/// Column of the probability that a weaker model fails.
pub const WEAK_FAILS: usize = Task::COUNT + 1;
/// Column of the injection signal.
pub const INJECTION: usize = Task::COUNT + 2;
/// Column of the length of the answer.
pub const OUTPUT: usize = Task::COUNT + 3;
/// Bits of a slot that name a row; the others check the hash.
const ROW_BITS: u32 = 19;
const ROW_MASK: u32 = (1 << ROW_BITS) - 1;
/// Larger files are not weights of this classifier.
const MAX_FILE_BYTES: usize = 8 << 20;

/// Trained weights. Clones share them.
#[derive(Clone, Debug)]
pub struct Model {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    checksum: u32,
    header: String,
    numbers: Numbers,
    slots: Box<[u32]>,
    rows: Box<[[i8; COLUMNS]]>,
}

/// One feature of a model under construction.
#[derive(Clone, Debug)]
pub struct TrainedRow {
    /// The hash of the feature.
    pub key: u64,
    /// Its weights, in units of the columns' scales.
    pub weights: [i8; COLUMNS],
}

impl Model {
    /// Reads weights from a file.
    ///
    /// # Errors
    /// When it cannot be read or is no such file.
    pub fn load(path: &std::path::Path) -> Result<Self, ModelError> {
        let read = |cause| ModelError::Read {
            path: path.display().to_string(),
            cause,
        };
        let metadata = std::fs::metadata(path).map_err(read)?;
        if !metadata.is_file() {
            return Err(read(std::io::Error::other("it is not a file")));
        }
        if metadata.len() > MAX_FILE_BYTES as u64 {
            return Err(ModelError::TooLarge {
                found: metadata.len(),
            });
        }
        Self::parse(&std::fs::read(path).map_err(read)?)
    }

    /// Reads weights from bytes.
    ///
    /// # Errors
    /// When they are something else, of another version, or damaged.
    pub fn parse(bytes: &[u8]) -> Result<Self, ModelError> {
        let rest = bytes
            .strip_prefix(MAGIC.as_slice())
            .ok_or(ModelError::Magic)?;
        let cut = || ModelError::Cut { found: bytes.len() };
        if bytes.len() > MAX_FILE_BYTES {
            return Err(ModelError::TooLarge {
                found: bytes.len() as u64,
            });
        }
        let (version, rest) = u32_of(rest).ok_or_else(cut)?;
        if version != VERSION {
            return Err(ModelError::Version { found: version });
        }
        let (body, sum) = rest.split_last_chunk::<4>().ok_or_else(cut)?;
        let sections = sections_of(body).ok_or_else(cut)?;
        let checked = &bytes[..bytes.len() - 4];
        if crc32fast::hash(checked) != u32::from_le_bytes(*sum) {
            return Err(ModelError::Damaged("the checksum does not match"));
        }
        let inner = Inner::of_sections(&sections, u32::from_le_bytes(*sum))?;
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// No weights: everything is equally probable.
    #[must_use]
    pub fn empty() -> Self {
        let numbers = Numbers {
            scales: [1.0; COLUMNS],
            biases: [0.0; COLUMNS],
            sharpness: [1.0; 3],
            complexity: [1.0, 0.0],
            weak_fails: [1.0, 0.0, 0.0],
            injection_from: f32::MAX,
        };
        let inner = Inner {
            checksum: 0,
            header: "{}".to_owned(),
            numbers,
            slots: Box::new([0]),
            rows: Box::new([]),
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// How it was trained, JSON.
    #[must_use]
    pub fn header(&self) -> &str {
        &self.inner.header
    }

    /// Tells these weights from others: the CRC-32 at the end of their file.
    #[must_use]
    pub fn checksum(&self) -> u32 {
        self.inner.checksum
    }

    /// Scales, biases and calibration.
    #[must_use]
    pub fn numbers(&self) -> &Numbers {
        &self.inner.numbers
    }

    /// How many features have weights.
    #[must_use]
    pub fn features(&self) -> usize {
        self.inner.rows.len()
    }

    /// The bytes of a file with these weights. Rows must be in the order in which they are to stand.
    #[must_use]
    pub fn encode(header: &str, numbers: &Numbers, rows: &[TrainedRow]) -> Vec<u8> {
        let slots = slots_of(rows);
        let mut out = Vec::new();
        out.extend(MAGIC);
        out.extend(VERSION.to_le_bytes());
        section(&mut out, *b"HEAD", header.as_bytes());
        let numbers: Vec<u8> = numbers
            .to_vec()
            .iter()
            .flat_map(|number| number.to_le_bytes())
            .collect();
        section(&mut out, *b"NUMS", &numbers);
        let slots: Vec<u8> = slots.iter().flat_map(|slot| slot.to_le_bytes()).collect();
        section(&mut out, *b"SLOT", &slots);
        let rows: Vec<u8> = rows
            .iter()
            .flat_map(|row| row.weights.map(i8::cast_unsigned))
            .collect();
        section(&mut out, *b"ROWS", &rows);
        let sum = crc32fast::hash(&out);
        out.extend(sum.to_le_bytes());
        out
    }

    #[cfg(test)]
    fn row(&self, key: u64) -> Option<u32> {
        let slots = &self.inner.slots;
        self.row_from(key, slots[first_slot(key, slots.len() - 1)])
    }

    /// The row of a feature whose first slot holds this.
    #[inline]
    fn row_from(&self, key: u64, mut slot: u32) -> Option<u32> {
        let slots = &self.inner.slots;
        let mask = slots.len() - 1;
        let check = check_of(key);
        let mut at = first_slot(key, mask);
        loop {
            if slot == 0 {
                return None;
            }
            if slot >> ROW_BITS == check {
                return Some((slot & ROW_MASK) - 1);
            }
            at = (at + 1) & mask;
            slot = slots[at];
        }
    }
}
