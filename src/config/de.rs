//! Reads a [`Node`] into the schema's types. Runs after [`super::shape`] has removed whatever does
//! not fit, so its errors are a second line of defence; they carry no position.

use std::fmt;

use serde::de::value::StrDeserializer;
use serde::de::{self, DeserializeSeed, IntoDeserializer, Visitor};
use serde::forward_to_deserialize_any;

use super::tree::{Entry, Node, Scalar, ScalarKind, Value};

/// Why a node is not of the wanted type.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ReadError(String);

impl de::Error for ReadError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self(message.to_string())
    }
}

/// Reads a tree into a type.
///
/// # Errors
/// When the tree does not have the type's shape.
pub fn read<T: de::DeserializeOwned>(node: &Node) -> Result<T, ReadError> {
    T::deserialize(node)
}

impl<'de> de::Deserializer<'de> for &'de Node {
    type Error = ReadError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        match &self.value {
            Value::Scalar(scalar) => visit_scalar(scalar, visitor),
            Value::List(items) => {
                visitor.visit_seq(de::value::SeqDeserializer::new(items.iter().map(ByRef)))
            }
            Value::Map(entries) => visitor.visit_map(MapReader {
                rest: entries.iter(),
                value: None,
            }),
        }
    }

    /// The text as it is written, whatever it would mean: decimals stay exact this way.
    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        match &self.value {
            Value::Scalar(scalar) => visitor.visit_str(&scalar.text),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        if self.is_null() {
            visitor.visit_none()
        } else {
            visitor.visit_some(self)
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        match &self.value {
            Value::Scalar(scalar) => {
                let variant: StrDeserializer<'_, ReadError> =
                    scalar.text.as_str().into_deserializer();
                visitor.visit_enum(variant)
            }
            _ => Err(ReadError("expected a single word".to_owned())),
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char bytes byte_buf unit unit_struct
        seq tuple tuple_struct map struct identifier ignored_any
    }
}

fn visit_scalar<'de, V: Visitor<'de>>(
    scalar: &'de Scalar,
    visitor: V,
) -> Result<V::Value, ReadError> {
    let text = scalar.text.as_str();
    match scalar.kind() {
        ScalarKind::Null => visitor.visit_unit(),
        ScalarKind::Bool(value) => visitor.visit_bool(value),
        ScalarKind::Integer => match (text.parse::<u64>(), text.parse::<i64>()) {
            (Ok(value), _) => visitor.visit_u64(value),
            (_, Ok(value)) => visitor.visit_i64(value),
            _ => visit_float(text, visitor),
        },
        ScalarKind::Number => visit_float(text, visitor),
        ScalarKind::Text => visitor.visit_str(text),
    }
}

fn visit_float<'de, V: Visitor<'de>>(text: &str, visitor: V) -> Result<V::Value, ReadError> {
    match text.parse() {
        Ok(value) => visitor.visit_f64(value),
        Err(_) => Err(ReadError(format!("`{text}` is not a number"))),
    }
}

struct ByRef<'de>(&'de Node);

impl<'de> IntoDeserializer<'de, ReadError> for ByRef<'de> {
    type Deserializer = &'de Node;

    fn into_deserializer(self) -> &'de Node {
        self.0
    }
}

struct MapReader<'de> {
    rest: std::slice::Iter<'de, Entry>,
    value: Option<&'de Node>,
}

impl<'de> de::MapAccess<'de> for MapReader<'de> {
    type Error = ReadError;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, ReadError> {
        let Some(entry) = self.rest.next() else {
            return Ok(None);
        };
        self.value = Some(&entry.value);
        let key: StrDeserializer<'_, ReadError> = entry.key.as_str().into_deserializer();
        seed.deserialize(key).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, ReadError> {
        match self.value.take() {
            Some(node) => seed.deserialize(node),
            None => Err(ReadError("a value was read before its key".to_owned())),
        }
    }
}
