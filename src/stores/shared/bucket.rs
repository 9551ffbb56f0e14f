//! A rate that replicas share: one bucket, from which each draws what it is about to use. What
//! `memory` does and `redis/draw.lua` says again in Lua.
//!
//! The bucket fills at the rate, up to the burst less what replicas hold undrawn: so in any stretch of
//! time no more than rate and burst allow is drawn. Who draws gets its part by demand, and at least
//! what a waiting request needs. A replica that dies takes what it held with it.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::LEASE_TTL_MS;
use crate::types::{DrawCall, DrawReply};

/// A bucket always has room for what this long brings, so that what is held between two calls does
/// not stop it from filling.
const ROOM_MS: f64 = 400.0;
/// And for one whole permit for each replica.
const ROOM_EACH: f64 = 1e6;

#[derive(Clone, Debug)]
struct Row {
    weight: u64,
    held: u64,
    deadline_ms: i64,
}

#[derive(Clone, Debug)]
pub(super) struct Bucket {
    level: f64,
    at_ms: i64,
    rows: BTreeMap<Arc<str>, Row>,
}

#[allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "levels are far below 2^53 and not negative where they are cast"
)]
impl Bucket {
    pub(super) fn full(call: &DrawCall, now_ms: i64) -> Self {
        Self {
            level: call.burst as f64,
            at_ms: now_ms,
            rows: BTreeMap::new(),
        }
    }

    pub(super) fn draw(&mut self, replica: &Arc<str>, call: &DrawCall, now_ms: i64) -> DrawReply {
        self.rows.remove(replica);
        self.rows.retain(|_, row| row.deadline_ms >= now_ms);
        let weights = call.weight + self.rows.values().map(|row| row.weight).sum::<u64>();
        let outstanding = call.held + self.rows.values().map(|row| row.held).sum::<u64>();
        let live = self.rows.len() as u64 + 1;
        let per_ms = call.rate as f64 / 60_000.0;
        let room = (call.burst as f64).max(per_ms * ROOM_MS + live as f64 * ROOM_EACH)
            - outstanding as f64;
        let passed = (now_ms - self.at_ms).max(0) as f64;
        let level = self.level + call.back as f64;
        let mut level = (level + passed * per_ms).min(room).max(level.min(room));
        let share = if weights > 0 {
            call.weight as f64 / weights as f64
        } else {
            1.0
        };
        let (want, need) = (call.want as f64, call.need as f64);
        let mut granted = want.min(level).min((level * share).max(need)).max(0.0);
        if granted < need && level >= room && need > room && call.need <= call.rate {
            granted = need;
        }
        level -= granted;
        let granted = granted as u64;
        if call.weight > 0 || call.held + granted > 0 {
            let row = Row {
                weight: call.weight,
                held: call.held + granted,
                deadline_ms: now_ms + LEASE_TTL_MS,
            };
            self.rows.insert(Arc::clone(replica), row);
        }
        (self.level, self.at_ms) = (level, now_ms);
        DrawReply {
            granted,
            weights,
            live,
        }
    }
}
