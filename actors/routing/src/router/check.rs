//! Whom a router believes, for the fuzzer.

use comet_kernel::{Key, Provenance, Record, UnixMillis};

use super::serve::check_record;
use super::sign::{self, Signer, Terms};

/// Whether a router takes a copy that a peer sends, and why not: see `wire::Ask::Arrive`.
pub fn arrives(key: &Key, record: &Record, now: UnixMillis) -> Result<(), String> {
    sign::check(key, record, now).map_err(|forgery| forgery.to_string())?;
    check_record(record).map_err(|refusal| refusal.to_string())
}

/// What the node with this secret key says of a record that it puts on these terms: all but the author and the
/// signature of `terms` counts.
pub fn sign(secret: &[u8; 32], key: &Key, record: &Record, terms: &Provenance) -> Provenance {
    let Provenance { script, replicas, removed, .. } = *terms;
    Signer::new(secret).sign(key, record, Terms { script, replicas, removed })
}
