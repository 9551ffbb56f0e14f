-- Equal for equal requests of one caller, a keyed hash; see `cache/fingerprint.rs`.
ALTER TABLE requests ADD COLUMN fingerprint INTEGER;
