//! For the fuzzer: what reads the frames of the admin socket, behind a function that anyone may call.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use comet_kernel::contract::admin::{Answer, Command, Frame, Hello};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{empty, join};

use crate::wire::{Wire, WireError};

/// The frames that a node understands of what a client sends: its greeting and its commands, as the node would write
/// them; and what is wrong with what follows them, if the client does not just hang up.
pub fn asked(bytes: &[u8]) -> (Vec<Vec<u8>>, Option<String>) {
    read::<Frame<Command>>(bytes)
}

/// The same of what a node sends to a client.
pub fn answered(bytes: &[u8]) -> (Vec<Vec<u8>>, Option<String>) {
    read::<Frame<Answer>>(bytes)
}

fn read<T: Serialize + DeserializeOwned>(bytes: &[u8]) -> (Vec<Vec<u8>>, Option<String>) {
    let mut bodies = Vec::new();
    let polled = pin!(understand::<T>(bytes, &mut bodies)).poll(&mut Context::from_waker(Waker::noop()));
    let Poll::Ready(end) = polled else { unreachable!("bytes in memory are always there") };
    (bodies, end.err().map(|error| error.to_string()))
}

async fn understand<T: Serialize + DeserializeOwned>(bytes: &[u8], bodies: &mut Vec<Vec<u8>>) -> Result<(), WireError> {
    let mut wire = Wire::new(join(bytes, empty()));
    let Some(hello) = wire.receive::<Hello>().await? else { return Ok(()) };
    bodies.push(written(&hello));
    while let Some(frame) = wire.receive::<T>().await? {
        bodies.push(written(&frame));
    }
    Ok(())
}

fn written<T: Serialize>(message: &T) -> Vec<u8> {
    rmp_serde::to_vec_named(message).expect("what was read has a form in MessagePack")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use comet_kernel::Key;
    use comet_kernel::contract::admin::{ActorRow, MailRow};

    use super::*;

    fn frame<T: Serialize>(message: &T) -> Vec<u8> {
        let body = written(message);
        [&(body.len() as u32).to_be_bytes()[..], &body].concat()
    }

    fn commands() -> Vec<u8> {
        let (path, name) = (|| "node/store".to_owned(), || "counter".to_owned());
        let key = Key::new(b"k").expect("short");
        let commands = [
            Command::Inspect { path: path() },
            Command::Objects { pattern: Some("a*".to_owned()), limit: 10 },
            Command::Object { key },
            Command::LoadScript { name: name(), source: "fn onGet() { 1 }".to_owned() },
            Command::Shutdown,
        ];
        let frames = commands.into_iter().enumerate();
        frames.flat_map(|(id, body)| frame(&Frame { id: id as u64, body })).collect()
    }

    fn answers() -> Vec<u8> {
        let mail = MailRow { message: "Get".to_owned(), depth: 1, taken: 2, refused: 3, wait_ns: 4 };
        let row = ActorRow {
            path: "node".to_owned(),
            supervisor: true,
            status: "running".to_owned(),
            seconds: 1,
            restarts: 2,
            last_exit: Some("panicked".to_owned()),
            mail: vec![mail],
        };
        let answers = [Answer::Actors(vec![row]), Answer::Refused("no".to_owned()), Answer::Missed(3), Answer::End];
        answers.into_iter().flat_map(|body| frame(&Frame { id: 1, body })).collect()
    }

    #[test]
    fn frames_are_understood_until_one_is_malformed() {
        let hello = frame(&Hello::own());
        let (bodies, end) = asked(&[&hello[..], &commands(), &[0, 0, 0, 1, 0xc1]].concat());
        assert_eq!((bodies.len(), end.is_some()), (6, true), "{end:?}");
        let (bodies, end) = answered(&[&hello[..], &answers()].concat());
        assert_eq!((bodies.len(), end), (5, None));
    }

    /// What the fuzzer starts with: see `integration/README.md`.
    #[test]
    fn the_seeds_of_the_fuzzer_are_frames_of_this_version() {
        for (name, frames) in [("commands", commands()), ("answers", answers())] {
            let bytes = [frame(&Hello::own()), frames].concat();
            let seed = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../integration/fuzz/corpus/admin").join(name);
            if std::env::var_os("COMET_WRITE_SEEDS").is_some() {
                std::fs::write(&seed, &bytes).expect("the folder is there");
            }
            assert!(std::fs::read(&seed).is_ok_and(|kept| kept == bytes), "{} is not current", seed.display());
        }
    }
}
