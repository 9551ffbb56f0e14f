//! Whether the requests of late are like the usual ones: the mix of tasks and how sure the classifier is.
//! A shift means that a model, a matrix or a budget was made for other traffic.
//!
//! Two windows that forget, one short and one long, in O(1) per request: instead of shrinking all that
//! was seen, what is seen counts for more each time.

use parking_lot::Mutex;

use crate::types::TaskName;

/// Half-lives of the windows, in requests: what is new, and what is usual.
const HALF_LIVES: [f64; 2] = [500.0, 20_000.0];
/// With fewer requests than this the windows say nothing.
const ENOUGH_REQUESTS: u64 = 200;
/// Tasks that are told apart: the built-in ones and 64 of a file, with some room for renamed ones.
const MAX_TASKS: usize = 128;
/// Where the weights are brought back to 1.
const LARGE: f64 = 1e12;
/// A task that a window has not seen counts as this share, so that no logarithm is of nothing.
const LEAST_SHARE: f64 = 1e-3;

/// What was classified, in two windows.
#[derive(Debug, Default)]
pub struct Drift {
    windows: Mutex<Windows>,
}

#[derive(Debug, Default)]
struct Windows {
    requests: u64,
    tasks: Vec<(TaskName, [f64; 2])>,
    totals: [f64; 2],
    confidences: [f64; 2],
    /// What the next request counts, less 1.
    weights: [f64; 2],
}

/// How far the requests of late are from the usual ones.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shift {
    /// Population stability index of the tasks: below 0.1 alike, above 0.25 another mix.
    pub task_mix: f64,
    /// Mean confidence of late less the usual one.
    pub confidence: f64,
}

impl Drift {
    /// One request.
    pub fn observe(&self, task: &TaskName, confidence: f32) {
        self.windows.lock().observe(task, f64::from(confidence));
    }

    /// How far it is; nothing in the first requests.
    pub fn shift(&self) -> Option<Shift> {
        let windows = self.windows.lock();
        (windows.requests >= ENOUGH_REQUESTS).then(|| windows.shift())
    }
}

impl Windows {
    fn observe(&mut self, task: &TaskName, confidence: f64) {
        self.requests += 1;
        let known = self.tasks.iter().position(|(name, _)| name == task);
        let at = known.or_else(|| {
            (self.tasks.len() < MAX_TASKS).then(|| {
                self.tasks.push((task.clone(), [0.0; 2]));
                self.tasks.len() - 1
            })
        });
        for (window, half_life) in HALF_LIVES.into_iter().enumerate() {
            let weight = 1.0 + self.weights[window];
            if let Some((_, counts)) = at.and_then(|at| self.tasks.get_mut(at)) {
                counts[window] += weight;
            }
            self.totals[window] += weight;
            self.confidences[window] += weight * confidence;
            self.weights[window] = weight * (1.0 / half_life).exp2() - 1.0;
            if weight > LARGE {
                self.rescale(window, weight);
            }
        }
    }

    fn rescale(&mut self, window: usize, by: f64) {
        for (_, counts) in &mut self.tasks {
            counts[window] /= by;
        }
        self.totals[window] /= by;
        self.confidences[window] /= by;
        self.weights[window] = (1.0 + self.weights[window]) / by - 1.0;
    }

    fn shift(&self) -> Shift {
        let share = |counts: &[f64; 2], window: usize| {
            (counts[window] / self.totals[window]).max(LEAST_SHARE)
        };
        let index = self.tasks.iter().map(|(_, counts)| {
            let (new, usual) = (share(counts, 0), share(counts, 1));
            (new - usual) * (new / usual).ln()
        });
        let mean = |window: usize| self.confidences[window] / self.totals[window];
        Shift {
            task_mix: index.sum(),
            confidence: mean(0) - mean(1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(phases: &[(u32, &[&str], f32)]) -> Option<Shift> {
        let drift = Drift::default();
        for (requests, tasks, confidence) in phases {
            for at in 0..*requests {
                let task = tasks[at as usize % tasks.len()];
                drift.observe(&TaskName::new(task), *confidence);
            }
        }
        drift.shift()
    }

    #[test]
    fn the_same_mix_is_no_drift() {
        assert_eq!(after(&[(100, &["a"], 0.9)]), None);
        let shift = after(&[(100_000, &["a", "b", "c"], 0.8)]).expect("enough");
        assert!(
            shift.task_mix < 0.001 && shift.confidence.abs() < 1e-6,
            "{shift:?}"
        );
    }

    #[test]
    fn another_mix_shows_within_some_hundred_requests_and_becomes_usual() {
        let usual: (u32, &[&str], f32) = (50_000, &["a", "a", "a", "b"], 0.9);
        let few = after(&[usual, (500, &["b", "c"], 0.5)]).expect("enough");
        assert!(few.task_mix > 0.25, "{few:?}");
        assert!(few.confidence < -0.15, "{few:?}");
        let many = after(&[usual, (200_000, &["b", "c"], 0.5)]).expect("enough");
        assert!(many.task_mix < 0.05 && many.confidence > -0.01, "{many:?}");
    }

    #[test]
    fn names_without_end_take_no_room_without_end() {
        let drift = Drift::default();
        for at in 0..1_000 {
            drift.observe(&TaskName::new(format!("task-{at}")), 0.5);
        }
        assert_eq!(drift.windows.lock().tasks.len(), MAX_TASKS);
        assert!(
            drift
                .shift()
                .is_some_and(|shift| shift.task_mix.is_finite())
        );
    }
}
