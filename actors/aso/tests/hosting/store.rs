//! What stands in for storage, the timer and the limiter: maps in memory, whose answers the tests can hold back.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};

use comet_kernel::contract::limiter::{Lease, Leased};
use comet_kernel::contract::storage::{
    Clear, Former, NamedVersion, Read, ReadError, ReadNames, ReadScript, Write, WriteError, WriteScript,
};
use comet_kernel::contract::timer::{Arm, DisarmAll};
use comet_kernel::{Actor, Context, Handler, Key, Record, Responder, ScriptHash, UnixMillis};

type Written = Responder<Result<(), WriteError>>;
type Source = Responder<Result<Option<Arc<str>>, ReadError>>;

/// What the writer was sent, in order.
enum Job {
    Write(Write, Written),
    Script(WriteScript, Written),
    Clear(Written),
}

/// What the tests and the fake actors share.
#[derive(Default)]
pub struct Disk {
    pub records: HashMap<Key, Arc<Record>>,
    pub scripts: HashMap<ScriptHash, Arc<str>>,
    pub names: BTreeMap<Arc<str>, Vec<NamedVersion>>,
    /// Answers of the writer wait for [`Stage::release`].
    pub hold: bool,
    /// The writer refuses.
    pub refuse: bool,
    /// Scripts are not handed out.
    pub hold_scripts: bool,
    /// Names cannot be read.
    pub names_broken: bool,
    /// Reads of records.
    pub reads: usize,
    /// Writes of records that took effect.
    pub writes: usize,
    /// Writes whose `former` was not what stood there.
    pub mistaken: Vec<String>,
    pub armed: HashMap<Key, UnixMillis>,
    /// What the limiter answers.
    pub lease: Option<Leased>,
    pub leases: usize,
    jobs: VecDeque<Job>,
    script_reads: Vec<(ReadScript, Source)>,
}

#[derive(Clone, Default)]
pub struct Stage(Arc<Mutex<Disk>>);

impl Stage {
    pub fn lock(&self) -> MutexGuard<'_, Disk> {
        self.0.lock().expect("no test panics while it holds the stage")
    }

    /// Carries out the oldest jobs that are held.
    pub fn release(&self, count: usize) {
        let mut disk = self.lock();
        for _ in 0..count {
            let job = disk.jobs.pop_front().expect("so many are held");
            disk.carry_out(job);
        }
    }

    /// Refuses the oldest job that is held.
    pub fn fail_one(&self) {
        let mut disk = self.lock();
        let former = std::mem::replace(&mut disk.refuse, true);
        let job = disk.jobs.pop_front().expect("one is held");
        disk.carry_out(job);
        disk.refuse = former;
    }

    /// Carries out everything that is held, and holds nothing from now on.
    pub fn let_go(&self) {
        let mut disk = self.lock();
        disk.hold = false;
        disk.drain();
    }

    /// Jobs that are held.
    pub fn held(&self) -> usize {
        self.lock().jobs.len()
    }

    pub fn hand_out_scripts(&self) {
        let mut disk = self.lock();
        disk.hold_scripts = false;
        for (read, responder) in std::mem::take(&mut disk.script_reads) {
            responder.answer(Ok(disk.scripts.get(&read.hash).cloned()));
        }
    }

    /// Script reads that are held.
    pub fn scripts_wanted(&self) -> usize {
        self.lock().script_reads.len()
    }

    fn push(&self, job: Job) {
        let mut disk = self.lock();
        disk.jobs.push_back(job);
        disk.drain();
    }
}

impl Disk {
    fn drain(&mut self) {
        while !self.hold
            && let Some(job) = self.jobs.pop_front()
        {
            self.carry_out(job);
        }
    }

    fn carry_out(&mut self, job: Job) {
        let outcome = if self.refuse { Err(WriteError::ReadOnly("the disk is full".to_owned())) } else { Ok(()) };
        let done = outcome.is_ok();
        match job {
            Job::Write(write, responder) => {
                if done {
                    self.write(write);
                }
                responder.answer(outcome);
            }
            Job::Script(write, responder) => {
                if done {
                    self.scripts.extend(write.sources.into_iter().map(|source| (ScriptHash::of(&source), source)));
                    match write.name {
                        Some((name, versions)) if versions.is_empty() => drop(self.names.remove(&name)),
                        Some((name, versions)) => drop(self.names.insert(name, versions)),
                        None => {}
                    }
                }
                responder.answer(outcome);
            }
            Job::Clear(responder) => {
                if done {
                    self.records.clear();
                }
                responder.answer(outcome);
            }
        }
    }

    fn write(&mut self, write: Write) {
        let there = Former::of(self.records.get(&write.key).map(AsRef::as_ref));
        if write.former != there {
            self.mistaken.push(format!("{}: {:?} in the place of {there:?}", write.key, write.former));
        }
        self.writes += 1;
        match write.record {
            Some(record) => drop(self.records.insert(write.key, record)),
            None => drop(self.records.remove(&write.key)),
        }
    }
}

macro_rules! fake {
    ($actor:ident: $($message:ty => $reply:ty, |$stage:ident, $ask:ident, $responder:ident| $act:expr;)*) => {
        pub struct $actor(pub Stage);

        impl Actor for $actor {}

        $(impl Handler<$message> for $actor {
            fn handle(&mut self, $ask: $message, $responder: Responder<$reply>, _: &mut Context<Self>) {
                let $stage = &self.0;
                $act
            }
        })*
    };
}

fake! { Writer:
    Write => Result<(), WriteError>, |stage, write, responder| stage.push(Job::Write(write, responder));
    WriteScript => Result<(), WriteError>, |stage, write, responder| stage.push(Job::Script(write, responder));
    Clear => Result<(), WriteError>, |stage, _clear, responder| stage.push(Job::Clear(responder));
}

type Names = Vec<(Arc<str>, Vec<NamedVersion>)>;

fake! { Reader:
    Read => Result<Option<Arc<Record>>, ReadError>, |stage, read, responder| {
        let mut disk = stage.lock();
        disk.reads += 1;
        responder.answer(Ok(disk.records.get(&read.key).cloned()));
    };
    ReadScript => Result<Option<Arc<str>>, ReadError>, |stage, read, responder| {
        let mut disk = stage.lock();
        if disk.hold_scripts {
            disk.script_reads.push((read, responder));
        } else {
            responder.answer(Ok(disk.scripts.get(&read.hash).cloned()));
        }
    };
    ReadNames => Result<Names, ReadError>, |stage, _read, responder| {
        let disk = stage.lock();
        let names = disk.names.iter().map(|(name, versions)| (name.clone(), versions.clone())).collect();
        let broken = Err(ReadError::Failed("the disk is away".to_owned()));
        responder.answer(if disk.names_broken { broken } else { Ok(names) });
    };
}

fake! { Timer:
    Arm => (), |stage, arm, responder| {
        let mut disk = stage.lock();
        match arm.due {
            Some(due) => drop(disk.armed.insert(arm.key, due)),
            None => drop(disk.armed.remove(&arm.key)),
        }
        responder.answer(());
    };
    DisarmAll => (), |stage, _disarm, responder| {
        stage.lock().armed.clear();
        responder.answer(());
    };
}

fake! { Limiter:
    Lease => Leased, |stage, lease, responder| {
        let mut disk = stage.lock();
        disk.leases += 1;
        responder.answer(disk.lease.unwrap_or(Leased::Granted { tokens: lease.tokens }));
    };
}
