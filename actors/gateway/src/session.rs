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
use crate::users::Login;

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
        let caller = caller(login.as_ref(), peer);
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
        self.caller = caller(login.as_ref(), self.peer);
        self.login = login;
    }

    /// Refuses what only an operator may do.
    pub(crate) fn must_be_operator(&self, command: &str) -> Result<(), ErrorLine> {
        match &self.login {
            Some(login) if login.operator => Ok(()),
            _ => Err(ErrorLine::new(format!(
                "NOPERM User {} has no permissions to run the '{command}' command",
                self.caller.id
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
        Ok(match self.begin(key, op) {
            Begun::Done(outcome) => Started::Done(finish(outcome, self.unix)),
            Begun::Awaited(awaited) => Started::Call { awaited, finish },
        })
    }

    /// Starts a call of one object. A plain value in memory is answered on the spot, without a message and without a
    /// copy of the key. A call behind an unanswered write of the same connection takes the way through the shard, where
    /// it stays behind that write; and since it may wait there, what comes after it on its key does the same until it
    /// is answered in its turn.
    pub(crate) fn begin(&mut self, key: &[u8], op: Op) -> Begun {
        let ordered = self.unanswered.holds(key);
        let directory = &self.common.aso.directory;
        if !ordered
            && matches!(op, Op::Get { payload: Value::Nil } | Op::Peek)
            && let Some(record) = directory.plain(key, self.now, self.unix)
        {
            return Begun::Done(Ok(Reply::Plain(record)));
        }
        let key = match Key::new(key) {
            Ok(key) => key,
            Err(error) => return Begun::Done(Err(error.into())),
        };
        let holds = ordered || !op.reads();
        let request = Request::until(self.deadline());
        let call = Call { key: key.clone(), request, caller: self.caller.clone(), op };
        match directory.ask(call, self.now, ordered) {
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

fn caller(login: Option<&Login>, peer: SocketAddr) -> Arc<Caller> {
    let id = login.map_or_else(|| "".into(), |login| login.name.clone());
    let client = peer.to_string().into();
    Arc::new(Caller { id, ip: peer.ip(), port: peer.port(), client })
}
