//! Where a version of an object comes from: what a node in the network needs to know of a put that it did not see.
//!
//! The node that a client asked signs what was put. Whoever gets a copy later, from whatever peer, can tell whether the
//! put was made as the copy says: a peer that lies can hide an object, but not forge one.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::identity::ScriptHash;
use crate::key::Key;
use crate::record::Record;

/// Who put a version of an object, and what was said of it then.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provenance {
    /// The peer id of the node that took the put from a client, or whose object made it.
    pub by: Arc<str>,
    /// That node's Ed25519 signature over [`Provenance::claim`].
    pub signature: Signature,
    /// The script as it was put. Hot loading may have led the copy at hand to another version since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub script: Option<ScriptHash>,
    /// How many nodes should hold the object, if the put said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<u8>,
    /// The object was removed: what is left is a tombstone, which keeps stale copies from coming back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub removed: Option<Removal>,
}

/// How far a removal reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Removal {
    /// Somebody removed the object. The tombstone is copied like an object.
    Everywhere,
    /// The copy of this node removed itself. The tombstone stays here, and other copies live on.
    Here,
    /// Its life has ended, as its put said: what is left is the mark of that, see [`Record::mark`]. It is copied like an
    /// object.
    Ended,
}

/// 64 bytes; all zero if nobody signed.
#[derive(Clone, PartialEq, Eq)]
pub struct Signature(pub [u8; 64]);

impl Provenance {
    /// What the signature covers: SHA-256 over the key, the version, and everything that the put said. The value of a
    /// scripted object is left out, for its handlers change it, in each copy for itself.
    ///
    /// It is hashed as MessagePack, which tells where each part ends and of what type it is: no two puts have one claim. If
    /// a script could stand where a value was signed, any plain value could be passed off as that of a script. Of the value
    /// it is the digest that is signed, so that a mark, which has nothing else of it, has the claim of what has ended.
    pub fn claim(key: &Key, record: &Record, provenance: &Provenance) -> [u8; 32] {
        const DOMAIN: &[u8] = b"comet put 3\n";
        let Provenance { script, replicas, removed, by: _, signature: _ } = provenance;
        let value = script.is_none().then(|| record.value_digest());
        let removed = removed.filter(|removed| *removed != Removal::Ended);
        let put = (key.place(), record.version, record.expires, &record.owner, replicas, removed, script, value);
        let said = rmp_serde::to_vec(&put).expect("all of it has a form in MessagePack, and memory takes every write");
        Sha256::new().chain_update(DOMAIN).chain_update(said).finalize().into()
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Signature({:02x}{:02x}…)", self.0[0], self.0[1])
    }
}

impl Serialize for Signature {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Signature {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = serde_bytes::ByteBuf::deserialize(deserializer)?;
        let length = bytes.len();
        let bytes = <[u8; 64]>::try_from(bytes.into_vec());
        bytes.map(Signature).map_err(|_| serde::de::Error::invalid_length(length, &"64 bytes"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::Value;

    fn unsigned() -> Provenance {
        Provenance { by: "12D3".into(), signature: Signature([0; 64]), script: None, replicas: None, removed: None }
    }

    #[test]
    fn a_claim_covers_everything_that_a_put_says() {
        let key = Key::new(b"k").expect("short");
        let record = Record::plain(7, Value::from("v"));
        let claim = Provenance::claim(&key, &record, &unsigned());
        let others = [
            (Record { version: 8, ..record.clone() }, unsigned()),
            (Record { value: Value::from("w"), ..record.clone() }, unsigned()),
            (Record { expires: Some(crate::UnixMillis(9)), ..record.clone() }, unsigned()),
            (Record { owner: Some("me".into()), ..record.clone() }, unsigned()),
            (record.clone(), Provenance { replicas: Some(3), ..unsigned() }),
            (record.clone(), Provenance { removed: Some(Removal::Everywhere), ..unsigned() }),
            (record.clone(), Provenance { script: Some(ScriptHash::of("x")), ..unsigned() }),
        ];
        for (record, provenance) in &others {
            assert_ne!(Provenance::claim(&key, record, provenance), claim, "{record:?} {provenance:?}");
        }
        assert_ne!(Provenance::claim(&key.child(1), &record, &unsigned()), claim);
    }

    #[test]
    fn no_two_puts_have_one_claim() {
        let key = Key::new(b"k").expect("short");
        let plain = Record::plain(7, Value::Int(59));
        let claim = Provenance::claim(&key, &plain, &unsigned());
        let value = rmp_serde::to_vec(&plain.value).expect("values encode");
        let as_script = ScriptHash::from_bytes(&Sha256::digest(value)).expect("32 bytes");
        let others = [
            (plain.clone(), Provenance { script: Some(as_script), ..unsigned() }),
            (plain.clone(), Provenance { replicas: Some(0), ..unsigned() }),
            (Record { expires: Some(crate::UnixMillis(u64::MAX)), ..plain.clone() }, unsigned()),
            (Record { owner: Some("".into()), ..plain.clone() }, unsigned()),
        ];
        for (record, provenance) in &others {
            assert_ne!(Provenance::claim(&key, record, provenance), claim, "{record:?} {provenance:?}");
        }
        let removed = |removed| Provenance { removed: Some(removed), ..unsigned() };
        assert_ne!(
            Provenance::claim(&key, &plain, &removed(Removal::Here)),
            Provenance::claim(&key, &plain, &removed(Removal::Everywhere))
        );
    }

    #[test]
    fn the_value_of_a_scripted_object_may_change_under_its_claim() {
        let key = Key::new(b"k").expect("short");
        let scripted = Provenance { script: Some(ScriptHash::of("x")), ..unsigned() };
        let claim = |value| Provenance::claim(&key, &Record::plain(7, Value::Int(value)), &scripted);
        assert_eq!(claim(1), claim(2));
    }
}
