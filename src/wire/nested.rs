//! Members inside a member that the neutral form has no name for: what is left of a nested object is kept
//! in its owner's [`Extra`] under the nested member's name, and written back inside it.

use crate::types::chat::{Extra, RawJson};
use crate::wire::json_in::Object;
use crate::wire::json_out::{JsonOut, Members};

/// Keeps what was left of the member `name` under its name.
pub(in crate::wire) fn keep(extra: &mut Extra, name: &str, rest: &Extra) {
    if !rest.is_empty() {
        extra.0.push((name.to_owned(), as_object(rest)));
    }
}

/// Members as one JSON object.
pub(in crate::wire) fn as_object(extra: &Extra) -> RawJson {
    let mut json = JsonOut::default();
    json.object(|it| it.extra(extra));
    RawJson::new(&json.into_string())
}

/// Writes what [`keep`] has kept into the object of that name.
pub(in crate::wire) fn kept(it: &mut Members<'_>, extra: &Extra, name: &str) {
    if let Some(rest) = rest_of(extra, name) {
        it.extra(&rest);
    }
}

/// What [`keep`] has kept of the member `name`.
pub(in crate::wire) fn rest_of(extra: &Extra, name: &str) -> Option<Extra> {
    let (_, value) = extra.iter().find(|(other, _)| *other == name)?;
    Some(Object::read(value.get()).ok()?.rest())
}

/// Something was kept of the member `name`.
pub(in crate::wire) fn has(extra: &Extra, name: &str) -> bool {
    extra.iter().any(|(other, _)| other == name)
}

/// Writes the extra members except those of `nested` names, which are written where they belong.
pub(in crate::wire) fn others(it: &mut Members<'_>, extra: &Extra, nested: &[&str]) {
    for (name, value) in extra.iter() {
        if !nested.contains(&name) {
            it.raw(name, value);
        }
    }
}
