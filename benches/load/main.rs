//! The load run: the direct upstream, nginx `proxy_pass`, a least hyper proxy, tollgate and, where
//! they are installed, other gateways, side by side and interleaved, medians of several rounds.
//!
//! `cargo bench --bench load` prints the first section; `-- SECTION...` others, `-- all` every one
//! but the soak; `-- --help` says what they are. Loopback only, bounded in count and time.

#![allow(
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    clippy::doc_markdown,
    clippy::format_push_string,
    reason = "a bench fails loudly and prints its figures, which are rounded anyway"
)]

mod generate;
mod least;
mod options;
mod paced;
mod peers;
mod plot;
mod process;
mod sections;
mod table;
mod targets;
mod tollgate;
mod upstream;
mod versions;

use std::process::ExitCode;

use options::Options;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.first().map(String::as_str) {
        Some("serve-upstream") => return upstream::run(&arguments[1..]),
        Some("serve-least") => return least::run(&arguments[1..]),
        _ => {}
    }
    let options = match Options::of(&arguments) {
        Ok(options) => options,
        Err(message) => {
            println!("{message}");
            return ExitCode::FAILURE;
        }
    };
    for section in &options.sections {
        if let Err(message) = sections::run(*section, &options) {
            eprintln!("load: {message}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}
