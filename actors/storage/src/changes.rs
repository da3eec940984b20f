//! What one batch changes, built up write by write and committed in one atomic step.

use std::collections::HashMap;

use comet_kernel::contract::storage::Former;
use comet_kernel::record::Dues;
use comet_kernel::{Key, Record, UnixMillis};
use fjall::{UserKey, UserValue};

use crate::codec;
use crate::table::{Table, due_key};

/// Changes to the database. Within a batch the last change to a key wins: the database gives all changes of a batch the
/// same number, and would not know which of two came later.
#[derive(Default)]
pub(crate) struct Changes {
    entries: HashMap<(Table, UserKey), Option<UserValue>>,
    bytes: usize,
    scratch: Vec<u8>,
    /// By how much the count of objects changes.
    pub(crate) objects: i64,
    /// By how much the count of records set aside changes.
    pub(crate) unreadable: i64,
    /// How many writes went into this.
    pub(crate) writes: u64,
}

impl Changes {
    /// Sets or removes one entry.
    pub(crate) fn set(&mut self, table: Table, key: UserKey, value: Option<UserValue>) {
        self.bytes += key.len() + value.as_ref().map_or(0, |value| value.len());
        self.entries.insert((table, key), value);
    }

    /// Adds other changes of entries. What they change too stays as it is here.
    pub(crate) fn add(&mut self, others: Changes) {
        for ((table, key), value) in others.entries {
            if !self.entries.contains_key(&(table, key.clone())) {
                self.set(table, key, value);
            }
        }
    }

    /// Sets one entry to an encoded value.
    pub(crate) fn encode<T: serde::Serialize>(&mut self, table: Table, key: &[u8], value: &T) {
        self.scratch.clear();
        codec::encode(value, &mut self.scratch);
        let value = UserValue::from(&*self.scratch);
        self.set(table, key.into(), Some(value));
    }

    /// Puts or removes a record, and keeps the index and the count in step.
    pub(crate) fn record(&mut self, key: &Key, record: Option<&Record>, former: Former) {
        match record {
            Some(record) => self.encode(Table::Objects, key.as_bytes(), record),
            None => self.set(Table::Objects, key.as_bytes().into(), None),
        }
        self.objects += i64::from(record.is_some_and(|record| record.removed().is_none())) - i64::from(former.present);
        let (old, new) = (moments(former.dues), moments(record.map(Record::dues).unwrap_or_default()));
        for gone in old.iter().flatten().filter(|moment| !new.contains(&Some(**moment))) {
            self.set(Table::Due, due_key(*gone, key).into(), None);
        }
        for fresh in new.iter().flatten().filter(|moment| !old.contains(&Some(**moment))) {
            self.set(Table::Due, due_key(*fresh, key).into(), Some(UserValue::empty()));
        }
    }

    /// Bytes of keys and values.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The keys whose records change.
    pub(crate) fn keys(&self) -> impl Iterator<Item = Key> {
        let records = self.entries.keys().filter(|(table, _)| *table == Table::Objects);
        records.filter_map(|(_, key)| Key::new(key).ok())
    }

    /// Every entry that changes, and to what.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (Table, &UserKey, Option<&UserValue>)> {
        self.entries.iter().map(|((table, key), value)| (*table, key, value.as_ref()))
    }
}

/// The moments of which the index holds an entry. It has one for each moment, whatever it is for.
fn moments(dues: Dues) -> [Option<UnixMillis>; 2] {
    [dues.tick, dues.expiry.filter(|expiry| dues.tick != Some(*expiry))]
}

#[cfg(test)]
mod tests {
    use super::*;
    use comet_kernel::Value;

    fn key() -> Key {
        Key::new(b"k").expect("short")
    }

    fn expiring(at: u64) -> Record {
        let mut record = Record::plain(1, Value::Nil);
        record.expires = Some(UnixMillis(at));
        record
    }

    fn due(changes: &Changes, at: u64) -> Option<bool> {
        let key = due_key(UnixMillis(at), &key());
        changes.entries().find(|(table, found, _)| *table == Table::Due && ***found == *key).map(|(.., v)| v.is_some())
    }

    #[test]
    fn an_entry_in_the_index_moves_with_the_record() {
        let mut changes = Changes::default();
        let record = expiring(5);
        changes.record(&key(), Some(&expiring(9)), Former::of(Some(&record)));
        assert_eq!((due(&changes, 5), due(&changes, 9)), (Some(false), Some(true)));
        assert_eq!(changes.objects, 0);
    }

    #[test]
    fn an_entry_that_stays_is_not_written_again() {
        let mut changes = Changes::default();
        let record = expiring(5);
        changes.record(&key(), Some(&record), Former::of(Some(&record)));
        assert_eq!(due(&changes, 5), None);
    }

    #[test]
    fn a_moment_that_two_purposes_share_stays_while_one_of_them_does() {
        let both = Dues { tick: Some(UnixMillis(5)), expiry: Some(UnixMillis(5)) };
        let mut changes = Changes::default();
        changes.record(&key(), Some(&expiring(5)), Former { present: true, dues: both, unread: false });
        assert_eq!(due(&changes, 5), None);
    }

    #[test]
    fn the_last_of_two_writes_to_a_key_wins() {
        let mut changes = Changes::default();
        changes.record(&key(), Some(&expiring(5)), Former::default());
        changes.record(&key(), None, Former::of(Some(&expiring(5))));
        assert!(changes.entries().all(|(.., value)| value.is_none()));
        assert_eq!(changes.objects, 0);
    }
}
