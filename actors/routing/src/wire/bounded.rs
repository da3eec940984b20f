//! Lists and texts of a bounded length, refused while they are read: nothing is reserved for what is only claimed, and
//! what is too long is not read to its end.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// Reads a list of at most `N` items.
pub(super) fn few<'de, D, T, const N: usize>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    deserializer.deserialize_seq(Few::<T, N>(PhantomData))
}

/// Reads a text of at most `N` bytes.
pub(super) fn short<'de, D: Deserializer<'de>, const N: usize>(deserializer: D) -> Result<Arc<str>, D::Error> {
    deserializer.deserialize_str(Short::<N>)
}

struct Few<T, const N: usize>(PhantomData<T>);

impl<'de, T: Deserialize<'de>, const N: usize> Visitor<'de> for Few<T, N> {
    type Value = Vec<T>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "a list of at most {N} items")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<T>, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            if items.len() == N {
                return Err(A::Error::invalid_length(N + 1, &self));
            }
            items.push(item);
        }
        Ok(items)
    }
}

struct Short<const N: usize>;

impl<const N: usize> Visitor<'_> for Short<N> {
    type Value = Arc<str>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "a text of at most {N} bytes")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Arc<str>, E> {
        if text.len() > N { Err(E::invalid_length(text.len(), &self)) } else { Ok(text.into()) }
    }
}
