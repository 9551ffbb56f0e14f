//! The bytes of a weights file: sections in, tables out, and back. Nothing of a file is believed before it
//! was checked.

use thiserror::Error;

use super::numbers::NUMBERS;
use super::{COLUMNS, Inner, MAX_FILE_BYTES, Numbers, ROW_BITS, ROW_MASK, TrainedRow, VERSION};

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

/// The parts of a file, in order; `None` when the last is cut.
pub(super) fn sections_of(mut rest: &[u8]) -> Option<Vec<(&[u8; 4], &[u8])>> {
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
    pub(super) fn of_sections(
        sections: &[(&[u8; 4], &[u8])],
        checksum: u32,
    ) -> Result<Self, ModelError> {
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

pub(super) fn u32_of(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let (first, rest) = bytes.split_first_chunk::<4>()?;
    Some((u32::from_le_bytes(*first), rest))
}

fn words<T>(bytes: &[u8], decode: fn([u8; 4]) -> T) -> Vec<T> {
    let (whole, _) = bytes.as_chunks::<4>();
    whole.iter().map(|chunk| decode(*chunk)).collect()
}

#[allow(clippy::cast_possible_truncation, reason = "sections are below 8 MiB")]
pub(super) fn section(out: &mut Vec<u8>, tag: [u8; 4], bytes: &[u8]) {
    out.extend(tag);
    out.extend((bytes.len() as u32).to_le_bytes());
    out.extend(bytes);
}

#[inline]
pub(super) fn check_of(key: u64) -> u32 {
    // Never 0, so that no slot in use is 0.
    (((key >> 40) as u32) & (u32::MAX >> ROW_BITS)) | 1
}

#[inline]
#[allow(clippy::cast_possible_truncation, reason = "masked")]
pub(super) fn first_slot(key: u64, mask: usize) -> usize {
    (key ^ (key >> 23)) as usize & mask
}

#[allow(clippy::cast_possible_truncation, reason = "rows are below 2^19")]
pub(super) fn slots_of(rows: &[TrainedRow]) -> Vec<u32> {
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
