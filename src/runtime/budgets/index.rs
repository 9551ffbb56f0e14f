//! Which budgets match a payer, without looking at all of them: budgets that name the same
//! dimensions (team, app, key, model, provider) share one table, so the work grows with the number
//! of such combinations in the file, of which there are a handful, and not with the budgets. Those
//! that name tags are looked at one by one, once for each payer that is new.
//!
//! End users are none of it: the client names them, and accounts must not grow with what clients say.

use indexmap::Equivalent;
use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use crate::types::{AppId, Caller, KeyId, ModelId, ProviderId, TeamId};

use super::{BudgetMatch, BudgetParams, Payer};

/// Indices of cells, ascending.
pub(super) type CellIndices = SmallVec<[usize; 4]>;

/// Which dimensions a budget names.
type Dimensions = [bool; 5];

/// A payer without the end user, or what a budget says about one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(super) struct AccountKey {
    team: Option<TeamId>,
    app: Option<AppId>,
    key: Option<KeyId>,
    model: Option<ModelId>,
    provider: Option<ProviderId>,
}

impl AccountKey {
    fn named_by(matches: &BudgetMatch) -> Self {
        Self {
            team: matches.team.clone(),
            app: matches.app.clone(),
            key: matches.key.clone(),
            model: matches.model.clone(),
            provider: matches.provider.clone(),
        }
    }

    const fn dimensions(&self) -> Dimensions {
        [
            self.team.is_some(),
            self.app.is_some(),
            self.key.is_some(),
            self.model.is_some(),
            self.provider.is_some(),
        ]
    }

    /// By these dimensions only.
    fn restricted(&self, [team, app, key, model, provider]: Dimensions) -> Self {
        Self {
            team: self.team.clone().filter(|_| team),
            app: self.app.clone().filter(|_| app),
            key: self.key.clone().filter(|_| key),
            model: self.model.clone().filter(|_| model),
            provider: self.provider.clone().filter(|_| provider),
        }
    }
}

/// The budgets of one configuration by what they match.
#[derive(Debug, Default)]
pub(super) struct Index {
    tables: Vec<(Dimensions, FxHashMap<AccountKey, CellIndices>)>,
    /// What those that name tags say, beside their entry in `tables`.
    matches: Vec<BudgetMatch>,
}

impl Index {
    pub(super) fn new(params: &[BudgetParams]) -> Self {
        let mut index = Self {
            matches: params.iter().map(|budget| budget.matches.clone()).collect(),
            ..Self::default()
        };
        for (cell, budget) in params.iter().enumerate() {
            let key = AccountKey::named_by(&budget.matches);
            let named = key.dimensions();
            let known = index.tables.iter().position(|(table, _)| *table == named);
            let at = known.unwrap_or_else(|| {
                index.tables.push((named, FxHashMap::default()));
                index.tables.len() - 1
            });
            let (_, table) = &mut index.tables[at];
            table.entry(key).or_default().push(cell);
        }
        index
    }

    /// The cells that match a payer, and those that do for some end user.
    pub(super) fn cells_of(&self, payer: &AccountKey) -> (CellIndices, CellIndices) {
        let mut cells = CellIndices::new();
        for (named, table) in &self.tables {
            if let Some(found) = table.get(&payer.restricted(*named)) {
                cells.extend_from_slice(found);
            }
        }
        cells.retain(|cell| {
            let tagged = self.matches[*cell].tagged.as_ref();
            tagged.is_none_or(|tagged| tagged.covers(payer.team.as_ref(), payer.key.as_ref()))
        });
        cells.sort_unstable();
        cells
            .into_iter()
            .partition(|cell| self.matches[*cell].end_user.is_none())
    }
}

/// A payer that is looked up without cloning its names. Field by field like [`AccountKey`], so
/// that both hash alike.
#[derive(Debug, Clone, Copy, Hash)]
pub(super) struct PayerRef<'a> {
    team: Option<&'a TeamId>,
    app: Option<&'a AppId>,
    key: Option<&'a KeyId>,
    model: Option<&'a ModelId>,
    provider: Option<&'a ProviderId>,
}

impl<'a> PayerRef<'a> {
    pub(super) const fn of(payer: &'a Payer) -> Self {
        Self {
            team: Some(&payer.team),
            app: Some(&payer.app),
            key: payer.key.as_ref(),
            model: Some(&payer.model),
            provider: Some(&payer.provider),
        }
    }

    pub(super) const fn without_model(caller: &'a Caller) -> Self {
        Self {
            team: Some(&caller.team),
            app: Some(&caller.app),
            key: caller.key.as_ref(),
            model: None,
            provider: None,
        }
    }

    pub(super) fn to_key(self) -> AccountKey {
        AccountKey {
            team: self.team.cloned(),
            app: self.app.cloned(),
            key: self.key.cloned(),
            model: self.model.cloned(),
            provider: self.provider.cloned(),
        }
    }
}

impl Equivalent<AccountKey> for PayerRef<'_> {
    fn equivalent(&self, key: &AccountKey) -> bool {
        self.team == key.team.as_ref()
            && self.app == key.app.as_ref()
            && self.key == key.key.as_ref()
            && self.model == key.model.as_ref()
            && self.provider == key.provider.as_ref()
    }
}
