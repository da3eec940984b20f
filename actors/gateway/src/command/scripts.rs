//! Named scripts: loading, listing, showing, dropping, rolling back.

use comet_kernel::contract::library::{
    DropScript, LibraryError, ListScripts, LoadScript, RollbackScript, ScriptSummary, ShowScript,
};
use comet_kernel::{Handle, Message, ScriptHash, Value};

use super::aso::{described, name, source};
use super::{Command, Start, help, subcommand};
use crate::answers::Started;
use crate::error_line::ErrorLine;
use crate::frame::Frame;
use crate::session::Session;
use crate::words::Words;

pub(super) const COMMANDS: &[Command] =
    &[Command::keyless("aso.script", -2, script, "aso", "Loads, lists, shows, drops and rolls back named scripts.")];

const SCRIPT: &[(&str, i32, Start)] = &[
    ("load", 4, load),
    ("list", 2, list),
    ("show", 3, show),
    ("drop", 3, drop_),
    ("rollback", 3, rollback),
    ("help", 2, |_, words| Ok(help(words, SCRIPT))),
];

fn script(session: &mut Session, words: Words<'_>) -> Result<Started, ErrorLine> {
    subcommand(session, words, SCRIPT)
}

fn load(session: &mut Session, words: Words<'_>) -> Result<Started, ErrorLine> {
    may_change(session, "aso.script|load")?;
    let by = session.login.as_ref().map_or("", |login| &login.name).to_owned();
    let load = LoadScript { name: name(words.at(2))?.into(), source: source(words.at(3))?.into(), by };
    Ok(ask(&session.common.aso.load_script, load, hash))
}

fn list(session: &mut Session, _: Words<'_>) -> Result<Started, ErrorLine> {
    Ok(ask(&session.common.aso.list_scripts, ListScripts, |scripts: Vec<ScriptSummary>| {
        Frame::Array(scripts.iter().map(described).collect())
    }))
}

fn show(session: &mut Session, words: Words<'_>) -> Result<Started, ErrorLine> {
    let show = ShowScript { name: name(words.at(2))?.into() };
    Ok(ask(&session.common.aso.show_script, show, |script| described(&script)))
}

fn drop_(session: &mut Session, words: Words<'_>) -> Result<Started, ErrorLine> {
    may_change(session, "aso.script|drop")?;
    let drop = DropScript { name: name(words.at(2))?.into() };
    Ok(ask(&session.common.aso.drop_script, drop, |()| Frame::OK))
}

fn rollback(session: &mut Session, words: Words<'_>) -> Result<Started, ErrorLine> {
    may_change(session, "aso.script|rollback")?;
    let rollback = RollbackScript { name: name(words.at(2))?.into() };
    Ok(ask(&session.common.aso.rollback_script, rollback, hash))
}

/// Where nobody has to log in, everybody may load scripts: they run sandboxed.
fn may_change(session: &Session, command: &str) -> Result<(), ErrorLine> {
    if session.common.users.are_configured() { session.must_be_operator(command) } else { Ok(()) }
}

fn hash(hash: ScriptHash) -> Frame {
    Frame::Value(Value::Text(hash.to_string().into()))
}

/// Asks the library.
fn ask<M, T>(library: &Handle<M>, message: M, answer: fn(T) -> Frame) -> Started
where
    M: Message<Reply = Result<T, LibraryError>>,
    T: Send + 'static,
{
    let library = library.clone();
    Started::Task(Box::pin(async move {
        let answered = library.call(message).await.map_err(ErrorLine::from);
        Frame::of(answered.and_then(|it| it.map_err(ErrorLine::from)).map(answer))
    }))
}
