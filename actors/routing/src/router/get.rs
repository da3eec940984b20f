//! Gets: the nearest nodes are asked, and the newest of their answers is the client's.
//!
//! Where a get goes: to this node's own copy, if it stores the key and is settled; if that has nothing, or else at once, to
//! the nearest `dht.read_parallel` nodes, and to the next one whenever one of them fails or has nothing. Which of the
//! answers counts is the matter of `reading`.

use std::rc::Rc;

use comet_kernel::contract::aso::{Info, Refusal, Reply};
use comet_kernel::{Key, Record, Value, limits};

use super::here;
use super::net::{Behalf, Net, Replica};
use super::race::{Landed, Race, gather};
use super::reading::{Enough, Reading};
use super::survey::survey;
use crate::wire::{Answer, Ask};

/// A get of one answer, or of several.
pub(super) async fn get(
    net: &Rc<Net>,
    behalf: &Rc<Behalf>,
    key: &Key,
    payload: Value,
    answers: u8,
) -> Result<Reply, Refusal> {
    let ask = Ask::Get { key: key.clone(), payload, asker: behalf.asker.clone() };
    read(net, behalf, key, ask, usize::from(answers.clamp(1, limits::REPLICAS))).await
}

/// The stored record, without running a handler.
pub(super) async fn peek(net: &Rc<Net>, behalf: &Rc<Behalf>, key: &Key) -> Result<Reply, Refusal> {
    read(net, behalf, key, Ask::Copy { key: key.clone() }, 1).await
}

/// All about an object, and how many nodes hold its newest version.
pub(super) async fn info(net: &Rc<Net>, behalf: &Rc<Behalf>, key: &Key) -> Result<Reply, Refusal> {
    let replicas = net.replicas(key, net.replication()).await;
    let landed = gather(net, behalf, Ask::Copy { key: key.clone() }, replicas.clone()).await;
    let survey = survey(net, behalf, key, &replicas).await?;
    let Some(newest) = survey.live(net).cloned() else { return Ok(Reply::Absent) };
    let holds = |landed: &&Landed| matches!(&landed.answer, Ok(Answer::Record(it)) if it.version == newest.version);
    let holders = landed.iter().filter(holds).count();
    let mut info = match own_info(net, behalf, key).await {
        Some(info) if info.version == newest.version => info,
        _ => Box::new(facts(net, &newest)),
    };
    info.replicas = holders as u32;
    Ok(Reply::Info(info))
}

/// What this node's own copy tells of itself: it knows more than a record does.
async fn own_info(net: &Net, behalf: &Behalf, key: &Key) -> Option<Box<Info>> {
    match here::info(net, behalf, key).await {
        Ok(Reply::Info(info)) => Some(info),
        _ => None,
    }
}

fn facts(net: &Net, record: &Record) -> Info {
    let now = net.unix();
    let active = record.active.as_deref();
    let state = active.map_or(0, |active| active.state.encoded_size());
    Info {
        script: active.and_then(|active| active.script.follows.as_ref().map(ToString::to_string)),
        hash: active.map(|active| active.script.hash.to_string()),
        version: record.version,
        size: record.value.encoded_size() + state,
        owner: record.owner.as_ref().map(ToString::to_string),
        ttl_ms: record.expires.map(|end| now.until(end).as_millis() as u64),
        timer_seconds: active.and_then(|active| active.timer.map(|timer| timer.seconds)),
        timer_due_ms: active.and_then(|active| active.timer.map(|timer| now.until(timer.due).as_millis() as u64)),
        quarantined: active.is_some_and(|active| active.quarantined),
        ..Info::default()
    }
}

/// The log ring of this node's own copy, or of the nearest that there is.
pub(super) async fn log(net: &Rc<Net>, behalf: &Rc<Behalf>, key: &Key) -> Result<Reply, Refusal> {
    match read(net, behalf, key, Ask::Log { key: key.clone() }, 1).await? {
        Reply::Value(Value::Array(lines)) => {
            let text = |line| if let Value::Text(text) = line { Some(text.to_string()) } else { None };
            Ok(Reply::Log(lines.into_iter().filter_map(text).collect()))
        }
        _ => Ok(Reply::Absent),
    }
}

async fn read(net: &Rc<Net>, behalf: &Rc<Behalf>, key: &Key, ask: Ask, answers: usize) -> Result<Reply, Refusal> {
    let replicas = net.replicas(key, net.replication().max(answers)).await;
    let (stores, settled) = (replicas.contains(&Replica::Here), net.env.service.settled.is_set());
    let enough = match answers {
        1 if stores && !settled => Enough::Newest(net.read_parallel()),
        1 => Enough::Newest(1),
        several => Enough::Several(several),
    };
    let start = if answers == 1 && stores && settled { Start::Own } else { Start::Nearest };
    inquire(net, behalf, key, ask, &replicas, enough, start).await.conclude()
}

/// Who is asked first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Start {
    /// This node's own copy.
    Own,
    /// A few of the nearest nodes, and the next ones when those are slow.
    Nearest,
    /// The same, but each of the nearest may take as long as a request may: all who ask hear the same nodes.
    Patient,
}

/// Asks the nodes of a key until what they say is enough, and those who have taken the place of nodes that are gone.
pub(super) async fn inquire<'a>(
    net: &'a Rc<Net>,
    behalf: &Rc<Behalf>,
    key: &'a Key,
    ask: Ask,
    replicas: &[Replica],
    enough: Enough,
    start: Start,
) -> Reading<'a> {
    let parallel = net.read_parallel();
    let width = if let Enough::Several(several) = enough { parallel.max(several) } else { parallel };
    let mut reading = Reading::new(net, key, &ask, enough, replicas.len());
    let mut race = Race::new(net, behalf, ask.clone(), replicas.to_vec(), parallel);
    match start {
        Start::Own => race.here_first(),
        Start::Nearest => {}
        Start::Patient => race.wait_for_each(),
    }
    race.start(if start == Start::Own { 1 } else { width });
    reading.run(&mut race, width).await;
    let mut others = Vec::new();
    if reading.is_open() && reading.failed() > 0 {
        // Some of those that were thought to be near are gone: who is near now?
        others = net.find(key, replicas.len()).await;
        others.retain(|replica| !replicas.contains(replica));
    }
    loop {
        if others.is_empty() {
            // Whoever is left has kept silent: what the others say has to do.
            reading.believe_most();
        }
        // Those that let a question time out may have it parked by a script, and be about to answer.
        others.append(&mut reading.take_silent());
        if !reading.is_open() || others.is_empty() {
            return reading;
        }
        let again = std::mem::take(&mut others);
        let mut race = Race::new(net, behalf, ask.clone(), again, parallel).behind(replicas.len());
        race.start(parallel);
        reading.run(&mut race, parallel).await;
    }
}
