//! Reads one flat JSON object strictly: all unknown and all repeated fields are named at once.
//! In: bytes of a body. Out: a shape, or a problem that says which field is wrong and why.
//! Never: a silently ignored field, a second value for the same field, a null for an absent one.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{self, Deserialize, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

use super::problem::Problem;

/// What may be in an object.
pub(super) trait Shape: Default {
    /// Its fields; at most 64.
    const FIELDS: &'static [&'static str];

    /// Reads the value of the field that `FIELDS` has at `index`.
    fn take<'de, A: MapAccess<'de>>(&mut self, index: usize, map: &mut A) -> Result<(), A::Error>;

    /// The faults of objects inside this one, each under its path.
    fn inner_faults(&self, _faults: &mut Faults) {}
}

/// A shape and which of its fields were wrong.
#[derive(Debug)]
pub(super) struct Object<T> {
    pub(super) shape: T,
    faults: Faults,
}

/// Fields that must not be there.
#[derive(Debug, Default, Clone)]
pub(super) struct Faults {
    unknown: Vec<String>,
    repeated: Vec<String>,
}

/// Reads a whole body.
pub(super) fn read<T: Shape>(bytes: &[u8]) -> Result<T, Problem> {
    let mut object: Object<T> = serde_json::from_slice(bytes)
        .map_err(|error| Problem::invalid(format!("the body is not valid: {error}")))?;
    object.shape.inner_faults(&mut object.faults);
    let Faults { unknown, repeated } = object.faults;
    if !unknown.is_empty() {
        return Err(Problem::invalid(format!(
            "unknown fields: {}; known are {}",
            unknown.join(", "),
            T::FIELDS.join(", ")
        ))
        .with("unknown_fields", unknown));
    }
    if !repeated.is_empty() {
        return Err(Problem::invalid(format!(
            "fields given more than once: {}",
            repeated.join(", ")
        ))
        .with("repeated_fields", repeated));
    }
    Ok(object.shape)
}

/// Reads one value and names its field in the error.
pub(super) fn value<'de, V: Deserialize<'de>, A: MapAccess<'de>>(
    name: &str,
    map: &mut A,
) -> Result<V, A::Error> {
    // serde_json keeps the line and column that the inner error's text ends with.
    map.next_value()
        .map_err(|error| de::Error::custom(format_args!("`{name}`: {error}")))
}

impl Faults {
    /// Adds those of an inner object under its path.
    pub(super) fn adopt<T>(&mut self, path: &str, inner: &Object<T>) {
        let under = |name: &String| format!("{path}.{name}");
        self.unknown.extend(inner.faults.unknown.iter().map(under));
        self.repeated
            .extend(inner.faults.repeated.iter().map(under));
    }
}

impl<'de, T: Shape> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ObjectVisitor(PhantomData))
    }
}

struct ObjectVisitor<T>(PhantomData<T>);

impl<'de, T: Shape> Visitor<'de> for ObjectVisitor<T> {
    type Value = Object<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object<T>, A::Error> {
        let mut object = Object {
            shape: T::default(),
            faults: Faults::default(),
        };
        let mut seen = 0_u64;
        while let Some(key) = map.next_key_seed(KeySeed(T::FIELDS))? {
            match key {
                Field::Known(index) if seen & (1 << index) == 0 => {
                    seen |= 1 << index;
                    object.shape.take(index, &mut map)?;
                }
                Field::Known(index) => {
                    object.faults.repeated.push(T::FIELDS[index].to_owned());
                    map.next_value::<de::IgnoredAny>()?;
                }
                Field::Unknown(name) => {
                    object.faults.unknown.push(name);
                    map.next_value::<de::IgnoredAny>()?;
                }
            }
        }
        Ok(object)
    }
}

enum Field {
    Known(usize),
    Unknown(String),
}

struct KeySeed(&'static [&'static str]);

impl<'de> DeserializeSeed<'de> for KeySeed {
    type Value = Field;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Field, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for KeySeed {
    type Value = Field;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a field name")
    }

    fn visit_str<E: de::Error>(self, name: &str) -> Result<Field, E> {
        Ok(match self.0.iter().position(|field| *field == name) {
            Some(index) => Field::Known(index),
            None => Field::Unknown(name.to_owned()),
        })
    }
}

/// A whole number that is not negative. `1e4` and `10000.0` are whole numbers too, in JSON Schema.
#[derive(Debug, Clone, Copy)]
pub(super) struct Whole(pub(super) u64);

impl<'de> Deserialize<'de> for Whole {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(WholeVisitor)
    }
}

struct WholeVisitor;

impl Visitor<'_> for WholeVisitor {
    type Value = Whole;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a whole number that is not negative")
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Whole, E> {
        Ok(Whole(value))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Whole, E> {
        // 2^53: beyond it a double does not tell neighbours apart.
        if value.fract() == 0.0 && (0.0..=9_007_199_254_740_992.0).contains(&value) {
            return Ok(Whole(value as u64));
        }
        Err(E::invalid_value(de::Unexpected::Float(value), &self))
    }
}

/// An array of objects, at most `MAX` of them.
#[derive(Debug)]
pub(super) struct Objects<T, const MAX: usize>(pub(super) Vec<Object<T>>);

impl<'de, T: Shape, const MAX: usize> Deserialize<'de> for Objects<T, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(ObjectsVisitor::<T, MAX>(PhantomData))
    }
}

struct ObjectsVisitor<T, const MAX: usize>(PhantomData<T>);

impl<'de, T: Shape, const MAX: usize> Visitor<'de> for ObjectsVisitor<T, MAX> {
    type Value = Objects<T, MAX>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an array of at most {MAX} objects")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            if items.len() == MAX {
                return Err(de::Error::invalid_length(MAX + 1, &self));
            }
            items.push(item);
        }
        Ok(Objects(items))
    }
}

/// A map of strings without repeated keys.
#[derive(Debug, Default)]
pub(super) struct Strings(pub(super) BTreeMap<String, String>);

impl<'de> Deserialize<'de> for Strings {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(StringsVisitor)
    }
}

struct StringsVisitor;

impl<'de> Visitor<'de> for StringsVisitor {
    type Value = Strings;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object of strings")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Strings, A::Error> {
        let mut strings = BTreeMap::new();
        while let Some(key) = map.next_key::<String>()? {
            let text = value(&key, &mut map)?;
            if strings.contains_key(&key) {
                return Err(de::Error::custom(format_args!(
                    "key `{key}` is given more than once"
                )));
            }
            strings.insert(key, text);
        }
        Ok(Strings(strings))
    }
}
