//! The names that are stored, with the sources of their newest versions.
//!
//! A storage that does not answer yet is waited for: what it has is not to be taken for missing.

use std::sync::Arc;
use std::time::Duration;

use comet_kernel::ScriptHash;
use comet_kernel::contract::storage::{NamedVersion, ReadError, ReadNames, ReadScript};

use crate::env::Env;

/// How long the library waits before it tries again to read its names.
const RETRY: Duration = Duration::from_millis(200);

/// A name, its versions, and the source of the newest.
pub(super) type StoredName = (Arc<str>, Vec<NamedVersion>, Option<Arc<str>>);

/// Every stored name; tries until storage answers.
pub(super) async fn stored_names(env: &Env) -> Vec<StoredName> {
    let names = loop {
        match env.storage.read_names.call(ReadNames).await {
            Ok(Ok(names)) => break names,
            failed => tracing::warn!(?failed, "the named scripts cannot be read yet"),
        }
        env.kernel.clock.sleep(RETRY).await;
    };
    let mut stored = Vec::with_capacity(names.len());
    for (name, versions) in names {
        let source = match versions.last() {
            Some(newest) => stored_source(env, newest.hash).await,
            None => None,
        };
        stored.push((name, versions, source));
    }
    stored
}

/// A stored source, if it can be read; tries until storage answers.
async fn stored_source(env: &Env, hash: ScriptHash) -> Option<Arc<str>> {
    loop {
        match env.storage.read_script.call(ReadScript { hash }).await {
            Ok(Ok(source)) => return source,
            Ok(Err(ReadError::Unreadable { .. } | ReadError::Damaged { .. })) => return None,
            failed => tracing::warn!(?failed, "a named script cannot be read yet"),
        }
        env.kernel.clock.sleep(RETRY).await;
    }
}
