//! The commands: a table of what each is called, how many words it takes, and who starts it.
//!
//! One family of commands a file. A command starts at once and says what it came to; it never waits.

#![expect(clippy::unnecessary_wraps, reason = "the table needs one signature for all, and most commands can refuse")]

mod aso;
mod connection;
mod keys;
mod listing;
mod numbers;
mod put;
mod scripts;
mod server;
mod strings;

pub use self::aso::check_json;

use std::collections::HashMap;
use std::fmt::Write;
use std::sync::LazyLock;

use crate::answers::Started;
use crate::error_line::{ErrorLine, harmless};
use crate::session::Session;
use crate::words::Words;

/// What a command does with its words.
pub(crate) type Start = fn(&mut Session, Words<'_>) -> Result<Started, ErrorLine>;

/// One command.
pub(crate) struct Command {
    /// Its name, in small letters.
    pub(crate) name: &'static str,
    /// How many words it takes, its name included; a negative number is the least.
    pub(crate) arity: i32,
    /// Its family, as `COMMAND DOCS` has it.
    pub(crate) group: &'static str,
    /// What it does.
    pub(crate) summary: &'static str,
    /// The place of the first key among its words, of the last, and the step between; zeroes for none.
    pub(crate) keys: (i32, i32, i32),
    /// Whether it may change an object.
    pub(crate) writes: bool,
    /// It starts when nothing else of its connection is under way: what it does is not tied to the order of one key.
    pub(crate) alone: bool,
    /// It is for clients that have not logged in, too.
    pub(crate) open: bool,
    pub(crate) start: Start,
}

impl Command {
    /// A command that reads the key at place 1.
    const fn reading(name: &'static str, arity: i32, start: Start, group: &'static str, summary: &'static str) -> Self {
        Command { name, arity, group, summary, keys: (1, 1, 1), writes: false, alone: false, open: false, start }
    }

    /// A command that changes the key at place 1.
    const fn writing(name: &'static str, arity: i32, start: Start, group: &'static str, summary: &'static str) -> Self {
        Command { writes: true, ..Command::reading(name, arity, start, group, summary) }
    }

    /// A command that is about no key, and runs alone.
    const fn keyless(name: &'static str, arity: i32, start: Start, group: &'static str, summary: &'static str) -> Self {
        Command { keys: (0, 0, 0), alone: true, ..Command::reading(name, arity, start, group, summary) }
    }

    /// The keys are at other places.
    const fn keys(mut self, last: i32, step: i32) -> Self {
        self.keys = (1, last, step);
        self
    }

    /// For clients that have not logged in, too.
    const fn open(mut self) -> Self {
        self.open = true;
        self
    }

    /// May run beside others.
    const fn beside(mut self) -> Self {
        self.alone = false;
        self
    }

    fn takes(&self, words: usize) -> bool {
        let arity = self.arity.unsigned_abs() as usize;
        if self.arity < 0 { words >= arity } else { words == arity }
    }
}

/// The longest name of a command, and then some.
const NAME_BYTES: usize = 16;

/// Every command, by family.
pub(crate) fn all() -> impl Iterator<Item = &'static Command> {
    [
        strings::COMMANDS,
        numbers::COMMANDS,
        keys::COMMANDS,
        listing::COMMANDS,
        aso::COMMANDS,
        scripts::COMMANDS,
        connection::COMMANDS,
        server::COMMANDS,
    ]
    .into_iter()
    .flatten()
}

/// The command of this name, whatever the case of its letters.
pub(crate) fn named(name: &[u8]) -> Option<&'static Command> {
    static BY_NAME: LazyLock<HashMap<&'static [u8], &'static Command, ahash::RandomState>> =
        LazyLock::new(|| all().map(|command| (command.name.as_bytes(), command)).collect());
    let mut small = [0; NAME_BYTES];
    let small = small.get_mut(..name.len())?;
    small.copy_from_slice(name);
    small.make_ascii_lowercase();
    BY_NAME.get(&*small).copied()
}

/// The command that a client's words ask for.
///
/// # Errors
///
/// There is no such command, it takes another number of words, or the client has to log in first.
pub(crate) fn find(words: Words<'_>, session: &Session) -> Result<&'static Command, ErrorLine> {
    let command = named(words.at(0)).ok_or_else(|| unknown(words))?;
    if !command.takes(words.count()) {
        return Err(wrong_arity(command.name));
    }
    if session.login.is_none() && !command.open {
        return Err(ErrorLine::fixed("NOAUTH Authentication required."));
    }
    Ok(command)
}

/// A subcommand by the name at place 1, from a family's own table of names, arities and functions.
fn subcommand(
    session: &mut Session,
    words: Words<'_>,
    table: &[(&'static str, i32, Start)],
) -> Result<Started, ErrorLine> {
    let name = words.at(1);
    let found = table.iter().find(|(known, ..)| crate::words::is(name, known));
    let Some(&(known, arity, start)) = found else {
        let (command, name) = (text(words.at(0)).to_uppercase(), text(name));
        return Err(ErrorLine::new(format!("ERR unknown subcommand '{name}'. Try {command} HELP.")));
    };
    let arity_of_all = Command::keyless(known, arity, start, "", "");
    if !arity_of_all.takes(words.count()) {
        return Err(wrong_arity(&format!("{}|{known}", text(words.at(0)).to_lowercase())));
    }
    start(session, words)
}

/// Answers the names of a family's subcommands.
fn help(words: Words<'_>, table: &[(&'static str, i32, Start)]) -> Started {
    let command = text(words.at(0)).to_uppercase();
    let title = format!("{command} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:");
    let names = table.iter().map(|(name, ..)| name.to_uppercase());
    let lines = std::iter::once(title).chain(names).map(|line| crate::frame::Frame::text(&line));
    Started::Done(crate::frame::Frame::Array(lines.collect()))
}

fn wrong_arity(name: &str) -> ErrorLine {
    ErrorLine::new(format!("ERR wrong number of arguments for '{name}' command"))
}

/// Redis's text, which repeats at most 128 bytes of what was sent.
fn unknown(words: Words<'_>) -> ErrorLine {
    const REPEATED: usize = 128;
    let mut arguments = String::new();
    for word in words.from(1).iter() {
        if arguments.len() >= REPEATED {
            break;
        }
        let left = REPEATED - arguments.len();
        let _a_string_takes_everything = write!(arguments, "'{}' ", text(&word[..word.len().min(left)]));
    }
    let name = words.at(0);
    let name = text(&name[..name.len().min(REPEATED)]);
    ErrorLine::new(format!("ERR unknown command '{name}', with args beginning with: {arguments}"))
}

/// A word as text for an error.
fn text(word: &[u8]) -> String {
    harmless(String::from_utf8_lossy(word).into_owned())
}
