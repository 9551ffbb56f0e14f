//! When a breaker trips, probes and recovers, to the call.

use super::*;

const PARAMS: BreakerParams = BreakerParams {
    window: Duration::from_secs(10),
    failure_rate: 0.5,
    min_requests: 10,
    consecutive_failures: 5,
    slow_call: Duration::from_secs(3),
    slow_rate: 0.8,
    open: Duration::from_secs(5),
    open_max: Duration::from_mins(1),
    jitter: 0.0,
};

const OK: CallVerdict = CallVerdict::Success {
    latency: Duration::from_millis(200),
};
const SLOW: CallVerdict = CallVerdict::Success {
    latency: Duration::from_secs(4),
};
const LIMITED: CallVerdict = CallVerdict::RateLimited { retry_after: None };

/// A breaker on a clock that is moved by hand.
struct Bench {
    breaker: Arc<Breaker>,
    now: Instant,
    params: BreakerParams,
}

impl Bench {
    fn new() -> Self {
        Self {
            breaker: Arc::new(Breaker::new()),
            now: Instant::now(),
            params: PARAMS,
        }
    }

    fn pass(&self) -> Result<BreakerPass, Instant> {
        self.breaker.try_pass(self.now, &self.params, 1.0)
    }

    fn call(&self, verdict: CallVerdict) -> Option<Transition> {
        let pass = self.pass().expect("lets the call through");
        pass.record(verdict, self.now, &self.params)
    }

    fn calls(&self, count: u32, verdict: CallVerdict) -> Option<Transition> {
        (0..count).fold(None, |_, _| self.call(verdict))
    }

    fn wait(&mut self, by: Duration) {
        self.now += by;
    }

    fn state(&self) -> BreakerState {
        self.breaker.state(self.now, &self.params)
    }

    fn open_for(&self) -> Duration {
        match self.state() {
            BreakerState::Open { until } => until - self.now,
            other => panic!("is {other:?}"),
        }
    }

    fn tripped() -> Self {
        let bench = Self::new();
        assert!(bench.calls(5, CallVerdict::Failure).is_some());
        bench
    }
}

#[test]
fn failures_in_a_row_trip_it_and_a_success_between_them_does_not_let_them_add_up() {
    let bench = Bench::new();
    assert_eq!(bench.calls(4, CallVerdict::Failure), None);
    bench.call(OK);
    assert_eq!(bench.calls(4, CallVerdict::Failure), None);
    let transition = bench.call(CallVerdict::Failure).expect("trips");
    assert_eq!(transition.from, BreakerState::Closed);
    assert_eq!(bench.open_for(), PARAMS.open);
}

#[test]
fn rate_limits_do_not_count_in_a_row_but_in_the_rate() {
    let bench = Bench::new();
    assert_eq!(bench.calls(9, LIMITED), None);
    assert!(bench.call(LIMITED).is_some());

    let bench = Bench::new();
    for _ in 0..4 {
        bench.call(CallVerdict::Failure);
        bench.call(LIMITED);
    }
    assert!(
        bench.call(CallVerdict::Failure).is_some(),
        "a 429 between failures does not break their row"
    );
}

#[test]
fn the_rate_needs_its_minimum_and_trips_only_on_a_bad_result() {
    let bench = Bench::new();
    for _ in 0..3 {
        assert_eq!(bench.calls(2, CallVerdict::Failure), None);
        assert_eq!(bench.call(OK), None);
    }
    assert_eq!(bench.call(OK), None, "the tenth call, and a good one");
    assert!(bench.call(CallVerdict::Failure).is_some());
}

#[test]
fn what_has_left_the_window_no_longer_counts() {
    let mut bench = Bench::new();
    bench.calls(9, LIMITED);
    bench.wait(PARAMS.window);
    assert_eq!(bench.call(LIMITED), None);

    let mut bench = Bench::new();
    bench.calls(9, LIMITED);
    bench.wait(Duration::from_millis(9_999));
    assert!(bench.call(LIMITED).is_some(), "still inside the window");
}

#[test]
fn slow_calls_trip_it_and_a_slow_probe_keeps_it_open() {
    let mut bench = Bench::new();
    bench.calls(2, OK);
    assert_eq!(bench.calls(7, SLOW), None);
    assert!(bench.call(SLOW).is_some());
    bench.wait(PARAMS.open);
    assert!(bench.call(SLOW).is_some());
    assert_eq!(bench.open_for(), PARAMS.open * 2);
    bench.wait(PARAMS.open * 2);
    bench.call(OK);
    assert_eq!(bench.state(), BreakerState::Closed);
}

#[test]
fn a_slow_probe_closes_what_failures_opened() {
    let mut bench = Bench::tripped();
    bench.wait(PARAMS.open);
    bench.call(SLOW);
    assert_eq!(bench.state(), BreakerState::Closed);
}

#[test]
fn half_open_lets_exactly_one_probe_through() {
    let mut bench = Bench::tripped();
    assert_eq!(bench.pass().expect_err("open"), bench.now + PARAMS.open);
    bench.wait(PARAMS.open);
    assert_eq!(bench.state(), BreakerState::HalfOpen);
    let probe = bench.pass().expect("the probe");
    assert!(bench.pass().is_err());
    assert!(bench.breaker.would_pass(bench.now).is_err());
    assert!(probe.record(OK, bench.now, &PARAMS).is_some());
    assert_eq!(bench.state(), BreakerState::Closed);
    assert_eq!(
        bench.calls(4, CallVerdict::Failure),
        None,
        "recovery has cleared what was counted"
    );
}

#[test]
fn a_probe_that_tells_nothing_gives_its_place_back() {
    let mut bench = Bench::tripped();
    bench.wait(PARAMS.open);
    drop(bench.pass().expect("the probe"));
    assert_eq!(bench.state(), BreakerState::HalfOpen);
    assert_eq!(bench.call(CallVerdict::Neutral), None);
    assert_eq!(bench.state(), BreakerState::HalfOpen);
    assert!(bench.call(LIMITED).is_some(), "a 429 fails a probe");
}

#[test]
fn the_open_time_doubles_up_to_its_bound_and_starts_over_after_recovery() {
    let mut bench = Bench::tripped();
    let mut seen = vec![];
    for _ in 0..5 {
        seen.push(bench.open_for().as_secs());
        bench.wait(bench.open_for());
        bench.call(CallVerdict::Failure);
    }
    seen.push(bench.open_for().as_secs());
    assert_eq!(seen, [5, 10, 20, 40, 60, 60]);
    bench.wait(bench.open_for());
    bench.call(OK);
    bench.calls(5, CallVerdict::Failure);
    assert_eq!(bench.open_for(), PARAMS.open);
}

#[test]
fn jitter_is_added_and_a_retry_after_is_capped() {
    let mut bench = Bench::new();
    bench.params.jitter = 0.5;
    bench.calls(5, CallVerdict::Failure);
    assert_eq!(bench.open_for(), Duration::from_millis(7_500));

    let retry_after = |seconds| CallVerdict::RateLimited {
        retry_after: Some(Duration::from_secs(seconds)),
    };
    for (asked, expect) in [(1, 10), (30, 30), (86_400, 60)] {
        let mut bench = Bench::tripped();
        bench.wait(PARAMS.open);
        bench.call(retry_after(asked));
        assert_eq!(bench.open_for().as_secs(), expect, "asked for {asked} s");
    }
}

#[test]
fn late_results_neither_close_nor_prolong() {
    let mut bench = Bench::new();
    let late: Vec<_> = (0..3).map(|_| bench.pass().expect("closed")).collect();
    bench.calls(5, CallVerdict::Failure);
    let open_for = bench.open_for();
    let [good, bad, limited] = <[_; 3]>::try_from(late).expect("three");
    assert_eq!(good.record(OK, bench.now, &PARAMS), None);
    assert_eq!(bad.record(CallVerdict::Failure, bench.now, &PARAMS), None);
    assert_eq!(bench.open_for(), open_for);
    bench.wait(PARAMS.open);
    let probe = bench.pass().expect("the probe");
    let hint = CallVerdict::RateLimited {
        retry_after: Some(Duration::from_mins(1)),
    };
    assert_eq!(limited.record(hint, bench.now, &PARAMS), None);
    assert!(bench.pass().is_err(), "the probe's place is still taken");
    assert!(probe.record(OK, bench.now, &PARAMS).is_some());
}

#[test]
fn under_threads_one_probe_passes_at_a_time() {
    use std::sync::atomic::{AtomicU32, Ordering};
    let mut bench = Bench::tripped();
    bench.wait(PARAMS.open);
    let (inside, passed) = (AtomicU32::new(0), AtomicU32::new(0));
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..2_000 {
                    if let Ok(probe) = bench.pass() {
                        assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                        passed.fetch_add(1, Ordering::SeqCst);
                        inside.fetch_sub(1, Ordering::SeqCst);
                        drop(probe);
                    }
                }
            });
        }
    });
    assert!(passed.load(Ordering::SeqCst) > 0);
}

#[test]
fn a_suspect_is_cut_off_by_one_failure_and_cleared_by_one_answer() {
    let suspect = || {
        let bench = Bench::new();
        bench.breaker.suspect(bench.now + Duration::from_secs(30));
        bench
    };
    let bench = suspect();
    assert_eq!(bench.state(), BreakerState::Closed, "traffic flows");
    assert!(bench.call(CallVerdict::Failure).is_some());
    let (trip, left) = bench.breaker.open(bench.now).expect("open");
    assert_eq!((trip, left), (1, PARAMS.open));

    let bench = suspect();
    bench.call(OK);
    assert_eq!(bench.call(CallVerdict::Failure), None, "it was cleared");

    let mut bench = suspect();
    bench.wait(Duration::from_secs(30));
    assert_eq!(bench.call(CallVerdict::Failure), None, "it is over");
    assert_eq!(bench.breaker.open(bench.now), None);
}
