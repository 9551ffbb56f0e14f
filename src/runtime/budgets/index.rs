//! Which budgets match a payer, without looking at all of them: budgets that name the same
//! dimensions (team, app, key, model, provider) share one table, so the work grows with the number
//! of such combinations in the file, of which there are a handful, and not with the budgets.

use indexmap::Equivalent;
use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use crate::types::{AppId, Caller, KeyId, ModelId, ProviderId, TeamId};

use super::{BudgetMatch, BudgetParams, Payer};

/// Indices of cells, ascending.
pub(super) type CellIndices = SmallVec<[usize; 4]>;

/// Which dimensions a budget names.
type Dimensions = [bool; 5];

/// The budgets of one configuration by what they match.
#[derive(Debug, Default)]
pub(super) struct Index {
    tables: Vec<(Dimensions, FxHashMap<BudgetMatch, CellIndices>)>,
}

impl Index {
    pub(super) fn new(params: &[BudgetParams]) -> Self {
        let mut index = Self::default();
        for (cell, budget) in params.iter().enumerate() {
            let named = dimensions(&budget.matches);
            let known = index.tables.iter().position(|(table, _)| *table == named);
            let at = known.unwrap_or_else(|| {
                index.tables.push((named, FxHashMap::default()));
                index.tables.len() - 1
            });
            let (_, table) = &mut index.tables[at];
            table.entry(budget.matches.clone()).or_default().push(cell);
        }
        index
    }

    /// The cells that match a payer.
    pub(super) fn cells_of(&self, payer: &BudgetMatch) -> CellIndices {
        let mut cells = CellIndices::new();
        for (named, table) in &self.tables {
            if let Some(found) = table.get(&restricted(payer, *named)) {
                cells.extend_from_slice(found);
            }
        }
        cells.sort_unstable();
        cells
    }
}

const fn dimensions(matches: &BudgetMatch) -> Dimensions {
    [
        matches.team.is_some(),
        matches.app.is_some(),
        matches.key.is_some(),
        matches.model.is_some(),
        matches.provider.is_some(),
    ]
}

/// The payer by these dimensions only.
fn restricted(payer: &BudgetMatch, [team, app, key, model, provider]: Dimensions) -> BudgetMatch {
    BudgetMatch {
        team: payer.team.clone().filter(|_| team),
        app: payer.app.clone().filter(|_| app),
        key: payer.key.clone().filter(|_| key),
        model: payer.model.clone().filter(|_| model),
        provider: payer.provider.clone().filter(|_| provider),
    }
}

/// A payer that is looked up without cloning its names. Field by field like [`BudgetMatch`], so
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

    pub(super) fn to_match(self) -> BudgetMatch {
        BudgetMatch {
            team: self.team.cloned(),
            app: self.app.cloned(),
            key: self.key.cloned(),
            model: self.model.cloned(),
            provider: self.provider.cloned(),
        }
    }
}

impl Equivalent<BudgetMatch> for PayerRef<'_> {
    fn equivalent(&self, key: &BudgetMatch) -> bool {
        self.team == key.team.as_ref()
            && self.app == key.app.as_ref()
            && self.key == key.key.as_ref()
            && self.model == key.model.as_ref()
            && self.provider == key.provider.as_ref()
    }
}
