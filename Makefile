# `make check` is what CI runs.
.PHONY: check test fmt lint doc bench demo

check:
	.ci/run

test:
	cargo test

fmt:
	cargo fmt --all

lint:
	cargo clippy --all-targets -- -D warnings

doc:
	RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --document-private-items

bench:
	cargo bench

demo:
	cargo run --release -- demo
