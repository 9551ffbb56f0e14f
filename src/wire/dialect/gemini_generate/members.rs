//! Members as protobuf's JSON mapping writes them: `lowerCamelCase` or the name in the `.proto`, numbers
//! as numbers or as strings.

use crate::wire::json_in::{Object, Raw};

/// Takes a member by either of its names; `null` counts as absent.
pub(super) fn take<'j>(object: &mut Object<'j>, name: &str) -> Option<Raw<'j>> {
    object
        .take(name)
        .or_else(|| object.take(&proto_name(object, name)?))
}

/// Takes a member by either of its names if it can be read so; otherwise it is left over as it is.
pub(super) fn take_as<'j, T>(
    object: &mut Object<'j>,
    name: &str,
    read: impl Fn(Raw<'j>) -> Option<T>,
) -> Option<T> {
    object
        .take_if(name, &read)
        .or_else(|| object.take_if(&proto_name(object, name)?, &read))
}

/// Takes out a string.
pub(super) fn take_string(object: &mut Object<'_>, name: &str) -> Option<String> {
    take_as(object, name, Raw::string)
}

/// A whole number that is not negative, also as a string or with a fraction of zero.
pub(super) fn count(raw: Raw<'_>) -> Option<u64> {
    raw.count().or_else(|| integer(raw)?.try_into().ok())
}

/// A whole number, also as a string or with a fraction of zero.
pub(super) fn integer(raw: Raw<'_>) -> Option<i64> {
    if let Some(number) = raw.integer() {
        return Some(number);
    }
    if let Some(text) = raw.text() {
        return text.trim().parse().ok();
    }
    let number = raw.number()?;
    // Beyond 2^53 a float is no exact count any more.
    #[allow(clippy::cast_possible_truncation)]
    (number.fract() == 0.0 && number.abs() < 9e15).then_some(number as i64)
}

/// A number, also as a string.
pub(super) fn number(raw: Raw<'_>) -> Option<f64> {
    raw.number()
        .or_else(|| raw.text()?.trim().parse().ok())
        .filter(|number: &f64| number.is_finite())
}

/// `topP` is `top_p` in the `.proto`; `None` where both names are one, or the object has none of its
/// kind, as Google's answers have not.
fn proto_name(object: &Object<'_>, name: &str) -> Option<String> {
    let is_proto = |(name, _): (&str, _)| memchr::memchr(b'_', name.as_bytes()).is_some();
    if !object.iter().any(is_proto) || !name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return None;
    }
    let mut proto = String::with_capacity(name.len() + 4);
    for character in name.chars() {
        if character.is_ascii_uppercase() {
            proto.push('_');
        }
        proto.push(character.to_ascii_lowercase());
    }
    Some(proto)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_has_two_names_and_a_number_two_forms() {
        let json = r#"{"top_p":"0.5","topK":40.0,"max_output_tokens":"12","seed":-3,"n":1.5}"#;
        let mut object = Object::read(json).expect("an object");
        assert_eq!(take_as(&mut object, "topP", number), Some(0.5));
        assert_eq!(take_as(&mut object, "topK", count), Some(40));
        assert_eq!(take_as(&mut object, "maxOutputTokens", count), Some(12));
        assert_eq!(take_as(&mut object, "seed", integer), Some(-3));
        assert_eq!(take_as(&mut object, "n", count), None);
        assert_eq!(object.rest().0.len(), 1);
    }
}
