//! Signatures: this node signs what is put through it, and finds out whether what others send was put as they say.

use std::sync::Arc;

use comet_kernel::provenance::{Removal, Signature};
use comet_kernel::record::is_timely;
use comet_kernel::{Key, NodeId, Provenance, Record, ScriptHash, UnixMillis, Value, limits};
use ed25519_dalek::{Signer as _, SigningKey, VerifyingKey};
use sha2::{Digest, Sha256};

use super::proven;

/// What stands before the public key in the bytes of an Ed25519 peer id: see [`NodeId::from_public_key`].
const PEER_ID_HEAD: [u8; 6] = [0x00, 0x24, 0x08, 0x01, 0x12, 0x20];

/// Signs for this node.
#[derive(Debug)]
pub(super) struct Signer {
    secret: SigningKey,
    own: NodeId,
    by: Arc<str>,
}

/// What a change says of itself besides its value.
#[derive(Clone, Debug, Default)]
pub(super) struct Terms {
    pub script: Option<ScriptHash>,
    pub replicas: Option<u8>,
    pub removed: Option<Removal>,
}

/// Why a record is not taken from the node that sent it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Forgery {
    #[error("the record does not say who put it")]
    Unsigned,
    #[error("the signature is not that of the node which is said to have put it")]
    Signature,
    #[error("the record is not what was signed: a script was added or taken away")]
    Altered,
    #[error("the owner is not of the node which is said to have put it")]
    Owner,
    #[error("the version is from the future; is the clock of the node right?")]
    Future,
    #[error("the put asks for no copies, or for more than {} of them", limits::REPLICAS)]
    Replicas,
    #[error("the object is to live longer than any may, or the mark of its removal is")]
    Lifetime,
}

impl Signer {
    pub(super) fn new(secret: &[u8; 32]) -> Self {
        let secret = SigningKey::from_bytes(secret);
        let own = NodeId::from_public_key(secret.verifying_key().as_bytes());
        Signer { secret, by: own.as_str().into(), own }
    }

    /// The node that signs.
    pub(super) fn node(&self) -> &NodeId {
        &self.own
    }

    /// The same, as it stands in signatures.
    pub(super) fn by(&self) -> &Arc<str> {
        &self.by
    }

    /// Signs a record that this node puts.
    pub(super) fn sign(&self, key: &Key, record: &Record, terms: Terms) -> Provenance {
        let Terms { script, replicas, removed } = terms;
        let signature = Signature([0; 64]);
        let mut provenance = Provenance { by: self.by.clone(), signature, script, replicas, removed };
        let claim = Provenance::claim(key, record, &provenance);
        provenance.signature = Signature(self.secret.sign(&claim).to_bytes());
        provenance
    }
}

/// Whether a record that a node has sent was put as it says. What the signer itself sends needs its signature, too: others
/// will get the record from here, and whoever holds what they do not believe is of no use to them.
pub(super) fn check(key: &Key, record: &Record, now: UnixMillis) -> Result<(), Forgery> {
    let provenance = record.provenance.as_deref().ok_or(Forgery::Unsigned)?;
    let as_signed = match provenance.removed {
        None => provenance.script.is_some() == record.active.is_some(),
        // It counts in no quota: it must not carry anything.
        Some(Removal::Everywhere) => {
            record.value == Value::Nil && provenance.script.is_none() && record.active.is_none()
        }
        Some(Removal::Ended) => is_bare(record, provenance) && record.expires.is_some_and(|end| end <= now),
        Some(Removal::Here) => false,
    };
    if !as_signed {
        return Err(Forgery::Altered);
    }
    check_claim(key, record, provenance, now)
}

/// As [`check`], for the stamp of an object with a script, without its value.
pub(super) fn check_script(key: &Key, record: &Record, now: UnixMillis) -> Result<(), Forgery> {
    let provenance = record.provenance.as_deref().ok_or(Forgery::Unsigned)?;
    if provenance.script.is_none() || provenance.removed.is_some() || record.expired(now) {
        return Err(Forgery::Altered);
    }
    check_claim(key, record, provenance, now)
}

/// As [`check`], for what is not a whole record yet.
pub(super) fn check_claim(key: &Key, record: &Record, provenance: &Provenance, now: UnixMillis) -> Result<(), Forgery> {
    if !is_timely(record.version, now) {
        return Err(Forgery::Future);
    }
    if !record.owner.as_deref().is_none_or(|owner| is_of(owner, &provenance.by)) {
        return Err(Forgery::Owner);
    }
    if !provenance.replicas.is_none_or(|replicas| (1..=limits::REPLICAS).contains(&replicas)) {
        return Err(Forgery::Replicas);
    }
    if !ends_in_time(record, provenance, now) {
        return Err(Forgery::Lifetime);
    }
    let signature = ed25519_dalek::Signature::from_bytes(&provenance.signature.0);
    let claim = Provenance::claim(key, record, provenance);
    let right = proven::once(&provenance.by, &claim, &provenance.signature.0, || {
        public_key(&provenance.by).is_some_and(|public| public.verify_strict(&claim, &signature).is_ok())
    });
    if right { Ok(()) } else { Err(Forgery::Signature) }
}

/// Whether nothing is left of what a mark stands for but what proves it, see [`Record::mark`].
fn is_bare(record: &Record, provenance: &Provenance) -> bool {
    let value = match (&record.value, provenance.script) {
        (Value::Nil, Some(_)) => true,
        (Value::Bytes(digest), None) => digest.len() == 32,
        _ => false,
    };
    value && record.active.is_none()
}

/// Whether a life is no longer than any may be. A tombstone has an end, and a near one.
fn ends_in_time(record: &Record, provenance: &Provenance, now: UnixMillis) -> bool {
    let is_removed = provenance.removed.is_some();
    let longest = if is_removed { limits::TOMBSTONE_SECONDS } else { limits::LIFETIME_SECONDS };
    let latest = now.0.saturating_add(longest * 1_000 + limits::CLOCK_SKEW_MS);
    record.expires.map_or(!is_removed, |end| end.0 <= latest)
}

/// Whether somebody is the node, or a user of its gateway.
fn is_of(somebody: &str, node: &str) -> bool {
    somebody.strip_prefix(node).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The place of the node with this peer id, if it is one.
pub(super) fn place(peer: &str) -> Option<[u8; 32]> {
    Some(Sha256::digest(decode(peer)?).into())
}

fn public_key(peer: &str) -> Option<VerifyingKey> {
    let bytes = decode(peer)?;
    let key = bytes.strip_prefix(&PEER_ID_HEAD)?;
    VerifyingKey::from_bytes(key.try_into().ok()?).ok()
}

fn decode(peer: &str) -> Option<[u8; 38]> {
    let mut bytes = [0; 38];
    let length = bs58::decode(peer).onto(&mut bytes).ok()?;
    (length == bytes.len()).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use comet_kernel::record::{Active, ScriptRef};

    const NOW: UnixMillis = UnixMillis(1_700_000_000_000);

    fn key() -> Key {
        Key::new(b"k").expect("short")
    }

    fn signed(change: impl FnOnce(&mut Record), terms: Terms) -> Record {
        let signer = Signer::new(&[7; 32]);
        let mut record = Record::plain(NOW.0 << 16, Value::from("v"));
        change(&mut record);
        record.provenance = Some(Box::new(signer.sign(&key(), &record, terms)));
        record
    }

    #[test]
    fn what_was_signed_is_taken_from_anyone_and_nothing_else_is() {
        let record = signed(|_| (), Terms::default());
        assert_eq!(check(&key(), &record, NOW), Ok(()));
        let other = Record { value: Value::from("w"), ..record.clone() };
        assert_eq!(check(&key(), &other, NOW), Err(Forgery::Signature));
        assert_eq!(check(&key().child(1), &record, NOW), Err(Forgery::Signature));
        let unsigned = Record { provenance: None, ..record.clone() };
        assert_eq!(check(&key(), &unsigned, NOW), Err(Forgery::Unsigned));
    }

    #[test]
    fn nobody_can_say_that_another_node_has_put_something() {
        let mut record = signed(|_| (), Terms::default());
        let other = Signer::new(&[8; 32]);
        record.provenance.as_mut().expect("signed").by = other.node().as_str().into();
        assert_eq!(check(&key(), &record, NOW), Err(Forgery::Signature));
        record.provenance.as_mut().expect("signed").by = "no peer id".into();
        assert_eq!(check(&key(), &record, NOW), Err(Forgery::Signature));
    }

    #[test]
    fn a_script_can_neither_be_added_nor_taken_away() {
        let script = ScriptRef { hash: ScriptHash::of("x"), follows: None };
        let active = Active { script, state: Value::Nil, timer: None, quarantined: false };
        let mut added = signed(|_| (), Terms::default());
        added.active = Some(Box::new(active));
        assert_eq!(check(&key(), &added, NOW), Err(Forgery::Altered));
        let taken = signed(|_| (), Terms { script: Some(ScriptHash::of("x")), ..Terms::default() });
        assert_eq!(check(&key(), &taken, NOW), Err(Forgery::Altered));
    }

    #[test]
    fn a_plain_value_cannot_be_passed_off_as_that_of_a_script() {
        let plain = signed(|_| (), Terms::default());
        let value = rmp_serde::to_vec(&plain.value).expect("values encode");
        let hash = ScriptHash::from_bytes(&Sha256::digest(value)).expect("32 bytes");
        let mut forged = Record { value: Value::from("forged"), ..plain };
        forged.provenance.as_mut().expect("signed").script = Some(hash);
        let script = ScriptRef { hash, follows: None };
        forged.active = Some(Box::new(Active { script, state: Value::Nil, timer: None, quarantined: false }));
        assert_eq!(check(&key(), &forged, NOW), Err(Forgery::Signature));
        assert_eq!(check_script(&key(), &forged, NOW), Err(Forgery::Signature));
    }

    #[test]
    fn an_owner_is_the_signer_or_one_of_its_users() {
        let node = Signer::new(&[7; 32]).node().to_string();
        let owned = |owner: String| signed(|record| record.owner = Some(owner.into()), Terms::default());
        assert_eq!(check(&key(), &owned(node.clone()), NOW), Ok(()));
        assert_eq!(check(&key(), &owned(format!("{node}/alice")), NOW), Ok(()));
        for owner in ["alice".to_owned(), format!("{node}alice"), Signer::new(&[8; 32]).node().to_string()] {
            assert_eq!(check(&key(), &owned(owner), NOW), Err(Forgery::Owner));
        }
    }

    #[test]
    fn a_mark_is_believed_once_the_life_has_ended_that_was_signed_and_not_before() {
        let end = UnixMillis(NOW.0 + 1_000);
        let ends = |record: &mut Record| (record.expires, record.shadows) = (Some(end), true);
        let plain = signed(ends, Terms::default());
        let mut scripted = signed(ends, Terms { script: Some(ScriptHash::of("x")), ..Terms::default() });
        let script = ScriptRef { hash: ScriptHash::of("x"), follows: None };
        scripted.active = Some(Box::new(Active { script, state: Value::Nil, timer: None, quarantined: false }));
        for record in [plain, scripted] {
            let mark = record.mark(end).expect("something older may outlive it");
            assert_eq!(check(&key(), &mark, end), Ok(()));
            assert_eq!(check(&key(), &mark, NOW), Err(Forgery::Altered));
            let sooner = Record { expires: Some(NOW), ..mark.clone() };
            assert_eq!(check(&key(), &sooner, NOW), Err(Forgery::Signature));
            let loaded = Record { value: Value::from("v"), ..mark };
            assert_eq!(check(&key(), &loaded, end), Err(Forgery::Altered));
        }
        let endless = signed(|record| record.shadows = true, Terms::default());
        let mark = endless.mark(end).expect("it is asked for");
        assert_eq!(check(&key(), &mark, end), Err(Forgery::Altered), "what has no end does not end");
    }

    #[test]
    fn a_version_from_the_future_is_refused() {
        let record = signed(|record| record.version = (NOW.0 + 600_000) << 16, Terms::default());
        assert_eq!(check(&key(), &record, NOW), Err(Forgery::Future));
    }

    #[test]
    fn a_put_asks_for_one_copy_at_least_and_for_no_more_than_may_be() {
        let asking = |replicas| check(&key(), &signed(|_| (), Terms { replicas, ..Terms::default() }), NOW);
        for replicas in [None, Some(1), Some(limits::REPLICAS)] {
            assert_eq!(asking(replicas), Ok(()), "{replicas:?}");
        }
        for replicas in [0, limits::REPLICAS + 1, u8::MAX] {
            assert_eq!(asking(Some(replicas)), Err(Forgery::Replicas));
        }
    }

    #[test]
    fn no_life_is_longer_than_a_hundred_years_whatever_its_signer_says() {
        let living = |end: Option<u64>| {
            check(&key(), &signed(|record| record.expires = end.map(UnixMillis), Terms::default()), NOW)
        };
        let longest = NOW.0 + limits::LIFETIME_SECONDS * 1_000;
        for end in [None, Some(0), Some(longest)] {
            assert_eq!(living(end), Ok(()), "{end:?}");
        }
        for end in [2 * longest, u64::MAX] {
            assert_eq!(living(Some(end)), Err(Forgery::Lifetime));
        }
    }

    #[test]
    fn a_tombstone_ends_within_a_day_and_carries_nothing() {
        let buried = |end: Option<u64>, value: Value| {
            let terms = Terms { removed: Some(Removal::Everywhere), ..Terms::default() };
            let change = |record: &mut Record| (record.expires, record.value) = (end.map(UnixMillis), value);
            check(&key(), &signed(change, terms), NOW)
        };
        let day = NOW.0 + limits::TOMBSTONE_SECONDS * 1_000;
        assert_eq!(buried(Some(day), Value::Nil), Ok(()));
        assert_eq!(buried(Some(2 * day), Value::Nil), Err(Forgery::Lifetime));
        assert_eq!(buried(None, Value::Nil), Err(Forgery::Lifetime));
        assert_eq!(buried(Some(day), Value::Int(1)), Err(Forgery::Altered));
    }

    #[test]
    fn a_place_is_worked_out_from_the_bytes_of_a_peer_id() {
        let id = NodeId::from_public_key(&[7; 32]);
        let mut bytes = PEER_ID_HEAD.to_vec();
        bytes.extend([7; 32]);
        assert_eq!(place(id.as_str()), Some(Sha256::digest(&bytes).into()));
        assert_eq!(place("nobody"), None);
    }
}
