//! Holds back repetitions: of one kind about one subject, one event goes out at once and then at most
//! one for each interval. The last that was held back goes out when the interval ends, so that what a
//! receiver heard last is how things stand.

use std::time::Duration;

use rustc_hash::FxHashMap;

use crate::types::{Event, EventKind};

/// Subjects that are told apart; clients can choose some of them (a session), so there is a bound.
/// Beyond it new ones share one window of their kind.
const MAX_SUBJECTS: usize = 4096;
/// Most events of one kind in a minute, over all subjects: more would bury whoever reads them.
const MAX_PER_MINUTE: u32 = 60;
const MINUTE_MS: i64 = 60_000;

#[derive(Debug)]
struct Window {
    opened_at_ms: i64,
    /// The last that was held back.
    held: Option<Event>,
    /// How many were held back, `held` included.
    count: u64,
}

#[derive(Debug, Default)]
struct Minute {
    began_ms: i64,
    sent: u32,
}

/// What was sent and held back of late.
#[derive(Debug, Default)]
pub(super) struct Limiter {
    windows: FxHashMap<(EventKind, Box<str>), Window>,
    minutes: FxHashMap<EventKind, Minute>,
}

impl Limiter {
    /// The event if it may go out now, with the count of those before it that did not.
    pub(super) fn admit(&mut self, event: Event, now_ms: i64, interval: Duration) -> Option<Event> {
        if interval.is_zero() {
            return Some(event);
        }
        let is_full = self.windows.len() >= MAX_SUBJECTS;
        let mut key = (event.kind, event.subject.as_str().into());
        if is_full && !self.windows.contains_key(&key) {
            key.1 = "".into();
        }
        if let Some(window) = self.windows.get_mut(&key) {
            window.count += 1;
            window.held = Some(event);
            return None;
        }
        let has_room = self.minute_has_room(event.kind, now_ms);
        let window = Window {
            opened_at_ms: now_ms,
            count: u64::from(!has_room),
            held: (!has_room).then(|| event.clone()),
        };
        self.windows.insert(key, window);
        has_room.then_some(event)
    }

    /// What was held back and may go out now. Windows that ended quietly are forgotten.
    pub(super) fn due(&mut self, now_ms: i64, interval: Duration) -> Vec<Event> {
        let interval_ms = i64::try_from(interval.as_millis()).unwrap_or(i64::MAX);
        let ended: Vec<_> = self
            .windows
            .iter()
            .filter(|(_, window)| now_ms.saturating_sub(window.opened_at_ms) >= interval_ms)
            .map(|(key, _)| key.clone())
            .collect();
        let mut due = Vec::new();
        for key in ended {
            let is_quiet = self.windows.get(&key).is_none_or(|it| it.held.is_none());
            if is_quiet {
                self.windows.remove(&key);
                continue;
            }
            if !self.minute_has_room(key.0, now_ms) {
                continue;
            }
            if let Some(window) = self.windows.get_mut(&key)
                && let Some(mut event) = window.held.take()
            {
                event.suppressed = std::mem::take(&mut window.count).saturating_sub(1);
                window.opened_at_ms = now_ms;
                due.push(event);
            }
        }
        due.sort_by_key(|event| event.at_ms);
        due
    }

    fn minute_has_room(&mut self, kind: EventKind, now_ms: i64) -> bool {
        let minute = self.minutes.entry(kind).or_default();
        if now_ms.saturating_sub(minute.began_ms) >= MINUTE_MS {
            *minute = Minute {
                began_ms: now_ms,
                sent: 0,
            };
        }
        let has_room = minute.sent < MAX_PER_MINUTE;
        minute.sent += u32::from(has_room);
        has_room
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_mins(5);
    const START: i64 = 1_000_000;

    fn event(subject: &str, text: &str, at_ms: i64) -> Event {
        Event::new(EventKind::BreakerOpened, subject, text, at_ms)
    }

    fn texts(events: Vec<Event>) -> Vec<(String, u64)> {
        let told = events.into_iter().map(|it| (it.text, it.suppressed));
        told.collect()
    }

    #[test]
    fn the_first_goes_out_and_the_last_follows_with_a_count() {
        let mut limiter = Limiter::default();
        let mut admit = |text: &str, at| limiter.admit(event("a", text, at), at, INTERVAL);
        assert!(admit("1", START).is_some());
        assert!(admit("2", START + 1).is_none());
        assert!(admit("3", START + 2).is_none());
        assert_eq!(limiter.due(START + 299_999, INTERVAL), []);
        let due = limiter.due(START + 300_000, INTERVAL);
        assert_eq!(texts(due), [("3".to_owned(), 1)]);
        // The next window is open; it ends quietly.
        let next = limiter.admit(event("a", "4", 0), START + 300_001, INTERVAL);
        assert!(next.is_none());
        assert_eq!(
            texts(limiter.due(START + 600_000, INTERVAL)),
            [("4".to_owned(), 0)]
        );
        assert_eq!(limiter.due(START + 900_000, INTERVAL), []);
        assert!(limiter.windows.is_empty());
    }

    #[test]
    fn subjects_and_kinds_do_not_hold_each_other_back() {
        let mut limiter = Limiter::default();
        assert!(limiter.admit(event("a", "", 0), START, INTERVAL).is_some());
        assert!(limiter.admit(event("b", "", 0), START, INTERVAL).is_some());
        let closed = Event::new(EventKind::BreakerClosed, "a", "", 0);
        assert!(limiter.admit(closed, START, INTERVAL).is_some());
    }

    #[test]
    fn a_flood_of_subjects_is_bounded_in_rate_and_memory() {
        let mut limiter = Limiter::default();
        let flood = (0..10_000).filter(|number| {
            let event = event(&number.to_string(), "", 0);
            limiter.admit(event, START, INTERVAL).is_some()
        });
        assert_eq!(flood.count(), 60);
        assert!(limiter.windows.len() <= MAX_SUBJECTS + 1);
    }

    #[test]
    fn without_an_interval_everything_goes_out() {
        let mut limiter = Limiter::default();
        for _ in 0..100 {
            let event = event("a", "", 0);
            assert!(limiter.admit(event, START, Duration::ZERO).is_some());
        }
    }
}
