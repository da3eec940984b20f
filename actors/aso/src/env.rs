//! What every shard and object shares.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use comet_kernel::contract::aso::{Op, Refusal, Stamp};
use comet_kernel::contract::routing::Act;
use comet_kernel::contract::storage::WriteScript;
use comet_kernel::contract::timer::Arm;
use comet_kernel::contract::{limiter, storage, timer};
use comet_kernel::directory::Directory;
use comet_kernel::events::Kind;
use comet_kernel::nursery::{Nursery, Reports};
use comet_kernel::record::Dues;
use comet_kernel::settings::{self, Durability};
use comet_kernel::{Caller, Door, Handle, Kernel, Key, Moment, UnixMillis, limits};
use rand::rngs::SmallRng;
use rand::{Rng, RngCore};

use crate::births::Births;
use crate::catalogue::Catalogue;
use crate::library::{Fetch, Suspect};
use crate::plain::Circumstances;
use crate::sandbox::Sandbox;
use crate::shard::{Hold, Leave};

/// What all shards of a node share.
#[derive(Debug)]
pub(crate) struct Env {
    pub kernel: Kernel,
    pub settings: settings::Aso,
    pub durability: Durability,
    pub flush_interval: Duration,
    pub jitter_percent: u64,
    pub node: Arc<Caller>,
    /// Whether the node is part of a network: a copy that leaves by itself has to be kept from coming back.
    pub networked: bool,
    pub sandbox: Sandbox,
    pub catalogue: Catalogue,
    pub directory: Directory,
    pub storage: storage::Service,
    pub timer: timer::Service,
    pub limiter: limiter::Service,
    pub routing: Option<Handle<Act>>,
    pub fetch: Handle<Fetch>,
    pub suspect: Handle<Suspect>,
    pub holds: Vec<Handle<Hold>>,
    /// Bytes of all [`Leaving`] ones.
    pub leaving: AtomicUsize,
}

impl Env {
    pub fn now(&self) -> Moment {
        self.kernel.clock.now()
    }

    pub fn unix(&self) -> UnixMillis {
        self.kernel.clock.unix()
    }

    /// Waits until what was sent to storage before is on the disk or refused: an empty write stands behind it in the same
    /// mailbox. Whether there was an answer; that a store which takes no writes refuses the empty one says as much.
    pub async fn barrier(self: Arc<Self>) -> bool {
        let empty = WriteScript { sources: Vec::new(), name: None };
        self.storage.write_script.call(empty).await.is_ok()
    }

    /// Refuses to write what is newer in memory than on the disk (`unflushed`) while the store takes no writes: that would
    /// fail, and what was answered before would be lost with it.
    pub fn may_write(&self, unflushed: bool) -> Result<(), Refusal> {
        if unflushed && self.storage.gate.is_shut() {
            let text = "the store takes no writes right now, and has not written yet what is there; try again";
            return Err(Refusal::Unavailable(text.to_owned()));
        }
        Ok(())
    }

    /// Bytes of memory that there is room for.
    pub fn room(&self) -> usize {
        self.settings.memory_mib as usize * (1 << 20)
    }

    /// Bytes in memory past what there is room for.
    pub fn shortage(&self) -> usize {
        self.directory.size().bytes.saturating_sub(self.room())
    }

    /// Whether memory is no more than twice as full as it should be, with what is about to leave it.
    pub fn has_room(&self) -> bool {
        self.directory.size().bytes + self.leaving.load(Ordering::Relaxed) <= 2 * self.room()
    }

    /// Longest life of an object, if there is a limit.
    pub fn max_ttl(&self) -> Option<Duration> {
        let seconds = self.settings.max_ttl_seconds;
        (seconds > 0).then(|| Duration::from_secs(seconds))
    }
}

/// An object that was asked to retire, and may refuse: the directory does not count it any more, and memory still holds it.
#[derive(Debug)]
pub(crate) struct Leaving {
    env: Arc<Env>,
    pub bytes: usize,
}

impl Leaving {
    pub fn new(env: Arc<Env>, bytes: usize) -> Self {
        env.leaving.fetch_add(bytes, Ordering::Relaxed);
        Leaving { env, bytes }
    }
}

impl Drop for Leaving {
    fn drop(&mut self) {
        self.env.leaving.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// What one shard and its objects share. They live on one thread.
#[derive(Debug)]
pub(crate) struct Local {
    pub env: Arc<Env>,
    pub nursery: Nursery,
    /// How objects report their ends to the shard.
    pub reports: OnceCell<Reports<Key>>,
    /// The way to the shard itself.
    pub shard: OnceCell<Door<Leave>>,
    /// Counts how often the store was cleared: what an object of a former epoch holds must not be written any more.
    pub epoch: Cell<u64>,
    /// Whether the store is being cleared: what is sent there now would come behind that.
    pub still: Cell<bool>,
    /// Objects whose handlers changed them since the last flush, in the order in which they did.
    pub dirty: RefCell<VecDeque<Key>>,
    /// Objects that are asked to retire because memory is short: it does not matter to them that somebody waits for them.
    pub pressed: RefCell<HashSet<Key, ahash::RandomState>>,
    births: RefCell<Births>,
    random: RefCell<SmallRng>,
    last_version: Cell<u64>,
    unarmed: RefCell<VecDeque<Arm>>,
}

impl Local {
    pub fn new(env: Arc<Env>, nursery: Nursery, random: SmallRng) -> Self {
        Local {
            env,
            nursery,
            reports: OnceCell::new(),
            shard: OnceCell::new(),
            epoch: Cell::new(0),
            still: Cell::new(false),
            dirty: RefCell::default(),
            pressed: RefCell::default(),
            births: RefCell::default(),
            random: RefCell::new(random),
            last_version: Cell::new(0),
            unarmed: RefCell::default(),
        }
    }

    /// A version for a put: a hybrid timestamp. The upper 48 bits are milliseconds since 1970, the lower 16 count; it is
    /// larger than every version that the shard gave before, and than the version that the put replaces.
    pub fn next_version(&self, replaced: Option<u64>) -> u64 {
        let now = self.env.unix().0 << 16;
        let version = now
            .max(self.last_version.get().saturating_add(1))
            .max(replaced.map_or(0, |replaced| replaced.saturating_add(1)));
        self.last_version.set(version);
        version
    }

    /// Notes a version that came from elsewhere: those that the shard gives from now on are larger.
    pub fn hear(&self, op: &Op, stamp: Option<&Stamp>) {
        let arrived = if let Op::Arrive(record) = op { Some(record.version) } else { None };
        if let Some(heard) = arrived.max(stamp.map(|stamp| stamp.version)) {
            self.last_version.set(self.last_version.get().max(heard));
        }
    }

    /// The circumstances of a call on an object.
    pub fn circumstances<'a>(&self, key: &'a Key, caller: &'a Caller, stamp: Option<&'a Stamp>) -> Circumstances<'a> {
        Circumstances { key, now: self.env.unix(), max_ttl: self.env.max_ttl(), caller, stamp }
    }

    /// A seed for a handler call's random numbers.
    pub fn seed(&self) -> u64 {
        self.random.borrow_mut().next_u64()
    }

    /// Makes an object for a caller, who pays for what its script uses thereby.
    pub fn make<T>(&self, caller: &Caller, make: impl FnOnce() -> Result<T, Refusal>) -> Result<T, Refusal> {
        let own = &self.env.node.id;
        self.births.borrow_mut().may(caller, own, self.env.now())?;
        let (made, used) = Sandbox::account(make);
        self.births.borrow_mut().spend(caller, own, used.cpu);
        made
    }

    /// Tells the timer when a key is due next, if that has changed. What the timer cannot take now waits, in order.
    pub fn arm_if_changed(&self, key: &Key, former: Dues, dues: Dues) {
        let (former, due) = (former.next(), dues.next());
        if former != due {
            self.unarmed.borrow_mut().push_back(Arm { key: key.clone(), due });
            self.arm_waiting();
        }
    }

    /// Tells the timer what it could not take before.
    pub fn arm_waiting(&self) {
        let mut unarmed = self.unarmed.borrow_mut();
        while let Some(arm) = unarmed.pop_front() {
            if let Err(refused) = self.env.timer.arm.tell(arm) {
                unarmed.push_front(refused.message);
                break;
            }
        }
        if unarmed.len() > limits::SHARED_MAILBOX {
            // The index on the disk knows them all; the timer reads it when it starts again.
            unarmed.clear();
            let text = "timers could not be armed; `comet ctl restart timer` reads them from the disk";
            self.env.kernel.events.publish(Kind::Storage, "timer", text);
        }
    }

    /// When a timer of this interval is due next: a little later by chance, so that timers set together drift apart.
    pub fn next_due(&self, seconds: u32) -> UnixMillis {
        let interval = u64::from(seconds) * 1_000;
        let most = interval * self.env.jitter_percent / 100;
        let jitter = self.random.borrow_mut().random_range(0..=most);
        self.env.unix().after(Duration::from_millis(interval + jitter))
    }
}
