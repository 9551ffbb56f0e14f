//! The trained weights: one versioned file, read once and shared. A row of small integers for each
//! feature that is worth a row, found by its hash; a column for each task and for each further head.
//!
//! Layout, little-endian: magic, version, then sections (four letters, length, bytes), and a CRC-32 of
//! all before it. Sections: `HEAD` (JSON: how it was trained), `NUMS` (f32: scales, biases,
//! calibration), `SLOT` (u32: a table of hashes), `ROWS` (i8).

use std::sync::Arc;

use smallvec::SmallVec;
use thiserror::Error;

use super::excerpt::Reading;
use super::features::{Group, Hit, Kind, Sink};
use super::task::{Task, TaskVector};

/// What a weights file begins with.
pub const MAGIC: [u8; 4] = *b"TGCL";
/// The version of layout, features and hashes that this code reads.
pub const VERSION: u32 = 1;
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

/// How much a group's sum counts, before its weights were trained.
pub const GROUP_GAINS: [f32; Group::COUNT] = [1.0, 0.8, 0.9, 0.4, 0.5, 1.0, 0.35, 0.6];

/// Calibration: what is not a weight of a feature.
#[derive(Clone, Debug, PartialEq)]
pub struct Numbers {
    /// What one unit of a column's integers is worth.
    pub scales: [f32; COLUMNS],
    /// What a column begins with.
    pub biases: [f32; COLUMNS],
    /// Inverse temperatures of the softmax for short, middling and long requests.
    pub sharpness: [f32; 3],
    /// Slope and intercept on the logit of the complexity.
    pub complexity: [f32; 2],
    /// Slope, intercept and weight of the logarithm of the length on the logit of `weak_fails`.
    pub weak_fails: [f32; 3],
    /// From which logit on a text counts as an injection.
    pub injection_from: f32,
}

/// The output head says the binary logarithm of the tokens as a share of this.
pub const OUTPUT_LOG2: f32 = 12.0;

const NUMBERS: usize = 2 * COLUMNS + 3 + 2 + 3 + 1;
/// No scale, bias or slope that was trained is anywhere near this.
const LARGEST_NUMBER: f32 = 1e6;

impl Numbers {
    /// The inverse temperature for a request of this length.
    #[must_use]
    pub fn sharpness_for(&self, reading: &Reading) -> f32 {
        self.sharpness[length_class(reading.asked.whole_bytes)]
    }

    fn to_vec(&self) -> Vec<f32> {
        let mut out = Vec::with_capacity(NUMBERS);
        out.extend(self.scales);
        out.extend(self.biases);
        out.extend(self.sharpness);
        out.extend(self.complexity);
        out.extend(self.weak_fails);
        out.push(self.injection_from);
        out
    }

    fn from_slice(numbers: &[f32]) -> Option<Self> {
        if numbers.len() != NUMBERS || numbers.iter().any(|number| !number.is_finite()) {
            return None;
        }
        // Sums of such numbers stay finite, so that no probability becomes NaN. The last is a threshold,
        // which may be out of reach.
        if numbers[..NUMBERS - 1]
            .iter()
            .any(|number| number.abs() > LARGEST_NUMBER)
        {
            return None;
        }
        let mut rest = numbers;
        Some(Self {
            scales: take(&mut rest)?,
            biases: take(&mut rest)?,
            sharpness: take(&mut rest)?,
            complexity: take(&mut rest)?,
            weak_fails: take(&mut rest)?,
            injection_from: *rest.first()?,
        })
    }
}

/// Short, middling or long: which inverse temperature applies.
#[must_use]
pub const fn length_class(bytes: usize) -> usize {
    match bytes {
        0..60 => 0,
        60..400 => 1,
        _ => 2,
    }
}

/// The logarithm of a prompt's length, near 0 for an ordinary one.
#[must_use]
#[allow(clippy::cast_precision_loss, reason = "a logarithm follows")]
pub fn log_length(bytes: usize) -> f32 {
    (bytes as f32 + 20.0).ln() - 5.0
}

fn take<const N: usize>(rest: &mut &[f32]) -> Option<[f32; N]> {
    let (first, others) = rest.split_first_chunk::<N>()?;
    *rest = others;
    Some(*first)
}

/// Why a file is not used.
#[derive(Debug, Error)]
pub enum ModelError {
    /// It could not be read.
    #[error("cannot read the classifier's weights `{path}`: {cause}")]
    Read {
        /// The file.
        path: String,
        /// Why.
        cause: std::io::Error,
    },
    /// It is something else.
    #[error("not a file of classifier weights (it does not begin with `TGCL`)")]
    Magic,
    /// It was written for other code.
    #[error("weights of version {found}, this program reads version {VERSION}; train them again")]
    Version {
        /// What it says.
        found: u32,
    },
    /// It ends before it should, as a copy that was broken off.
    #[error("classifier weights that end too early: {found} bytes are there, the file says more")]
    Cut {
        /// How many bytes there are.
        found: usize,
    },
    /// It cannot be weights.
    #[error("a file of {found} bytes; weights of this classifier have at most {MAX_FILE_BYTES}")]
    TooLarge {
        /// How many bytes there are.
        found: u64,
    },
    /// A part of it has another size than this program's.
    #[error("classifier weights whose `{section}` has {found} bytes; this program reads {allowed}")]
    Size {
        /// Which part.
        section: &'static str,
        /// How many bytes it has.
        found: usize,
        /// What would be right.
        allowed: &'static str,
    },
    /// It is damaged.
    #[error("damaged classifier weights: {0}")]
    Damaged(&'static str),
}

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

/// The parts of a file, in order; `None` when the last is cut.
fn sections_of(mut rest: &[u8]) -> Option<Vec<(&[u8; 4], &[u8])>> {
    let mut sections = Vec::new();
    while !rest.is_empty() {
        let (tag, after) = rest.split_first_chunk::<4>()?;
        let (length, after) = u32_of(after)?;
        let (bytes, after) = after.split_at_checked(length as usize)?;
        sections.push((tag, bytes));
        rest = after;
    }
    Some(sections)
}

impl Inner {
    fn of_sections(sections: &[(&[u8; 4], &[u8])], checksum: u32) -> Result<Self, ModelError> {
        // The last of its name counts; parts that this program does not know are left alone.
        let named = |name: &'static str| {
            let found = sections
                .iter()
                .rev()
                .find(|(tag, _)| *tag == name.as_bytes());
            found.map(|(_, bytes)| *bytes)
        };
        let part =
            |name: &'static str| named(name).ok_or(ModelError::Damaged("a section is missing"));
        let sized = |section: &'static str, unit: usize, allowed: &'static str| {
            let bytes = part(section)?;
            let found = bytes.len();
            if found % unit == 0 {
                Ok(bytes)
            } else {
                Err(ModelError::Size {
                    section,
                    found,
                    allowed,
                })
            }
        };
        let header = String::from_utf8(part("HEAD")?.to_vec())
            .map_err(|_| ModelError::Damaged("its head is no text"))?;
        let numbers = words(part("NUMS")?, f32::from_le_bytes);
        if numbers.len() != NUMBERS {
            return Err(ModelError::Size {
                section: "NUMS",
                found: numbers.len() * 4,
                allowed: "196",
            });
        }
        let numbers = Numbers::from_slice(&numbers).ok_or(ModelError::Damaged(
            "a scale or a bias is out of all proportion",
        ))?;
        let slots = sized("SLOT", 4, "a multiple of 4")?;
        let slots: Box<[u32]> = words(slots, u32::from_le_bytes).into();
        let (whole, _) = sized("ROWS", COLUMNS, "a multiple of 20")?.as_chunks::<COLUMNS>();
        let rows: Box<[[i8; COLUMNS]]> = whole.iter().map(|row| row.map(u8::cast_signed)).collect();
        // An empty slot ends every search; a row that a slot names must be there.
        let sound = slots.len().is_power_of_two()
            && slots.contains(&0)
            && slots
                .iter()
                .all(|slot| (slot & ROW_MASK) as usize <= rows.len())
            && slots.iter().all(|&slot| slot == 0 || slot & ROW_MASK != 0);
        if !sound {
            return Err(ModelError::Damaged("the table of features is unsound"));
        }
        Ok(Self {
            checksum,
            header,
            numbers,
            slots,
            rows,
        })
    }
}

fn u32_of(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let (first, rest) = bytes.split_first_chunk::<4>()?;
    Some((u32::from_le_bytes(*first), rest))
}

fn words<T>(bytes: &[u8], decode: fn([u8; 4]) -> T) -> Vec<T> {
    let (whole, _) = bytes.as_chunks::<4>();
    whole.iter().map(|chunk| decode(*chunk)).collect()
}

#[allow(clippy::cast_possible_truncation, reason = "sections are below 8 MiB")]
fn section(out: &mut Vec<u8>, tag: [u8; 4], bytes: &[u8]) {
    out.extend(tag);
    out.extend((bytes.len() as u32).to_le_bytes());
    out.extend(bytes);
}

#[inline]
fn check_of(key: u64) -> u32 {
    // Never 0, so that no slot in use is 0.
    (((key >> 40) as u32) & (u32::MAX >> ROW_BITS)) | 1
}

#[inline]
#[allow(clippy::cast_possible_truncation, reason = "masked")]
fn first_slot(key: u64, mask: usize) -> usize {
    (key ^ (key >> 23)) as usize & mask
}

#[allow(clippy::cast_possible_truncation, reason = "rows are below 2^19")]
fn slots_of(rows: &[TrainedRow]) -> Vec<u32> {
    let count = (rows.len() * 2 + 2).next_power_of_two();
    let mask = count - 1;
    let mut slots = vec![0_u32; count];
    for (at, row) in rows.iter().enumerate().take(ROW_MASK as usize - 1) {
        let mut slot = first_slot(row.key, mask);
        while slots[slot] != 0 {
            slot = (slot + 1) & mask;
        }
        slots[slot] = check_of(row.key) << ROW_BITS | (at as u32 + 1);
    }
    slots
}

/// A feature that has weights.
#[derive(Clone, Copy, Debug)]
pub struct Found {
    row: u32,
    /// What fired.
    pub hit: Hit,
    /// Its group.
    pub group: Group,
}

/// Adds up the weights of a conversation.
///
/// Features wait until some are together: their places in the table, which no cache holds as a whole,
/// are then looked up side by side instead of one after the other.
pub struct Scorer<'m> {
    model: &'m Model,
    group: Group,
    count: u32,
    waiting: [Hit; BATCH],
    waits: usize,
    sums: [i32; COLUMNS],
    totals: [f32; COLUMNS],
    group_values: [f32; Group::COUNT],
    found: SmallVec<[Found; 128]>,
}

/// Features looked up together. Their sums fit in 16 bits.
const BATCH: usize = 64;
/// Features kept for the explanation; the sums hold all.
const MAX_FOUND: usize = 512;

impl<'m> Scorer<'m> {
    /// Nothing added yet.
    #[must_use]
    pub fn new(model: &'m Model) -> Self {
        const NOTHING: Hit = Hit {
            key: 0,
            kind: Kind::Word,
            start: 0,
            end: 0,
        };
        Self {
            model,
            group: Group::Shapes,
            count: 0,
            waiting: [NOTHING; BATCH],
            waits: 0,
            sums: [0; COLUMNS],
            totals: [0.0; COLUMNS],
            group_values: [0.0; Group::COUNT],
            found: SmallVec::new(),
        }
    }

    fn add_waiting(&mut self) {
        let Inner { slots, rows, .. } = &*self.model.inner;
        let waiting = &self.waiting[..self.waits];
        let mask = slots.len() - 1;
        let mut firsts = [0; BATCH];
        for (first, hit) in firsts.iter_mut().zip(waiting) {
            *first = slots[first_slot(hit.key, mask)];
        }
        let mut sums = [0_i16; COLUMNS];
        for (hit, first) in waiting.iter().zip(firsts) {
            let Some(row) = self.model.row_from(hit.key, first) else {
                continue;
            };
            let weights = rows[row as usize].map(i16::from);
            for (sum, weight) in sums.iter_mut().zip(weights) {
                *sum += weight;
            }
            if hit.kind != Kind::Letters && self.found.len() < MAX_FOUND {
                self.found.push(Found {
                    row,
                    hit: *hit,
                    group: self.group,
                });
            }
        }
        for (sum, more) in self.sums.iter_mut().zip(sums) {
            *sum += i32::from(more);
        }
        self.count += u32::try_from(self.waits).unwrap_or(0);
        self.waits = 0;
    }

    fn end_group(&mut self) {
        self.add_waiting();
        let value = group_value(self.group, self.count);
        self.group_values[self.group as usize] = value;
        #[allow(clippy::cast_precision_loss, reason = "sums are far below 2^24")]
        for (total, sum) in self.totals.iter_mut().zip(&mut self.sums) {
            *total += *sum as f32 * value;
            *sum = 0;
        }
        self.count = 0;
    }

    /// The logits of all columns.
    #[must_use]
    pub fn finish(mut self) -> Scored<'m> {
        self.end_group();
        let numbers = &self.model.inner.numbers;
        let mut logits = [0.0; COLUMNS];
        for (at, logit) in logits.iter_mut().enumerate() {
            *logit = self.totals[at] * numbers.scales[at] + numbers.biases[at];
        }
        Scored {
            model: self.model,
            logits,
            group_values: self.group_values,
            found: self.found,
        }
    }
}

/// What each feature of a group counts, when so many fired.
#[must_use]
#[allow(clippy::cast_precision_loss, reason = "counts are below 2^24")]
pub fn group_value(group: Group, count: u32) -> f32 {
    GROUP_GAINS[group as usize] / (count as f32 + 4.0).sqrt()
}

impl Sink for Scorer<'_> {
    fn begin(&mut self, group: Group) {
        self.end_group();
        self.group = group;
    }

    #[inline]
    fn hit(&mut self, hit: Hit) {
        if self.waits == BATCH {
            self.add_waiting();
        }
        self.waiting[self.waits] = hit;
        self.waits += 1;
    }
}

/// The logits of a conversation and what made them.
pub struct Scored<'m> {
    model: &'m Model,
    /// A logit for each column.
    pub logits: [f32; COLUMNS],
    group_values: [f32; Group::COUNT],
    found: SmallVec<[Found; 128]>,
}

impl Scored<'_> {
    /// The logits of the tasks.
    #[must_use]
    pub fn tasks(&self) -> TaskVector {
        let mut vector = TaskVector::default();
        for task in Task::ALL {
            vector.add(task, self.logits[task.index()]);
        }
        vector
    }

    /// The features that moved a column most, with how much they moved it.
    #[must_use]
    pub fn strongest<const N: usize>(&self, column: usize) -> SmallVec<[(Found, f32); N]> {
        let scale = self.model.inner.numbers.scales[column];
        // Places in `found` and weights, strongest first.
        let mut best = [(0_usize, 0.0_f32); N];
        let mut kept = 0;
        for (place, found) in self.found.iter().enumerate() {
            let weight = f32::from(self.model.inner.rows[found.row as usize][column])
                * scale
                * self.group_values[found.group as usize];
            let least = if kept == N { best[N - 1].1 } else { 0.0 };
            if weight.abs() <= least.abs() {
                continue;
            }
            let mut at = kept.min(N - 1);
            while at > 0 && best[at - 1].1.abs() < weight.abs() {
                best[at] = best[at - 1];
                at -= 1;
            }
            best[at] = (place, weight);
            kept = (kept + 1).min(N);
        }
        let best = best[..kept].iter();
        best.map(|&(place, weight)| (self.found[place], weight))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers() -> Numbers {
        Numbers {
            scales: [0.1; COLUMNS],
            biases: [0.0; COLUMNS],
            sharpness: [1.0; 3],
            complexity: [1.0, 0.0],
            weak_fails: [1.0, 0.0, 0.0],
            injection_from: 2.0,
        }
    }

    fn rows() -> Vec<TrainedRow> {
        (1..200_u64)
            .map(|key| TrainedRow {
                key: key.wrapping_mul(0x9e37_79b9_7f4a_7c15),
                weights: [i8::try_from(key % 100).expect("small"); COLUMNS],
            })
            .collect()
    }

    #[test]
    fn a_written_model_reads_back() {
        let bytes = Model::encode("{}", &numbers(), &rows());
        let model = Model::parse(&bytes).expect("sound");
        assert_eq!(model.numbers(), &numbers());
        assert_eq!(model.features(), 199);
        for (at, row) in rows().iter().enumerate() {
            assert_eq!(model.row(row.key), Some(u32::try_from(at).expect("small")));
        }
        assert_eq!(model.row(0xdead_beef), None);
    }

    #[test]
    fn damaged_files_are_refused() {
        let bytes = Model::encode("{}", &numbers(), &rows());
        assert!(matches!(Model::parse(b"GGUF"), Err(ModelError::Magic)));
        for cut in [4, 9, 40, bytes.len() - 1] {
            assert!(Model::parse(&bytes[..cut]).is_err(), "{cut}");
        }
        let mut flipped = bytes.clone();
        flipped[60] ^= 1;
        assert!(matches!(
            Model::parse(&flipped),
            Err(ModelError::Damaged("the checksum does not match"))
        ));
        let mut newer = bytes;
        newer[4] = 99;
        assert!(matches!(
            Model::parse(&newer),
            Err(ModelError::Version { found: 99 })
        ));
    }
}
