//! The tables of the database, and how their keys are written.

use comet_kernel::{Key, UnixMillis};

/// One table. Each is a keyspace of the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Table {
    /// Key to record.
    Objects,
    /// Moment and key to nothing: who has to be woken when.
    Due,
    /// Hash to source.
    Scripts,
    /// Name to versions.
    Names,
    /// What could not be read, as it was found.
    Unreadable,
    /// Counts, and which keyspaces hold the objects.
    Meta,
}

impl Table {
    /// Every table, each at the place of its number. They are made in the reverse order: a start looks up the table of
    /// every change in the journal, and fjall finds those soonest that were made last.
    pub(crate) const ALL: [Table; 6] =
        [Table::Objects, Table::Due, Table::Scripts, Table::Names, Table::Unreadable, Table::Meta];

    /// The name of its keyspace. Tables that can be cleared get a new keyspace then, so theirs carries a number.
    pub(crate) fn keyspace(self, generation: u64) -> String {
        match self {
            Table::Objects => format!("objects.{generation}"),
            Table::Due => format!("due.{generation}"),
            Table::Scripts => "scripts".to_owned(),
            Table::Names => "names".to_owned(),
            Table::Unreadable => "unreadable".to_owned(),
            Table::Meta => "meta".to_owned(),
        }
    }
}

/// The key of an entry in [`Table::Due`]: sorts by time, then by key.
pub(crate) fn due_key(due: UnixMillis, key: &Key) -> Vec<u8> {
    [&due.0.to_be_bytes()[..], key.as_bytes()].concat()
}

/// What an entry in [`Table::Due`] says; `None` if it is none.
pub(crate) fn parse_due(bytes: &[u8]) -> Option<(UnixMillis, Key)> {
    let (due, key) = bytes.split_first_chunk::<8>()?;
    Some((UnixMillis(u64::from_be_bytes(*due)), Key::new(key).ok()?))
}

/// The key in [`Table::Unreadable`] of what stood in `table` under `key`: says when it was found and where.
pub(crate) fn unreadable_key(table: Table, key: &[u8], found: UnixMillis) -> Vec<u8> {
    [&found.0.to_be_bytes()[..], &[table as u8], key].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn due_entries_sort_by_time_and_parse_back() {
        let key = |text: &str| Key::new(text.as_bytes()).expect("short");
        let early = due_key(UnixMillis(255), &key("z"));
        let late = due_key(UnixMillis(256), &key("a"));
        assert!(early < late);
        assert_eq!(parse_due(&late), Some((UnixMillis(256), key("a"))));
        assert_eq!(parse_due(&late[..8]), None, "a key has at least one byte");
    }
}
