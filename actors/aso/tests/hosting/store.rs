//! What stands in for storage, the timer and the limiter: maps in memory, whose answers the tests can hold back.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};

use comet_kernel::contract::aso::Refusal;
use comet_kernel::contract::limiter::{Lease, Leased, Subject};
use comet_kernel::contract::routing::Act;
use comet_kernel::contract::storage::{
    Clear, DropSources, Former, NamedVersion, Page, Read, ReadError, ReadNames, ReadScript, ReadSources, ReadStatus,
    Scan, Status, Write, WriteError, WriteScript,
};
use comet_kernel::contract::timer::{Arm, DisarmAll};
use comet_kernel::{Actor, Context, Handler, Key, Record, Responder, ScriptHash, UnixMillis, Value};

type Written = Responder<Result<(), WriteError>>;
type Acted = Result<Vec<Value>, Refusal>;
type Scanned = Responder<Result<Page, ReadError>>;
type Source = Responder<Result<Option<Arc<str>>, ReadError>>;

/// What the writer was sent, in order.
enum Job {
    Write(Write, Written),
    Script(WriteScript, Written),
    Drop(DropSources, Written),
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
    /// Keys whose records cannot be read until something is written in their place.
    pub damaged: HashSet<Key>,
    /// Damaged places that scans pass over.
    pub damaged_places: u64,
    /// Scripts are not handed out.
    pub hold_scripts: bool,
    /// Scans wait for [`Stage::let_scans_go`].
    pub hold_scans: bool,
    /// Sources cannot be read now.
    pub scripts_broken: bool,
    /// Names cannot be read.
    pub names_broken: bool,
    /// Reads of records.
    pub reads: usize,
    /// Writes of records that took effect.
    pub writes: usize,
    /// Writes whose `former` was not what stood there.
    pub mistaken: Vec<String>,
    /// Keys of writes that were refused and not written since: like the writer, this one knows better than who comes next.
    refused: HashSet<Key>,
    pub armed: HashMap<Key, UnixMillis>,
    /// What the limiter answers.
    pub lease: Option<Leased>,
    pub leases: usize,
    /// What the limiter answers to objects that are called, and for whom it was asked.
    pub call_lease: Option<Leased>,
    pub called: Vec<Subject>,
    /// What the limiter answers to those who want to use the network.
    pub network_lease: Option<Leased>,
    /// What objects asked of the network, and who waits for the answers.
    pub acts: Vec<(Act, Responder<Acted>)>,
    jobs: VecDeque<Job>,
    script_reads: Vec<(ReadScript, Source)>,
    scans: Vec<Scanned>,
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

    /// Loses the jobs that are held: whoever waits for one gets no answer.
    pub fn forget_jobs(&self) {
        self.lock().jobs.clear();
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

    /// Answers every scan with all that is there.
    pub fn let_scans_go(&self) {
        let mut disk = self.lock();
        disk.hold_scans = false;
        for responder in std::mem::take(&mut disk.scans) {
            responder.answer(Ok(disk.page()));
        }
    }

    /// Scans that are held.
    pub fn scans(&self) -> usize {
        self.lock().scans.len()
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

    /// Every record.
    fn page(&self) -> Page {
        Page { items: self.records.iter().map(|(key, record)| (key.clone(), record.clone())).collect(), next: None }
    }

    /// The hashes behind one, in order.
    fn sources(&self, read: &ReadSources) -> Vec<ScriptHash> {
        let mut hashes: Vec<_> = self.scripts.keys().copied().collect();
        hashes.sort_by_key(|hash| *hash.as_bytes());
        let behind = |hash: &ScriptHash| read.after.is_none_or(|after| hash.as_bytes() > after.as_bytes());
        hashes.into_iter().filter(behind).take(read.limit).collect()
    }

    fn carry_out(&mut self, job: Job) {
        let outcome = if self.refuse { Err(WriteError::ReadOnly("the disk is full".to_owned())) } else { Ok(()) };
        let done = outcome.is_ok();
        match job {
            Job::Write(write, responder) => {
                if done {
                    self.write(write);
                } else {
                    self.refused.insert(write.key);
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
            Job::Drop(drop, responder) => {
                if done {
                    self.scripts.retain(|hash, _| !drop.hashes.contains(hash));
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
        let record = self.records.get(&write.key).map(AsRef::as_ref);
        let there = if self.damaged.remove(&write.key) { Former::UNREAD } else { Former::of(record) };
        let refused = self.refused.remove(&write.key);
        if !refused && write.former != there {
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
    DropSources => Result<(), WriteError>, |stage, drop, responder| stage.push(Job::Drop(drop, responder));
    Clear => Result<(), WriteError>, |stage, _clear, responder| stage.push(Job::Clear(responder));
}

type Names = Vec<(Arc<str>, Vec<NamedVersion>)>;

fake! { Reader:
    Read => Result<Option<Arc<Record>>, ReadError>, |stage, read, responder| {
        let mut disk = stage.lock();
        disk.reads += 1;
        responder.answer(if disk.damaged.contains(&read.key) {
            Err(ReadError::Damaged { key: read.key.to_string(), reason: "a block is damaged".to_owned() })
        } else {
            Ok(disk.records.get(&read.key).cloned())
        });
    };
    Scan => Result<Page, ReadError>, |stage, _scan, responder| {
        let mut disk = stage.lock();
        if disk.hold_scans {
            disk.scans.push(responder);
        } else {
            responder.answer(Ok(disk.page()));
        }
    };
    ReadStatus => Status, |stage, _read, responder| {
        responder.answer(Status { damaged_places: stage.lock().damaged_places, ..Status::default() });
    };
    ReadSources => Result<Vec<ScriptHash>, ReadError>, |stage, read, responder| {
        responder.answer(Ok(stage.lock().sources(&read)));
    };
    ReadScript => Result<Option<Arc<str>>, ReadError>, |stage, read, responder| {
        let mut disk = stage.lock();
        if disk.scripts_broken {
            responder.answer(Err(ReadError::Failed("the disk is away".to_owned())));
        } else if disk.hold_scripts {
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
        let answer = match lease.subject {
            Subject::Network(_) => disk.network_lease,
            Subject::Object(_) | Subject::CallerAtObject(..) => {
                disk.called.push(lease.subject);
                disk.call_lease
            }
            _ => {
                disk.leases += 1;
                disk.lease
            }
        };
        responder.answer(answer.unwrap_or(Leased::Granted { tokens: lease.tokens }));
    };
}

fake! { Router:
    Act => Result<Vec<Value>, Refusal>, |stage, act, responder| stage.lock().acts.push((act, responder));
}
