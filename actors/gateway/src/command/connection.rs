//! The connection itself: greeting, logging in, leaving.

use std::time::Duration;

use comet_kernel::Value;
use comet_kernel::change::integer;

use super::{Command, Start, help, subcommand};
use crate::answers::Started;
use crate::encoder::Version;
use crate::error_line::ErrorLine;
use crate::frame::Frame;
use crate::session::Session;
use crate::users::Login;
use crate::words::{Words, is};

pub(super) const COMMANDS: &[Command] = &[
    Command::keyless("ping", -1, ping, "connection", "Answers PONG, or the message.").beside(),
    Command::keyless("echo", 2, echo, "connection", "Answers the message.").beside(),
    Command::keyless("hello", -1, hello, "connection", "Greets, logs in, chooses the protocol's version.").open(),
    Command::keyless("auth", -2, auth, "connection", "Logs in.").open(),
    Command::keyless("select", 2, select, "connection", "Chooses a database. There is one: 0."),
    Command::keyless("quit", -1, quit, "connection", "Ends the connection.").open(),
    Command::keyless("reset", 1, reset, "connection", "Makes the connection as it was when it was opened.").open(),
    Command::keyless("client", -2, client, "connection", "Asks or tells about the connection."),
];

/// How long a wrong password's answer is kept back, against guessing.
const WRONG_PASSWORD: Duration = Duration::from_millis(250);
/// The version of Redis whose commands and answers clients may expect.
pub(super) const REDIS_VERSION: &str = "7.0.0";
/// Longest name of a client, library or version.
const NAME_BYTES: usize = 128;

fn ping(_: &mut Session, words: Words<'_>) -> Result<Started, ErrorLine> {
    match (words.find(1), words.count()) {
        (None, _) => Ok(Started::Done(Frame::Status("PONG"))),
        (Some(message), 2) => Ok(Started::Done(Frame::Value(Value::Bytes(message.into())))),
        _ => Err(ErrorLine::fixed("ERR wrong number of arguments for 'ping' command")),
    }
}

fn echo(_: &mut Session, words: Words<'_>) -> Result<Started, ErrorLine> {
    Ok(Started::Done(Frame::Value(Value::Bytes(words.at(1).into()))))
}

fn hello(session: &mut Session, words: Words<'_>) -> Result<Started, ErrorLine> {
    let mut version = session.version;
    if let Some(word) = words.find(1) {
        version = match integer(word) {
            Some(2) => Version::Two,
            Some(3) => Version::Three,
            Some(_) => return Err(ErrorLine::fixed("NOPROTO unsupported protocol version")),
            None => return Err(ErrorLine::fixed("ERR Protocol version is not an integer or out of range")),
        };
    }
    let (mut login, mut name) = (session.login.clone(), None);
    let options: Vec<&[u8]> = words.from(2).iter().collect();
    let mut options = options.as_slice();
    while !options.is_empty() {
        options = match options {
            [option, user, password, rest @ ..] if is(option, "AUTH") => {
                login = session.common.users.check(user, password, session.peer.ip());
                if login.is_none() {
                    return Ok(wrong_password(session));
                }
                rest
            }
            [option, word, rest @ ..] if is(option, "SETNAME") => {
                name = Some(label(word, "Client names")?);
                rest
            }
            [option, ..] => {
                let option = super::text(&option[..option.len().min(NAME_BYTES)]);
                return Err(ErrorLine::new(format!("ERR Syntax error in HELLO option '{option}'")));
            }
            [] => options,
        };
    }
    if login.is_none() {
        return Err(ErrorLine::fixed(
            "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH \
             <user> <pass> option can be used to authenticate the client and select the RESP protocol version at the \
             same time",
        ));
    }
    session.log_in(login);
    session.version = version;
    session.name = name.unwrap_or_else(|| std::mem::take(&mut session.name));
    Ok(Started::Done(greeting(session)))
}

fn greeting(session: &Session) -> Frame {
    let version = if session.version == Version::Three { 3 } else { 2 };
    let fields = [
        ("server", Value::from("redis")),
        ("version", Value::from(REDIS_VERSION)),
        ("proto", Value::Int(version)),
        ("id", Value::Int(session.id as i64)),
        ("mode", Value::from("standalone")),
        ("role", Value::from("master")),
        ("modules", Value::Array(Vec::new())),
    ];
    Frame::Value(Value::Map(fields.into_iter().map(|(name, value)| (name.into(), value)).collect()))
}

fn auth(session: &mut Session, words: Words<'_>) -> Result<Started, ErrorLine> {
    let (user, password) = match (words.count(), words.find(2)) {
        (2, _) if !session.common.users.are_configured() => {
            return Err(ErrorLine::fixed(
                "ERR AUTH <password> called without any password configured for the default user. Are you sure your \
                 configuration is correct?",
            ));
        }
        (2, _) => (&b"default"[..], words.at(1)),
        (3, Some(password)) => (words.at(1), password),
        _ => return Err(ErrorLine::SYNTAX),
    };
    let login = session.common.users.check(user, password, session.peer.ip());
    if login.is_none() {
        return Ok(wrong_password(session));
    }
    session.log_in(login);
    Ok(Started::Done(Frame::OK))
}

/// The client stays who it was.
fn wrong_password(session: &Session) -> Started {
    tracing::warn!(client = %session.peer, "wrong user name or password");
    let timeout = Duration::from_millis(session.common.settings.request_timeout_ms);
    let wait = session.common.kernel.clock.sleep(WRONG_PASSWORD.min(timeout / 2));
    Started::Task(Box::pin(async move {
        wait.await;
        Frame::Error(ErrorLine::fixed("WRONGPASS invalid username-password pair or user is disabled."))
    }))
}

fn select(_: &mut Session, words: Words<'_>) -> Result<Started, ErrorLine> {
    match integer(words.at(1)) {
        Some(0) => Ok(Started::Done(Frame::OK)),
        Some(_) => Err(ErrorLine::fixed("ERR DB index is out of range")),
        None => Err(ErrorLine::NOT_AN_INTEGER),
    }
}

fn quit(session: &mut Session, _: Words<'_>) -> Result<Started, ErrorLine> {
    session.closing = true;
    Ok(Started::Done(Frame::OK))
}

fn reset(session: &mut Session, _: Words<'_>) -> Result<Started, ErrorLine> {
    session.log_in(session.common.users.welcome(session.peer.ip()));
    session.version = Version::Two;
    session.name.clear();
    Ok(Started::Done(Frame::Status("RESET")))
}

const CLIENT: &[(&str, i32, Start)] = &[
    ("id", 2, |session, _| Ok(Started::Done(Frame::Value(Value::Int(session.id as i64))))),
    ("info", 2, |session, _| Ok(Started::Done(Frame::text(&about(session))))),
    ("list", -2, |session, _| Ok(Started::Done(Frame::text(&about(session))))),
    ("getname", 2, get_name),
    ("setname", 3, set_name),
    ("setinfo", 4, set_info),
    ("no-evict", 3, on_or_off),
    ("no-touch", 3, on_or_off),
    ("help", 2, |_, words| Ok(help(words, CLIENT))),
];

fn client(session: &mut Session, words: Words<'_>) -> Result<Started, ErrorLine> {
    subcommand(session, words, CLIENT)
}

fn get_name(session: &mut Session, _: Words<'_>) -> Result<Started, ErrorLine> {
    let name = Some(&session.name).filter(|name| !name.is_empty());
    Ok(Started::Done(name.map_or(Frame::NULL, |name| Frame::text(name))))
}

fn set_name(session: &mut Session, words: Words<'_>) -> Result<Started, ErrorLine> {
    session.name = label(words.at(2), "Client names")?;
    Ok(Started::Done(Frame::OK))
}

fn set_info(session: &mut Session, words: Words<'_>) -> Result<Started, ErrorLine> {
    let option = words.at(2);
    if is(option, "LIB-NAME") {
        session.library = label(words.at(3), "lib-name")?;
    } else if is(option, "LIB-VER") {
        session.library_version = label(words.at(3), "lib-ver")?;
    } else {
        let option = super::text(&option[..option.len().min(NAME_BYTES)]);
        return Err(ErrorLine::new(format!("ERR Unrecognized option '{option}'")));
    }
    Ok(Started::Done(Frame::OK))
}

/// What a client calls itself: printable and without blanks, so that listings stay readable.
fn label(word: &[u8], what: &str) -> Result<String, ErrorLine> {
    let printable = word.iter().all(u8::is_ascii_graphic) && word.len() <= NAME_BYTES;
    let label = std::str::from_utf8(word).ok().filter(|_| printable).map(ToOwned::to_owned);
    label.ok_or_else(|| ErrorLine::new(format!("ERR {what} cannot contain spaces, newlines or special characters.")))
}

/// What these would change does not exist here, so either choice is kept.
fn on_or_off(_: &mut Session, words: Words<'_>) -> Result<Started, ErrorLine> {
    let known = is(words.at(2), "ON") || is(words.at(2), "OFF");
    known.then_some(Started::Done(Frame::OK)).ok_or(ErrorLine::SYNTAX)
}

/// One line on this connection, in the form of `CLIENT LIST`.
fn about(session: &Session) -> String {
    let age = session.now.since(session.since).as_secs();
    let user = session.login.as_ref().map_or("", |login: &Login| &login.name);
    let version = if session.version == Version::Three { 3 } else { 2 };
    let Session { id, peer, name, library, library_version, .. } = session;
    format!(
        "id={id} addr={peer} name={name} age={age} idle=0 flags=N db=0 user={user} resp={version} \
         lib-name={library} lib-ver={library_version}\n"
    )
}
