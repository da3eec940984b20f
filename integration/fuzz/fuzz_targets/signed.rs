//! Signatures: a copy is taken from a peer who is not its signer if it says what was signed, and not if it says
//! anything else; so is the mark of one whose life is over. What a put says is drawn twice, and the second takes the
//! place of the first part by part.

#![no_main]

use arbitrary::Arbitrary;
use comet_kernel::provenance::{Provenance, Removal, Signature};
use comet_kernel::record::{Active, ScriptRef};
use comet_kernel::{Key, NodeId, Record, ScriptHash, UnixMillis, Value, limits};
use comet_routing::check::{arrives, sign};
use libfuzzer_sys::fuzz_target;

const NOW: UnixMillis = UnixMillis(1_700_000_000_000);
/// The longest name of an owner, in bytes.
const OWNER_BYTES: usize = 512;
const SECRET: [u8; 32] = [7; 32];

/// A put, in the fuzzer's words.
#[derive(Debug, Arbitrary)]
struct Put<'a> {
    key: u8,
    age: u32,
    /// MessagePack, or else text.
    value: &'a [u8],
    expires: Option<u64>,
    owner: Owner<'a>,
    replicas: Option<u8>,
    script: Script<'a>,
    removed: bool,
}

#[derive(Debug, Arbitrary)]
enum Owner<'a> {
    Nobody,
    Author,
    User(&'a str),
    Other(&'a str),
}

#[derive(Debug, Arbitrary)]
enum Script<'a> {
    None,
    Source(&'a str),
    /// One whose source would be the first put's value.
    Value,
}

/// Which parts of the put are of the second.
#[derive(Debug, Arbitrary)]
struct Swapped {
    key: bool,
    age: bool,
    value: bool,
    expires: bool,
    owner: bool,
    replicas: bool,
    script: bool,
    removed: bool,
}

/// What the signature of a put covers.
#[derive(Debug)]
struct Said {
    key: Key,
    record: Record,
    terms: Provenance,
}

impl Put<'_> {
    fn said(&self, author: &str, other: &[u8]) -> Said {
        let value = rmp_serde::from_slice::<Value>(self.value).unwrap_or_else(|_| Value::from_wire(self.value));
        let script = match self.script {
            Script::None => None,
            Script::Source(source) => Some(ScriptHash::of(source)),
            Script::Value => {
                Some(ScriptHash::from_bytes(&Key::new(other).map_or([0; 32], |it| it.place())).expect("32"))
            }
        };
        let owner = match self.owner {
            Owner::Nobody => None,
            Owner::Author => Some(author.into()),
            Owner::User(user) => Some(format!("{author}/{user}").into()),
            Owner::Other(other) => Some(other.into()),
        };
        let version = (NOW.0 - u64::from(self.age)) << 16;
        let expires = self.expires.map(UnixMillis);
        let removed = self.removed.then_some(Removal::Everywhere);
        let signature = Signature([0; 64]);
        Said {
            key: Key::new(&[self.key]).expect("one byte"),
            record: Record { expires, owner, ..Record::plain(version, value) },
            terms: Provenance { by: author.into(), signature, script, replicas: self.replicas, removed },
        }
    }
}

impl Said {
    fn swap(&mut self, other: &mut Said, which: &Swapped) {
        let (record, terms) = (&mut self.record, &mut self.terms);
        let swap = |does: bool, swap: &mut dyn FnMut()| {
            if does {
                swap()
            }
        };
        swap(which.key, &mut || std::mem::swap(&mut self.key, &mut other.key));
        swap(which.age, &mut || std::mem::swap(&mut record.version, &mut other.record.version));
        swap(which.value, &mut || std::mem::swap(&mut record.value, &mut other.record.value));
        swap(which.expires, &mut || std::mem::swap(&mut record.expires, &mut other.record.expires));
        swap(which.owner, &mut || std::mem::swap(&mut record.owner, &mut other.record.owner));
        swap(which.replicas, &mut || std::mem::swap(&mut terms.replicas, &mut other.terms.replicas));
        swap(which.script, &mut || std::mem::swap(&mut terms.script, &mut other.terms.script));
        swap(which.removed, &mut || std::mem::swap(&mut terms.removed, &mut other.terms.removed));
    }

    /// All that the signature covers: the value of an object with a script is left out.
    fn covered(&self) -> Vec<u8> {
        let value = if self.terms.script.is_some() { Value::Nil } else { self.record.value.clone() };
        let record = Record { value, ..self.record.clone() };
        rmp_serde::to_vec_named(&(&self.key, record, &self.terms)).expect("it has a form in MessagePack")
    }

    /// Whether it asks for as many copies as may be, for as long as may be, and a tombstone is one.
    fn is_bounded(&self) -> bool {
        let removed = self.terms.removed.is_some();
        let longest = if removed { limits::TOMBSTONE_SECONDS } else { limits::LIFETIME_SECONDS };
        let latest = NOW.0 + longest * 1_000 + limits::CLOCK_SKEW_MS;
        let ends = self.record.expires.map_or(!removed, |end| end.0 <= latest);
        let carries = self.record.value != Value::Nil || self.terms.script.is_some();
        let copies = self.terms.replicas.is_none_or(|replicas| (1..=limits::REPLICAS).contains(&replicas));
        copies && ends && !(removed && carries)
    }

    /// Whether the signer may name its owner, in so many words.
    fn has_an_owner_of(&self, author: &str) -> bool {
        let rest = |owner: &str| owner.strip_prefix(author).map(ToOwned::to_owned);
        let fits =
            |rest: String| rest.is_empty() || (rest.starts_with('/') && author.len() + rest.len() <= OWNER_BYTES);
        self.record.owner.as_deref().is_none_or(|owner| rest(owner).is_some_and(fits))
    }
}

fn active(script: ScriptHash) -> Box<Active> {
    let script = ScriptRef { hash: script, follows: None };
    Box::new(Active { script, state: Value::Nil, timer: None, quarantined: false })
}

fuzz_target!(|input: (Put<'_>, Put<'_>, Swapped)| {
    let (put, other, swapped) = input;
    let author = author();
    let mut said = put.said(&author, &[]);
    let value = rmp_serde::to_vec(&said.record.value).expect("it has a form in MessagePack");
    let mut other = other.said(&author, &value);
    let signature = sign(&SECRET, &said.key, &said.record, &said.terms).signature;
    let before = said.covered();
    said.swap(&mut other, &swapped);
    let mut record = said.record.clone();
    record.active = said.terms.script.map(active);
    record.provenance = Some(Box::new(Provenance { signature, ..said.terms.clone() }));
    let arrived = arrives(&said.key, &record, NOW);
    let right = before == said.covered() && said.has_an_owner_of(&author) && said.is_bounded();
    assert_eq!(arrived.is_ok(), right, "{arrived:?}: {said:?}");
    // What is left of it says the same, and nothing before its life is over.
    record.shadows = true;
    if let Some(mark) = record.mark(record.expires.unwrap_or_default()) {
        let over = record.expires.is_some_and(|end| end <= NOW);
        assert_eq!(arrives(&said.key, &mark, NOW).is_ok(), right && over, "the mark of {said:?}");
    }
});

/// The signer's peer id.
fn author() -> String {
    let key = Key::new(b"k").expect("short");
    let nothing =
        Provenance { by: "".into(), signature: Signature([0; 64]), script: None, replicas: None, removed: None };
    let by = sign(&SECRET, &key, &Record::plain(0, Value::Nil), &nothing).by;
    assert!(NodeId::from_text(&by).public_key().is_some());
    by.to_string()
}
