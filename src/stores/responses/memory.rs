//! Responses that go with the process.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};
use parking_lot::Mutex;

use super::{Bounds, KeptResponse, Shelf, ShelfError};

/// A map, oldest first.
#[derive(Debug)]
pub(super) struct MemoryShelf {
    bounds: Bounds,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    /// By when it was made, tenant and id.
    by_age: BTreeMap<(i64, Box<str>, Box<str>), Arc<KeptResponse>>,
    /// When the response of this tenant and id was made.
    made: HashMap<(Box<str>, Box<str>), i64>,
    bytes: u64,
}

impl Kept {
    fn remove(&mut self, tenant: &str, id: &str) -> bool {
        let found = self.find(tenant, id).map(|kept| place(&kept));
        found.is_some_and(|place| self.take(&place))
    }

    fn add(&mut self, new: &Arc<KeptResponse>) {
        self.remove(&new.tenant, &new.id);
        self.bytes += new.bytes() as u64;
        let (at, tenant, id) = place(new);
        self.made.insert((tenant.clone(), id.clone()), at);
        self.by_age.insert((at, tenant, id), Arc::clone(new));
    }

    fn take(&mut self, place: &(i64, Box<str>, Box<str>)) -> bool {
        let gone = self.by_age.remove(place);
        self.made.remove(&(place.1.clone(), place.2.clone()));
        self.bytes -= gone.as_ref().map_or(0, |kept| kept.bytes() as u64);
        gone.is_some()
    }

    fn find(&self, tenant: &str, id: &str) -> Option<Arc<KeptResponse>> {
        let name: (Box<str>, Box<str>) = (tenant.into(), id.into());
        let at = *self.made.get(&name)?;
        self.by_age.get(&(at, name.0, name.1)).map(Arc::clone)
    }
}

fn place(kept: &KeptResponse) -> (i64, Box<str>, Box<str>) {
    (kept.created_ms, kept.tenant.clone(), kept.id.clone())
}

impl MemoryShelf {
    pub fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            kept: Mutex::default(),
        }
    }
}

impl Shelf for MemoryShelf {
    fn put<'a>(&'a self, batch: &'a [Arc<KeptResponse>]) -> BoxFuture<'a, Result<(), ShelfError>> {
        let mut kept = self.kept.lock();
        for new in batch {
            kept.add(new);
        }
        while kept.bytes > self.bounds.max_bytes {
            let Some(oldest) = kept.by_age.keys().next().cloned() else {
                break;
            };
            kept.take(&oldest);
        }
        ready(Ok(())).boxed()
    }

    fn get<'a>(
        &'a self,
        tenant: &'a str,
        id: &'a str,
    ) -> BoxFuture<'a, Result<Option<KeptResponse>, ShelfError>> {
        let found = self.kept.lock().find(tenant, id);
        ready(Ok(found.map(|kept| (*kept).clone()))).boxed()
    }

    fn holder<'a>(
        &'a self,
        tenant: &'a str,
        item: &'a str,
    ) -> BoxFuture<'a, Result<Option<String>, ShelfError>> {
        let kept = self.kept.lock();
        let mut kept = kept.by_age.values().rev();
        let found = kept
            .find(|kept| &*kept.tenant == tenant && kept.items.iter().any(|it| it == item))
            .map(|kept| kept.id.to_string());
        ready(Ok(found)).boxed()
    }

    fn delete<'a>(
        &'a self,
        tenant: &'a str,
        id: &'a str,
    ) -> BoxFuture<'a, Result<bool, ShelfError>> {
        ready(Ok(self.kept.lock().remove(tenant, id))).boxed()
    }

    fn expire(&self, now_ms: i64) -> BoxFuture<'_, Result<(), ShelfError>> {
        let before = super::horizon_ms(now_ms, self.bounds.retention);
        let mut kept = self.kept.lock();
        while let Some(oldest) = kept.by_age.keys().next().cloned()
            && oldest.0 <= before
        {
            kept.take(&oldest);
        }
        ready(Ok(())).boxed()
    }
}
