//! What one connection is: who the client is, what it speaks, and how its commands reach the objects.

use std::net::SocketAddr;
use std::sync::Arc;

use comet_kernel::contract::aso::{Call, Op, Refusal, Reply};
use comet_kernel::directory::Asked;
use comet_kernel::{Caller, Key, Moment, Pending, Request, UnixMillis, Value};

use crate::answers::Started;
use crate::encoder::Version;
use crate::error_line::ErrorLine;
use crate::frame::{Frame, Outcome};
use crate::gateway::Common;
use crate::unanswered::{Bucket, Unanswered};
use crate::users::{Login, NOBODY};

/// The state of one connection that commands read and change.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) common: Arc<Common>,
    /// The number of the connection, which no other of this run has.
    pub(crate) id: u64,
    pub(crate) peer: SocketAddr,
    /// When the client connected.
    pub(crate) since: Moment,
    /// Who the client is; nobody until it has logged in, if it has to.
    pub(crate) login: Option<Login>,
    pub(crate) version: Version,
    /// What the client calls itself: its name, library and library's version.
    pub(crate) name: String,
    pub(crate) library: String,
    pub(crate) library_version: String,
    /// The connection ends once everything is answered.
    pub(crate) closing: bool,
    /// The time of the present batch.
    pub(crate) now: Moment,
    pub(crate) unix: UnixMillis,
    caller: Arc<Caller>,
    unanswered: Unanswered,
}

/// What became of a call at once.
pub(crate) enum Begun {
    /// It is answered.
    Done(Outcome),
    /// It is under way.
    Awaited(Awaited),
}

/// How a call reaches its object.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// As fast as it can.
    Free,
    /// Behind what the connection asked of the key before.
    Behind,
    /// Behind that too, and to several nodes for so many answers.
    Several(u8),
}

/// A call that is under way.
pub(crate) struct Awaited {
    pub(crate) pending: Pending<Result<Reply, Refusal>>,
    pub(crate) bucket: Option<Bucket>,
}

impl Session {
    /// A client that has just connected from `peer`.
    pub(crate) fn new(common: Arc<Common>, id: u64, peer: SocketAddr) -> Self {
        let login = common.users.welcome(peer.ip());
        let (now, unix) = (common.kernel.clock.now(), common.kernel.clock.unix());
        let caller = caller(&common, login.as_ref(), peer);
        Session {
            id,
            common,
            peer,
            since: now,
            login,
            version: Version::Two,
            name: String::new(),
            library: String::new(),
            library_version: String::new(),
            closing: false,
            now,
            unix,
            caller,
            unanswered: Unanswered::new(),
        }
    }

    /// Reads the clock, once for all that is done with what is there.
    pub(crate) fn read_clock(&mut self) {
        self.now = self.common.kernel.clock.now();
        self.unix = self.common.kernel.clock.unix();
    }

    /// The client is somebody else from now on.
    pub(crate) fn log_in(&mut self, login: Option<Login>) {
        self.caller = caller(&self.common, login.as_ref(), self.peer);
        self.login = login;
    }

    /// Refuses what only an operator may do.
    pub(crate) fn must_be_operator(&self, command: &str) -> Result<(), ErrorLine> {
        match &self.login {
            Some(login) if login.operator => Ok(()),
            _ => Err(ErrorLine::new(format!(
                "NOPERM User {} has no permissions to run the '{command}' command",
                self.login.as_ref().map_or("", |login| &login.name)
            ))),
        }
    }

    /// Calls one object; `finish` makes the answer out of what it replies.
    #[expect(clippy::unnecessary_wraps, reason = "most commands end with it, and they have to give a result")]
    pub(crate) fn call(
        &mut self,
        key: &[u8],
        op: Op,
        finish: fn(Outcome, UnixMillis) -> Frame,
    ) -> Result<Started, ErrorLine> {
        let begun = self.begin(key, op);
        Ok(self.started(begun, finish))
    }

    /// Asks for the answers of several nodes that store an object.
    #[expect(clippy::unnecessary_wraps, reason = "as above")]
    pub(crate) fn call_several(
        &mut self,
        key: &[u8],
        op: Op,
        answers: u8,
        finish: fn(Outcome, UnixMillis) -> Frame,
    ) -> Result<Started, ErrorLine> {
        let begun = match Key::new(key) {
            Ok(key) => self.ask(key, op, Way::Several(answers)),
            Err(error) => Begun::Done(Err(error.into())),
        };
        Ok(self.started(begun, finish))
    }

    fn started(&self, begun: Begun, finish: fn(Outcome, UnixMillis) -> Frame) -> Started {
        match begun {
            Begun::Done(outcome) => Started::Done(finish(outcome, self.unix)),
            Begun::Awaited(awaited) => Started::Call { awaited, finish },
        }
    }

    /// Starts a call of one object. A plain value in memory is answered on the spot, without a message and without a
    /// copy of the key. A call behind an unanswered write of the same connection takes the way through the shard, or
    /// through the router in a network, where it stays behind that write; and since it may wait there, what comes after
    /// it on its key does the same until it is answered in its turn.
    pub(crate) fn begin(&mut self, key: &[u8], op: Op) -> Begun {
        let ordered = self.unanswered.holds(key);
        if !ordered
            && matches!(op, Op::Get { payload: Value::Nil } | Op::Peek)
            && let Some(record) = self.common.objects.plain(key, self.now, self.unix)
        {
            return Begun::Done(Ok(Reply::Plain(record)));
        }
        match Key::new(key) {
            Ok(key) => self.ask(key, op, if ordered { Way::Behind } else { Way::Free }),
            Err(error) => Begun::Done(Err(error.into())),
        }
    }

    fn ask(&mut self, key: Key, op: Op, way: Way) -> Begun {
        let holds = way != Way::Free || !op.reads();
        let request = Request::until(self.deadline());
        let call = Call { key: key.clone(), request, caller: self.caller.clone(), op, stamp: None };
        let objects = &self.common.objects;
        let asked = match way {
            Way::Free => objects.ask(call, self.now, false),
            Way::Behind => objects.ask(call, self.now, true),
            Way::Several(answers) => objects.ask_several(call, answers, self.now),
        };
        match asked {
            Asked::Done(reply) => Begun::Done(reply.map_err(Into::into)),
            Asked::Later(pending) => {
                let bucket = holds.then(|| self.unanswered.enter(key.as_bytes()));
                Begun::Awaited(Awaited { pending, bucket })
            }
        }
    }

    /// A call is over, be it answered or given up.
    pub(crate) fn ended(&mut self, call: &Awaited) {
        if let Some(bucket) = call.bucket {
            self.unanswered.leave(bucket);
        }
    }

    /// When a request that starts now has to be answered.
    pub(crate) fn deadline(&self) -> Moment {
        self.now + self.common.request_timeout()
    }
}

/// Who a client is to objects. In a network, where each node has users of its own, nobody in particular is the node.
fn caller(common: &Common, login: Option<&Login>, peer: SocketAddr) -> Arc<Caller> {
    let id = match login {
        Some(login) if common.objects.is_networked() && &*login.name == NOBODY => common.node.as_str().into(),
        Some(login) => login.name.clone(),
        None => "".into(),
    };
    let client = peer.to_string().into();
    Arc::new(Caller { id, ip: peer.ip(), port: peer.port(), client })
}
