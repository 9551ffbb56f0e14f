//! What every back end of kept responses does, and what the front adds: found at once, written soon,
//! bounded where nothing can be written.

use std::sync::atomic::AtomicBool;

use futures_util::FutureExt;
use futures_util::future::ready;

use super::*;
use crate::stores::sqlite::ResponsesFile;

const BOUNDS: Bounds = Bounds {
    retention: Duration::from_secs(10),
    max_bytes: 1 << 20,
};

fn kept(tenant: &str, id: &str, created_ms: i64) -> KeptResponse {
    KeptResponse {
        tenant: tenant.into(),
        id: id.into(),
        created_ms,
        origin: "openai_chat@p".into(),
        response: Bytes::from(format!(r#"{{"id":"{id}","text":"wörld"}}"#)),
        input: Bytes::from("[]"),
        items: vec![format!("msg_{id}")],
    }
}

/// Runs a promise against every back end that needs no server; Redis has its own in `tests/it`.
async fn check<F: Future<Output = ()>>(bounds: Bounds, promise: impl Fn(Responses) -> F) {
    promise(Responses::memory(bounds)).await;
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("t.responses.db");
    promise(Responses::sqlite(&path, bounds).expect("opened")).await;
}

async fn ids(responses: &Responses, tenant: &str, asked: &[&str], now_ms: i64) -> Vec<bool> {
    let mut found = Vec::new();
    for id in asked {
        let one = responses.find(tenant, id, now_ms).await.expect("read");
        found.push(one.is_some());
    }
    found
}

#[tokio::test]
async fn a_response_is_found_at_once_and_after_it_was_written_by_its_tenant_alone() {
    check(BOUNDS, async |responses: Responses| {
        let one = kept("a", "resp_1", 1_000);
        responses.keep(one.clone()).expect("room");
        for written in [false, true] {
            if written {
                responses.flush().await.expect("written");
                assert_eq!(responses.pending.lock().bytes, 0);
            }
            let found = responses.find("a", "resp_1", 2_000).await.expect("read");
            assert_eq!(found.as_deref(), Some(&one), "written: {written}");
            let holder = responses.holder_of("a", "msg_resp_1", 2_000).await;
            assert_eq!(holder.expect("read").as_deref(), Some(&one));
            assert_eq!(ids(&responses, "b", &["resp_1"], 2_000).await, [false]);
            let holder = responses.holder_of("b", "msg_resp_1", 2_000).await;
            assert_eq!(holder.expect("read"), None);
        }
    })
    .await;
}

#[tokio::test]
async fn what_is_deleted_is_gone_written_or_not() {
    check(BOUNDS, async |responses: Responses| {
        for written in [false, true] {
            responses.keep(kept("a", "resp_1", 1_000)).expect("room");
            if written {
                responses.flush().await.expect("written");
            }
            assert!(!responses.forget("b", "resp_1").await.expect("written"));
            assert!(responses.forget("a", "resp_1").await.expect("written"));
            assert!(!responses.forget("a", "resp_1").await.expect("written"));
            responses.flush().await.expect("written");
            assert_eq!(ids(&responses, "a", &["resp_1"], 2_000).await, [false]);
        }
    })
    .await;
}

#[tokio::test]
async fn what_is_too_old_is_not_found_and_goes() {
    check(BOUNDS, async |responses: Responses| {
        responses.keep(kept("a", "old", 1_000)).expect("room");
        responses.keep(kept("a", "new", 9_000)).expect("room");
        assert_eq!(ids(&responses, "a", &["old"], 11_000).await, [false]);
        responses.flush().await.expect("written");
        responses.shelf.expire(11_000).await.expect("written");
        // By an earlier clock it would be young enough: it is really gone.
        let found = ids(&responses, "a", &["old", "new"], 9_500).await;
        assert_eq!(found, [false, true]);
    })
    .await;
}

#[tokio::test]
async fn the_oldest_make_room() {
    let bounds = Bounds {
        max_bytes: 3_000,
        ..BOUNDS
    };
    check(bounds, async |responses: Responses| {
        for (number, id) in ["r0", "r1", "r2", "r3", "r4", "r5"].into_iter().enumerate() {
            let created_ms = i64::try_from(number).expect("small") + 1_000;
            responses.keep(kept("a", id, created_ms)).expect("room");
            responses.flush().await.expect("written");
        }
        let found = ids(&responses, "a", &["r0", "r5"], 2_000).await;
        assert_eq!(found, [false, true]);
        // The same id again takes the place of the first and counts once.
        for _ in 0..9 {
            responses.keep(kept("a", "r5", 1_005)).expect("room");
            responses.flush().await.expect("written");
        }
        let found = ids(&responses, "a", &["r4", "r5"], 2_000).await;
        assert_eq!(found, [true, true]);
    })
    .await;
}

#[tokio::test]
async fn a_file_keeps_them_over_a_restart_for_its_owner_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("t.responses.db");
    let first = Responses::sqlite(&path, BOUNDS).expect("opened");
    first.keep(kept("a", "resp_1", 1_000)).expect("room");
    first.flush().await.expect("written");
    drop(first);
    let again = Responses::sqlite(&path, BOUNDS).expect("opened");
    assert_eq!(ids(&again, "a", &["resp_1"], 2_000).await, [true]);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = std::fs::metadata(&path).expect("a file").permissions();
        assert_eq!(mode.mode() & 0o777, 0o600);
    }
}

#[test]
fn a_file_of_a_newer_version_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("t.responses.db");
    std::fs::write(&path, "no database at all, but long enough to be looked at").expect("written");
    ResponsesFile::open(&path, BOUNDS).expect_err("refused");
}

/// A store that fails as long as it is told to.
#[derive(Debug, Default)]
struct Failing(Arc<AtomicBool>);

impl Shelf for Failing {
    fn put<'a>(&'a self, _: &'a [Arc<KeptResponse>]) -> BoxFuture<'a, Result<(), ShelfError>> {
        let fails = self.0.load(Ordering::Relaxed);
        let written = if fails {
            Err(ShelfError("disk full".to_owned()))
        } else {
            Ok(())
        };
        ready(written).boxed()
    }

    fn get<'a>(
        &'a self,
        _: &'a str,
        _: &'a str,
    ) -> BoxFuture<'a, Result<Option<KeptResponse>, ShelfError>> {
        ready(Ok(None)).boxed()
    }

    fn holder<'a>(
        &'a self,
        _: &'a str,
        _: &'a str,
    ) -> BoxFuture<'a, Result<Option<String>, ShelfError>> {
        ready(Ok(None)).boxed()
    }

    fn delete<'a>(&'a self, _: &'a str, _: &'a str) -> BoxFuture<'a, Result<bool, ShelfError>> {
        ready(Ok(false)).boxed()
    }

    fn expire(&self, _: i64) -> BoxFuture<'_, Result<(), ShelfError>> {
        ready(Ok(())).boxed()
    }
}

#[tokio::test]
async fn what_cannot_be_written_waits_up_to_a_bound() {
    let fails = Arc::new(AtomicBool::new(true));
    let responses = Responses::on(Box::new(Failing(Arc::clone(&fails))), BOUNDS);
    let mut number = 0;
    while responses.has_room() {
        let mut large = kept("a", &format!("r{number}"), 1_000);
        large.input = Bytes::from(vec![b' '; 8 << 20]);
        responses.keep(large).expect("room");
        number += 1;
    }
    assert_eq!(number, 8);
    assert_eq!(responses.keep(kept("a", "more", 1_000)), Err(ShelfFull));
    responses.flush().await.expect_err("full");
    assert!(!responses.is_healthy());
    assert_eq!(
        ids(&responses, "a", &["r0", "more"], 2_000).await,
        [true, false]
    );
    fails.store(false, Ordering::Relaxed);
    responses.flush().await.expect("written");
    assert!(responses.is_healthy() && responses.has_room());
}
