//! What a weights file holds reads back; what is damaged is refused.

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
