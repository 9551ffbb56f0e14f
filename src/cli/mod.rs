//! The command line: what can be asked for. Each subcommand has its own file with one function that
//! takes its arguments and a writer and returns an exit code: 0 fine, 1 the work failed, 2 the input
//! or the configuration is wrong.

pub mod alerts;
pub mod check;
pub mod demo;
pub mod eval;
pub mod explain;
pub mod keys;
pub mod ledger;
pub mod models;
pub mod report;
pub mod schema;
pub mod serve;
pub mod stored_keys;
pub mod train;

use std::io::{self, Write};
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::clock::Clock;
use crate::types::Tier;

/// All is well.
pub const EXIT_OK: u8 = 0;
/// The work failed.
pub const EXIT_FAILED: u8 = 1;
/// The input or the configuration is wrong.
pub const EXIT_BAD_INPUT: u8 = 2;

/// The file that every command reads unless told otherwise.
pub const DEFAULT_CONFIG: &str = "routes.yaml";

/// The command line.
#[derive(Debug, Parser)]
#[command(
    name = "tollgate",
    version,
    about = "A reverse proxy that speaks the OpenAI API and sends every LLM request to the right \
             model at the right price",
    after_help = "Examples:
  tollgate demo                       see it route a dozen prompts, without any key or network
  tollgate check                      every problem in routes.yaml, with its line
  tollgate                            run the proxy (the same as `tollgate serve`)
  OPENAI_API_KEY=… tollgate           …with OpenAI's models switched on",
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true
)]
pub struct Cli {
    /// What to do; nothing means `serve`.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// The arguments of `serve` when no subcommand is named.
    #[command(flatten)]
    pub serve: ServeArgs,
}

impl Cli {
    /// The command, with `serve` for none.
    pub fn into_command(self) -> Command {
        self.command.unwrap_or(Command::Serve(self.serve))
    }
}

/// A subcommand.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the proxy
    #[command(after_help = "Examples:
  tollgate serve
  tollgate serve --config /etc/tollgate/routes.yaml --listen 0.0.0.0:8080

Saving the file, SIGHUP and POST /reload take a new version over without cutting a stream.
With no provider key in the environment and no --config it runs on simulated providers.")]
    Serve(ServeArgs),
    /// Route a dozen prompts through simulated providers and show the bill
    #[command(after_help = "Examples:
  tollgate demo            go on serving until Ctrl-C
  tollgate demo --once     stop after the bill")]
    Demo(DemoArgs),
    /// Show every problem of a routing file, with its line and a suggestion
    #[command(after_help = "Examples:
  tollgate check
  tollgate check staging.yaml --strict
  tollgate check --format json | jq '.problems[].message'

Exit code: 0 when the file can be used (warnings included), 2 when it cannot.")]
    Check(CheckArgs),
    /// Show how a prompt would be classified and routed, without calling a model
    #[command(after_help = "Examples:
  tollgate explain 'Write a function that merges two sorted lists'
  tollgate explain --tier standard --team search 'Summarise this contract: …'
  tollgate explain --json - < request.json     (a whole chat request on stdin)")]
    Explain(ExplainArgs),
    /// Show what was spent, from the ledger
    #[command(after_help = "Examples:
  tollgate report
  tollgate report --from 2026-11-01 --by team,model
  tollgate report --period last-month --by app,task,tag:feature --format csv > october.csv
  tollgate report --reconcile invoice.csv --provider openai
  tollgate report --insights")]
    Report(Box<report::Args>),
    /// Back the ledger up, bring a backup back, check it
    #[command(subcommand)]
    Ledger(ledger::LedgerCommand),
    /// Make virtual keys
    #[command(subcommand)]
    Keys(KeysCommand),
    /// Try out the webhooks under `alerts`
    #[command(subcommand)]
    Alerts(AlertsCommand),
    /// Print the JSON Schema of routes.yaml
    #[command(after_help = "Example:
  tollgate schema > routes.schema.json

The first line of routes.yaml points editors at it:
  # yaml-language-server: $schema=./deploy/routes.schema.json")]
    Schema,
    /// List the bundled catalogue of models and prices
    #[command(after_help = "Examples:
  tollgate models
  tollgate models --provider anthropic
  tollgate models --format json flash")]
    Models(ModelsArgs),
    /// Measure the classifier on labelled prompts
    #[command(after_help = "Examples:
  tollgate eval --data prompts.jsonl
  tollgate eval --data prompts.jsonl --model my.bin --format json
  tollgate eval --data prompts.jsonl --svg plots

A row is a JSON object: text, and whichever of task, complexity, strong_correct and weak_correct,
label (injection or benign), source, system and turns are known. See docs/classifier.md.")]
    Eval(eval::Args),
    /// Train the classifier's weights on labelled prompts
    #[command(after_help = "Examples:
  tollgate train --data prompts.jsonl --out my.bin
  tollgate train --data prompts.jsonl --from-ledger tollgate.db --out my.bin

Then compare:  tollgate eval --data held_out.jsonl --model my.bin")]
    Train(train::Args),
    /// Print the reference of routes.yaml as Markdown
    #[command(hide = true)]
    Reference,
}

/// `serve`
#[derive(Debug, Default, Args)]
pub struct ServeArgs {
    /// The routing file; routes.yaml when not set
    #[arg(long, value_name = "FILE", env = "TOLLGATE_CONFIG")]
    pub config: Option<PathBuf>,
    /// Address of the data listener; overrides the file
    #[arg(long, value_name = "ADDR", env = "TOLLGATE_LISTEN")]
    pub listen: Option<String>,
    /// Address of the admin listener; overrides the file
    #[arg(long, value_name = "ADDR", env = "TOLLGATE_ADMIN_LISTEN")]
    pub admin_listen: Option<String>,
    /// Serve anybody who can reach the data listener, without keys
    #[arg(long)]
    pub insecure_open: bool,
}

/// `demo`
#[derive(Debug, Default, Args)]
pub struct DemoArgs {
    /// Exit after the bill instead of going on serving
    #[arg(long)]
    pub once: bool,
    /// Address of the data listener
    #[arg(long, value_name = "ADDR")]
    pub listen: Option<String>,
    /// Address of the admin listener
    #[arg(long, value_name = "ADDR")]
    pub admin_listen: Option<String>,
}

/// `check`
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// The routing file; routes.yaml when not set
    #[arg(value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// The same, as the other commands have it
    #[arg(long, value_name = "FILE", conflicts_with = "file")]
    pub config: Option<PathBuf>,
    /// How to print
    #[arg(long, value_enum, default_value_t = CheckFormat::Text)]
    pub format: CheckFormat,
    /// Treat warnings as errors
    #[arg(long)]
    pub strict: bool,
}

/// How `check` prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum CheckFormat {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// `explain`
#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// The routing file; routes.yaml when not set
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// As a caller who may use at most this tier: premium, standard or local
    #[arg(long, value_parser = parse_tier)]
    pub tier: Option<Tier>,
    /// As a caller of this team
    #[arg(long)]
    pub team: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// The prompt, or `-` for a request body on stdin
    pub prompt: String,
}

fn parse_tier(word: &str) -> Result<Tier, String> {
    Tier::parse(word).ok_or_else(|| "allowed: premium, standard, local".to_owned())
}

/// `keys …`
#[derive(Debug, Subcommand)]
pub enum KeysCommand {
    /// Print a fresh key and its entry for `keys` in routes.yaml
    #[command(after_help = "Example:
  tollgate keys new --id search-prod --team search --app checkout

The key itself is printed once and kept nowhere; the file holds only its SHA-256.")]
    New(KeysNewArgs),
    /// Make a key and put it into the store that replicas share
    #[command(after_help = "Examples:
  tollgate keys add --id search-prod --team search --app checkout
  tollgate keys add --id kept --sha256 9f86d08…   a key that exists already

Needs `state.store` in the file. Every replica admits the key within about a second; the file stays as
it is. The key itself is printed once and kept nowhere.")]
    Add(KeysAddArgs),
    /// List the keys in the store that replicas share
    List(KeysListArgs),
    /// Take a key out of the store that replicas share
    Revoke(KeysRevokeArgs),
}

/// `keys new`
#[derive(Debug, Default, Args)]
pub struct KeysNewArgs {
    /// Its name in records and budgets; made from the hash when not set
    #[arg(long)]
    pub id: Option<String>,
    /// The team that pays
    #[arg(long)]
    pub team: Option<String>,
    /// The application that uses it
    #[arg(long)]
    pub app: Option<String>,
}

/// `keys add`
#[derive(Debug, Default, Args)]
pub struct KeysAddArgs {
    /// The routing file; routes.yaml when not set
    #[arg(long, value_name = "FILE", env = "TOLLGATE_CONFIG")]
    pub config: Option<PathBuf>,
    /// Its name in records and budgets; made from the hash when not set
    #[arg(long)]
    pub id: Option<String>,
    /// The SHA-256 of a key that exists already, instead of a fresh one
    #[arg(long, value_name = "HEX")]
    pub sha256: Option<String>,
    /// The team that pays
    #[arg(long)]
    pub team: Option<String>,
    /// The application that uses it
    #[arg(long)]
    pub app: Option<String>,
    /// The best tier that it may use, at most its team's
    #[arg(long, value_parser = parse_tier)]
    pub tier: Option<Tier>,
    /// The models that it may use, out of its team's: names, `*` for any run of characters
    #[arg(long, value_name = "MODEL", value_delimiter = ',')]
    pub allow: Vec<String>,
    /// Requests per minute
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
    pub requests_per_minute: Option<u32>,
    /// Tokens per minute
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    pub tokens_per_minute: Option<u64>,
    /// Requests in flight
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
    pub concurrent: Option<u32>,
}

/// `keys list`
#[derive(Debug, Default, Args)]
pub struct KeysListArgs {
    /// The routing file; routes.yaml when not set
    #[arg(long, value_name = "FILE", env = "TOLLGATE_CONFIG")]
    pub config: Option<PathBuf>,
}

/// `keys revoke`
#[derive(Debug, Default, Args)]
pub struct KeysRevokeArgs {
    /// The routing file; routes.yaml when not set
    #[arg(long, value_name = "FILE", env = "TOLLGATE_CONFIG")]
    pub config: Option<PathBuf>,
    /// Which key
    pub id: String,
}

/// `alerts …`
#[derive(Debug, Subcommand)]
pub enum AlertsCommand {
    /// Send a test event to every webhook of the file and print what each answers
    #[command(after_help = "Examples:
  tollgate alerts test
  tollgate alerts test --config staging.yaml --webhook on-call

Exit code: 0 when every webhook took it, 1 when one did not, 2 when there is none to ask.")]
    Test(AlertsTestArgs),
}

/// `alerts test`
#[derive(Debug, Default, Args)]
pub struct AlertsTestArgs {
    /// The routing file; routes.yaml when not set
    #[arg(long, value_name = "FILE", env = "TOLLGATE_CONFIG")]
    pub config: Option<PathBuf>,
    /// Only the webhook of this name
    #[arg(long, value_name = "NAME")]
    pub webhook: Option<String>,
}

/// `models`
#[derive(Debug, Args)]
pub struct ModelsArgs {
    /// How to print
    #[arg(long, value_enum, default_value_t = ModelsFormat::Table)]
    pub format: ModelsFormat,
    /// Only this provider's
    #[arg(long)]
    pub provider: Option<String>,
    /// Only models whose name holds this text, in any case
    pub filter: Option<String>,
}

/// How `models` prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ModelsFormat {
    /// For people.
    Table,
    /// For programs.
    Json,
}

/// Runs a command and returns its exit code. `out` is standard output.
pub fn run(command: &Command, colour: bool, out: &mut dyn Write) -> u8 {
    let outcome = match command {
        Command::Serve(args) => return serve::run(args),
        Command::Demo(args) => return demo::run(args, out),
        Command::Report(args) => return run_report(args, colour, out),
        Command::Ledger(command) => return run_ledger(command, out),
        Command::Explain(args) => explain::run(args, colour, out),
        Command::Check(args) => check::run(args, colour, out),
        Command::Schema => schema::run(out),
        Command::Reference => schema::run_reference(out),
        Command::Models(args) => models::run(args, out),
        Command::Keys(KeysCommand::New(args)) => keys::run(args, out),
        Command::Keys(KeysCommand::Add(args)) => stored_keys::add(args, out),
        Command::Keys(KeysCommand::List(args)) => stored_keys::list(args, out),
        Command::Keys(KeysCommand::Revoke(args)) => stored_keys::revoke(args, out),
        Command::Alerts(AlertsCommand::Test(args)) => alerts::run(args, out),
        Command::Eval(args) => eval::run(args, out),
        Command::Train(args) => train::run(args, out),
    };
    exit_code(&outcome)
}

fn run_report(args: &report::Args, colour: bool, out: &mut dyn Write) -> u8 {
    let view = report::View {
        now_ms: Clock::system().unix_ms(),
        colour,
    };
    match report::run(args, view, out) {
        Ok(true) => EXIT_OK,
        Ok(false) => EXIT_FAILED,
        Err(report::ReportError::Output(error)) => exit_code(&Err(error)),
        Err(error) => complain(&error.to_string(), error.exit_code()),
    }
}

fn run_ledger(command: &ledger::LedgerCommand, out: &mut dyn Write) -> u8 {
    match ledger::run(command, Clock::system().unix_ms(), out) {
        Ok(code) => code,
        Err(ledger::CareError::Output(error)) => exit_code(&Err(error)),
        Err(error) => complain(&error.to_string(), error.exit_code()),
    }
}

/// A command's own last word, on standard error.
#[allow(
    clippy::print_stderr,
    reason = "also seen when the log is filtered or not set up"
)]
fn complain(message: &str, code: u8) -> u8 {
    eprintln!("tollgate: {message}");
    code
}

/// A reader that went away (`tollgate models | head`) is no failure.
fn exit_code(outcome: &io::Result<u8>) -> u8 {
    match outcome {
        Ok(code) => *code,
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => EXIT_OK,
        Err(_) => EXIT_FAILED,
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn no_subcommand_means_serve() {
        let cli = Cli::try_parse_from(["tollgate", "--listen", "127.0.0.1:0"]).expect("parses");
        match cli.into_command() {
            Command::Serve(args) => assert_eq!(args.listen.as_deref(), Some("127.0.0.1:0")),
            other => panic!("{other:?}"),
        }
    }
}
