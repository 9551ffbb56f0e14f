//! A month with a demand that surges: paced spending against a hard cap, on a simulated clock, through
//! the real budgets and the real policy.
//!
//! ```text
//! cargo run --release --example month
//! ```
//!
//! prints the table and writes `docs/img/month.svg`. `tests/it/month.rs` asserts what they show.

#![allow(
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a demonstration prints its figures and fails loudly"
)]

mod chart;
mod simulation;

use simulation::{Month, Outcome, Served, run};

/// About a hundred thousand requests.
const MONTH: Month = Month {
    requests_per_hour: 100.0,
    seed: 2026,
};

fn main() {
    let wall = run(MONTH, false);
    let paced = run(MONTH, true);
    print!("{}", table(&wall, &paced));
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/img/month.svg");
    std::fs::write(&path, chart::draw(&wall, &paced)).expect("docs/img can be written");
    println!("\nwritten: docs/img/month.svg");
}

/// Both months side by side, as Markdown.
fn table(wall: &Outcome, paced: &Outcome) -> String {
    let mut out = String::from("| | hard cap | paced |\n| --- | --- | --- |\n");
    let mut row = |name: &str, of: &dyn Fn(&Outcome) -> String| {
        out.extend(["| ", name, " | ", &of(wall), " | ", &of(paced), " |\n"]);
    };
    row("limit, USD", &|month| format!("{:.0}", month.limit_usd));
    row("spent at the end", &|month| {
        format!("{:.1} %", 100.0 * month.share())
    });
    row("premium requests blocked", &|month| blocked(&month.premium));
    row("standard requests blocked", &|month| {
        blocked(&month.standard)
    });
    row("first request blocked", &first_blocked);
    row("mean quality, premium", &|month| {
        format!("{:.3}", month.premium.quality())
    });
    row("mean quality, standard", &|month| {
        format!("{:.3}", month.standard.quality())
    });
    row("highest price of money", &|month| {
        let highest = month.price.iter().copied().fold(0.0, f64::max);
        format!("{highest:.2}")
    });
    row("answers by model", &|month| {
        let shares: Vec<String> = month
            .by_model
            .iter()
            .map(|(model, count)| format!("{model} {count}"))
            .collect();
        shares.join(", ")
    });
    out
}

fn blocked(served: &Served) -> String {
    format!("{} of {}", served.blocked, served.answered + served.blocked)
}

fn first_blocked(month: &Outcome) -> String {
    let hour = month.blocked.iter().position(|blocked| *blocked > 0);
    hour.map_or_else(
        || "never".to_owned(),
        |hour| format!("day {}, {:02}:00", hour / 24 + 1, hour % 24),
    )
}
