//! The `tollgate` binary: arguments in, exit code out.

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::Parser;
use tollgate::cli::{self, Cli};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let command = Cli::parse().into_command();
    let stdout = std::io::stdout();
    let colour = stdout.is_terminal() && std::env::var_os("NO_COLOR").is_none();
    ExitCode::from(cli::run(&command, colour, &mut stdout.lock()))
}
