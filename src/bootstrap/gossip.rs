//! What replicas tell each other once a second: which breakers are open, what was learned, which virtual
//! keys there are. Never on a request's way.
//!
//! Fail-open: while the store is away each replica goes on with what it last heard and with what it sees
//! itself. Everything that is posted is absolute, so that nothing counts twice; a store that has forgotten
//! is told again.

use std::sync::Arc;
use std::time::Duration;

use rustc_hash::FxHashSet;
use serde_json::json;
use tokio::time::{Instant, MissedTickBehavior};

use crate::gateway::Gateway;
use crate::replicas::Replicas;
use crate::stores::{Post, Posted};
use crate::types::DeploymentId;

/// How often replicas tell each other.
const EVERY: Duration = Duration::from_secs(1);
/// Lengths change slowly and are long texts: they are told at every so many exchanges.
const LENGTHS_EVERY: u64 = 10;
/// How long what was learned stands after its replica was last heard of. It fades by itself before.
const LEARNED_LIVES: Duration = Duration::from_hours(7 * 24);
/// The same for latencies, of which an observation counts half after two minutes.
const LATENCIES_LIVE: Duration = Duration::from_mins(15);
/// The same for open breakers: longer than a breaker stays open.
const BREAKERS_LIVE: Duration = Duration::from_mins(15);

/// An open breaker, as it is posted: whose, which trip of it, and for how many more milliseconds.
type Open = (DeploymentId, u64, u64);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Subject {
    Breakers,
    Arms,
    Latencies,
    Lengths,
}

/// One topic of the board, as this replica stands to it.
#[derive(Debug)]
struct Topic {
    subject: Subject,
    name: &'static str,
    lives: Duration,
    /// The version that was read.
    seen: u64,
    /// When this replica last posted; `None`: what it posted is not there.
    posted: Option<Instant>,
}

impl Topic {
    const fn of(subject: Subject, name: &'static str, lives: Duration) -> Self {
        Self {
            subject,
            name,
            lives,
            seen: 0,
            posted: None,
        }
    }

    /// True when the text has to be posted though it may be the old one: it is not there, or would not
    /// live much longer.
    fn again(&self) -> bool {
        self.posted
            .is_none_or(|posted| posted.elapsed() > self.lives / 3)
    }
}

/// This replica's side of the board.
#[derive(Debug)]
pub struct Gossip {
    replicas: Arc<Replicas>,
    topics: [Topic; 4],
    /// Exchanges so far. The first one only reads: a replica without memory finds there what it knew.
    rounds: u64,
    /// The breakers that were posted open, without the time.
    told_open: Vec<(DeploymentId, u64)>,
    /// Others' trips that were taken in.
    heeded: FxHashSet<(String, DeploymentId, u64)>,
}

impl Gossip {
    /// Nothing is told or heard yet.
    #[must_use]
    pub fn new(replicas: Arc<Replicas>) -> Self {
        Self {
            replicas,
            topics: [
                Topic::of(Subject::Breakers, "breakers", BREAKERS_LIVE),
                Topic::of(Subject::Arms, "arms", LEARNED_LIVES),
                Topic::of(Subject::Latencies, "latencies", LATENCIES_LIVE),
                Topic::of(Subject::Lengths, "lengths", LEARNED_LIVES),
            ],
            rounds: 0,
            told_open: Vec::new(),
            heeded: FxHashSet::default(),
        }
    }

    /// Tells and hears until the gateway stops, and then once more.
    pub async fn keep(mut self, gw: Arc<Gateway>) {
        let mut ticks = tokio::time::interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = gw.stop.cancelled() => break,
                _ = ticks.tick() => {}
            }
            self.round(&gw).await;
        }
        self.round(&gw).await;
    }

    /// One exchange.
    pub async fn round(&mut self, gw: &Arc<Gateway>) {
        super::keys::follow(gw, &self.replicas).await;
        let posts = self.posts(gw);
        let Some(answers) = self.replicas.exchange_posts(&posts).await else {
            // What was to be posted may not be there.
            for (topic, post) in self.topics.iter_mut().zip(&posts) {
                if post.text.is_some() {
                    topic.posted = None;
                }
            }
            return;
        };
        for (at, posted) in answers.into_iter().enumerate() {
            self.heard(gw, at, posted);
        }
        self.rounds += 1;
    }

    fn posts(&mut self, gw: &Gateway) -> Vec<Post> {
        let (is_first, told_open) = (self.rounds == 0, &mut self.told_open);
        let lengths = self.rounds.is_multiple_of(LENGTHS_EVERY);
        let topics = self.topics.iter_mut().map(|topic| {
            let again = topic.again();
            let text = match topic.subject {
                _ if is_first => None,
                Subject::Breakers => open_breakers(gw, told_open, again),
                Subject::Arms => gw.arms.posted(again),
                Subject::Latencies => gw.latencies.posted(again),
                Subject::Lengths if lengths || again => gw.lengths.posted(again),
                Subject::Lengths => None,
            };
            if text.is_some() {
                topic.posted = Some(Instant::now());
            }
            Post {
                topic: topic.name,
                lives: topic.lives,
                text,
                seen: topic.seen,
            }
        });
        topics.collect()
    }

    fn heard(&mut self, gw: &Gateway, at: usize, posted: Posted) {
        let topic = &mut self.topics[at];
        topic.seen = posted.version;
        let Some(texts) = posted.texts else { return };
        let own_name = self.replicas.signature();
        let own = texts.iter().find(|(name, _)| name == own_name);
        if own.is_none() {
            topic.posted = None;
        }
        let others = || texts.iter().filter(|(name, _)| name != own_name);
        let said = others().map(|(_, text)| text.as_str());
        match topic.subject {
            Subject::Breakers => {
                for (name, text) in others() {
                    heed(gw, &mut self.heeded, name, text);
                }
            }
            Subject::Arms => {
                if let (0, Some((_, text))) = (self.rounds, own) {
                    gw.arms.adopt(text);
                }
                let params = gw.active.load().snapshot.select.learn;
                gw.arms.heard(said, &params);
            }
            Subject::Latencies => gw.latencies.heard(said, gw.clock.unix_ms()),
            Subject::Lengths => gw.lengths.heard(said),
        }
    }
}

/// The open breakers as text, when they are not the ones that were told.
fn open_breakers(gw: &Gateway, told: &mut Vec<(DeploymentId, u64)>, again: bool) -> Option<String> {
    let mut open = gw.deployments.open_breakers(Instant::now());
    open.sort_by(|a, b| a.0.cmp(&b.0));
    let trips: Vec<_> = open
        .iter()
        .map(|(id, trip, _)| (id.clone(), *trip))
        .collect();
    if trips == *told && !again {
        return None;
    }
    *told = trips;
    let open: Vec<Open> = open
        .into_iter()
        .map(|(id, trip, left)| {
            let left_ms = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
            (id, trip, left_ms)
        })
        .collect();
    Some(json!(open).to_string())
}

/// Half-trusts what is open elsewhere, once for each trip. A text of another version says nothing.
fn heed(
    gw: &Gateway,
    heeded: &mut FxHashSet<(String, DeploymentId, u64)>,
    replica: &str,
    text: &str,
) {
    /// Trips that are remembered; forgetting one makes a deployment suspect once more.
    const REMEMBERED: usize = 10_000;
    let open: Vec<Open> = serde_json::from_str(text).unwrap_or_default();
    if heeded.len() > REMEMBERED {
        heeded.clear();
    }
    for (id, trip, left_ms) in open {
        let left = Duration::from_millis(left_ms).min(BREAKERS_LIVE);
        if !heeded.insert((replica.to_owned(), id.clone(), trip)) {
            continue;
        }
        if gw.deployments.suspect(&id, Instant::now() + left) {
            tracing::info!(
                deployment = id.as_str(),
                replica,
                ?left,
                "another replica's breaker is open: one failure is enough here"
            );
        }
    }
}
