//! A month whose demand surges ends at its limit when it is paced, and nobody premium is refused; the
//! same month with a hard cap refuses thousands. The full picture: `cargo run --example month`.

#[path = "../../examples/month/simulation.rs"]
mod simulation;

use simulation::{Month, run};

#[test]
fn a_paced_month_ends_within_two_percent_of_its_limit_and_blocks_no_premium_request() {
    for seed in [1, 2] {
        let month = Month {
            requests_per_hour: 12.0,
            seed,
        };
        let (wall, paced) = (run(month, false), run(month, true));
        let share = paced.share();
        assert!((0.98..=1.0).contains(&share), "seed {seed}: paced {share}");
        assert_eq!(paced.premium.blocked, 0, "seed {seed}");
        assert_eq!(paced.standard.blocked, 0, "seed {seed}");
        assert!(wall.premium.blocked > 100, "{:?}", wall.premium);
        assert!(wall.standard.blocked > 300, "{:?}", wall.standard);
        assert!(
            paced.premium.quality() > wall.premium.quality(),
            "premium callers are better off"
        );
        assert!(
            wall.spent_usd
                .iter()
                .chain(&paced.spent_usd)
                .all(|spent| *spent <= wall.limit_usd)
        );
    }
}
