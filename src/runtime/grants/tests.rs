//! Purchases of access tokens: once for all who wait, in time, and never more than needed.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

struct Shop {
    sold: Arc<AtomicUsize>,
    lives: Duration,
    takes: Duration,
    closed: Arc<Mutex<bool>>,
}

impl Shop {
    fn new(lives: u64, takes_ms: u64) -> Self {
        Self {
            sold: Arc::default(),
            lives: Duration::from_secs(lives),
            takes: Duration::from_millis(takes_ms),
            closed: Arc::default(),
        }
    }

    async fn visit(&self, grants: &Grants, identity: u8) -> Result<String, GrantError> {
        let buy = || {
            let (sold, lives, takes) = (Arc::clone(&self.sold), self.lives, self.takes);
            let closed = *self.closed.lock();
            async move {
                let began = Instant::now();
                tokio::time::sleep(takes).await;
                let number = sold.fetch_add(1, Ordering::SeqCst) + 1;
                if closed {
                    return Err(GrantError {
                        message: "closed".into(),
                        refused: true,
                    });
                }
                let header = HeaderValue::from_str(&format!("Bearer {number}")).expect("a header");
                Ok(AccessToken::new(header, began, lives))
            }
        };
        let got = grants
            .get(&ProviderId::new("p"), [identity; 32], buy)
            .await?;
        Ok(got.header.to_str().expect("text").to_owned())
    }

    fn sold(&self) -> usize {
        self.sold.load(Ordering::SeqCst)
    }
}

#[tokio::test(start_paused = true)]
async fn many_who_wait_share_one_purchase() {
    let (grants, shop) = (Grants::default(), Shop::new(3600, 50));
    let visits = (0..100).map(|_| shop.visit(&grants, 1));
    for got in futures_util::future::join_all(visits).await {
        assert_eq!(got.expect("bought"), "Bearer 1");
    }
    assert_eq!(shop.sold(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_token_near_its_end_is_used_while_the_next_is_bought() {
    let (grants, shop) = (Grants::default(), Shop::new(3600, 2000));
    shop.visit(&grants, 1).await.expect("bought");
    tokio::time::advance(Duration::from_secs(3600 - 299)).await;
    let before = Instant::now();
    assert_eq!(
        shop.visit(&grants, 1).await.expect("still good"),
        "Bearer 1"
    );
    assert_eq!(Instant::now(), before, "nobody waited");
    assert_eq!(
        shop.visit(&grants, 1).await.expect("still good"),
        "Bearer 1"
    );
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(shop.visit(&grants, 1).await.expect("the next"), "Bearer 2");
    assert_eq!(shop.sold(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_good_token_outlives_failed_purchases_and_not_its_own_end() {
    let (grants, shop) = (Grants::default(), Shop::new(1000, 1));
    shop.visit(&grants, 1).await.expect("bought");
    *shop.closed.lock() = true;
    tokio::time::advance(Duration::from_secs(801)).await;
    for _ in 0..160 {
        assert_eq!(shop.visit(&grants, 1).await.expect("good"), "Bearer 1");
        tokio::time::advance(Duration::from_secs(1)).await;
    }
    // Pauses of 1, 2, 4, 8, 16, 32 and 60 seconds, not one purchase for each request.
    assert!((5..=9).contains(&shop.sold()), "{}", shop.sold());
    tokio::time::advance(Duration::from_secs(70)).await;
    let error = shop.visit(&grants, 1).await.expect_err("past its end");
    assert_eq!(error.to_string(), "closed");
    let asked = shop.sold();
    shop.visit(&grants, 1)
        .await
        .expect_err("left alone for now");
    assert_eq!(shop.sold(), asked);
    *shop.closed.lock() = false;
    tokio::time::advance(LONGEST_PAUSE).await;
    shop.visit(&grants, 1).await.expect("open again");
}

#[tokio::test(start_paused = true)]
async fn who_leaves_does_not_take_the_purchase_along() {
    let (grants, shop) = (Grants::default(), Shop::new(3600, 1000));
    let brief = tokio::time::timeout(Duration::from_millis(10), shop.visit(&grants, 1)).await;
    assert!(brief.is_err());
    assert_eq!(shop.visit(&grants, 1).await.expect("bought"), "Bearer 1");
    assert_eq!(shop.sold(), 1);
}

#[tokio::test(start_paused = true)]
async fn other_credentials_buy_another_token() {
    let (grants, shop) = (Grants::default(), Shop::new(3600, 1));
    assert_eq!(shop.visit(&grants, 1).await.expect("bought"), "Bearer 1");
    assert_eq!(shop.visit(&grants, 2).await.expect("bought"), "Bearer 2");
    assert_eq!(shop.visit(&grants, 2).await.expect("kept"), "Bearer 2");
}

#[tokio::test(start_paused = true)]
async fn a_refused_token_is_given_up_unless_it_is_new() {
    let (grants, shop) = (Grants::default(), Shop::new(3600, 1));
    shop.visit(&grants, 1).await.expect("bought");
    let provider = ProviderId::new("p");
    let held = |grants: &Grants| {
        let grant = Arc::clone(&grants.held.read()[&provider]);
        let held = grant.standing.lock().good.clone();
        held.expect("held")
    };
    assert!(!grants.refused(&provider, &held(&grants)));
    assert_eq!(shop.visit(&grants, 1).await.expect("kept"), "Bearer 1");
    tokio::time::advance(REFUSED_TOO_YOUNG).await;
    let refused = held(&grants);
    assert!(grants.refused(&provider, &refused));
    assert_eq!(shop.visit(&grants, 1).await.expect("another"), "Bearer 2");
    assert!(grants.refused(&provider, &refused), "replaced already");
}

#[test]
fn a_token_is_never_shown() {
    let header = HeaderValue::from_static("Bearer abc");
    let shown = format!(
        "{:?}",
        AccessToken {
            header: {
                let mut header = header;
                header.set_sensitive(true);
                header
            },
            bought: Instant::now(),
            refresh_from: Instant::now(),
            ends: Instant::now(),
        }
    );
    assert!(!shown.contains("abc"), "{shown}");
}
