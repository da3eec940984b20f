//! The actor: who may connect, how many at once, and what ends with whom.
//!
//! It lives on its own thread together with its connections. A connection asks other actors by itself, with deadlines, so
//! that the actor is always there for the next one. A restart of the actor lets each connection finish the command that
//! it is at, because that command may be the restart. If the socket cannot be opened again then, it is tried on and on: a
//! node does not end because its operator cannot reach it.

use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use comet_kernel::contract::{aso, limiter, routing, storage, timer};
use comet_kernel::exit::Exit;
use comet_kernel::meter::Meter;
use comet_kernel::nursery::{ChildExit, Nursery};
use comet_kernel::supervisor::{ActorSpec, Child};
use comet_kernel::{Actor, Caller, Context, Handler, Kernel, Objects, Responder, Thread, Work, settings};
use tokio::net::UnixStream;
use tokio::sync::{Notify, watch};

use crate::connection;
use crate::office::Office;
use crate::socket::Socket;

/// What its supervisor calls the actor.
pub(crate) const NAME: &str = "admin";
/// How long to wait before the next try when the system gives no connection: it is out of file descriptors.
const PAUSE: Duration = Duration::from_millis(100);
/// How long to wait before the socket is opened again that could not be.
const AGAIN: Duration = Duration::from_secs(1);

/// What the admin actor works with.
#[derive(Clone, Debug)]
pub struct Parts {
    /// The way to every object, on this node or in the network.
    pub objects: Objects,
    /// The way to this node's own objects and to its scripts.
    pub aso: aso::Service,
    /// The way to the network, if the node is part of one.
    pub network: Option<routing::Service>,
    /// The way to storage.
    pub storage: storage::Service,
    /// The way to the timers.
    pub timer: timer::Service,
    /// The way to the limiter.
    pub limiter: limiter::Service,
    /// Who the operator is to objects: the node itself.
    pub node: Arc<Caller>,
    /// Notified once when the operator wants the node to stop.
    pub shutdown: Arc<Notify>,
}

/// The child `admin` of the root: an actor on its own thread that listens at `socket`.
pub fn child(kernel: &Kernel, settings: &settings::Admin, socket: &Path, parts: Parts) -> Child {
    let thread = Thread::new(NAME);
    let office = Arc::new(Office { kernel: kernel.clone(), parts });
    let (path, most) = (socket.to_owned(), settings.max_connections);
    let (connections, exits) = (meter(kernel, "admin::Connection"), meter(kernel, "kernel::ChildExit"));
    let nursery = Nursery::new("admin/connection", connections, exits);
    let bound_before = AtomicBool::new(false);
    let on = thread.clone();
    ActorSpec::new(NAME, &thread, move || {
        let socket = open(&path, &bound_before)?;
        let (closing, _) = watch::channel(false);
        Ok(Admin {
            office: office.clone(),
            thread: on.clone(),
            nursery: nursery.clone(),
            path: path.clone(),
            socket: socket.map(Rc::new),
            closing,
            open: Arc::default(),
            most,
            next: 0,
        })
    })
    .into()
}

/// Opens the socket. None if that fails for one that was open before.
fn open(path: &Path, bound_before: &AtomicBool) -> Result<Option<Socket>, String> {
    match Socket::bind(path, bound_before.load(Ordering::Relaxed)) {
        Ok(socket) => {
            bound_before.store(true, Ordering::Relaxed);
            tracing::debug!(socket = %path.display(), "admin socket open");
            Ok(Some(socket))
        }
        Err(reason) if bound_before.load(Ordering::Relaxed) => {
            tracing::error!("there is no admin socket until this is mended: {reason}");
            Ok(None)
        }
        Err(reason) => Err(reason),
    }
}

fn meter(kernel: &Kernel, name: &'static str) -> Arc<Meter> {
    Meter::new(name, kernel.clock.clone())
}

/// The actor.
#[derive(Debug)]
struct Admin {
    office: Arc<Office>,
    thread: Thread,
    nursery: Nursery,
    path: PathBuf,
    /// None while it cannot be opened again.
    socket: Option<Rc<Socket>>,
    /// Tells the connections, by its value or by its end, that they are to finish.
    closing: watch::Sender<bool>,
    /// Each open connection holds it, so that it counts for as long as it lives, whatever holds the actor up.
    open: Arc<()>,
    most: u64,
    next: u64,
}

impl Admin {
    fn accept(&mut self, context: &mut Context<Self>) {
        let Some(socket) = self.socket.clone() else { return self.open_later(context) };
        context.then(async move { socket.accept().await }, |admin, accepted, context| match accepted {
            Ok(stream) => {
                admin.serve(stream, context);
                admin.accept(context);
            }
            Err(error) => {
                tracing::warn!(%error, "no connection accepted");
                let clock = admin.office.kernel.clock.clone();
                context.after(&clock, PAUSE, Admin::accept);
            }
        });
    }

    fn open_later(&mut self, context: &mut Context<Self>) {
        let clock = self.office.kernel.clock.clone();
        context.after(&clock, AGAIN, |admin, context| {
            admin.socket = Socket::bind(&admin.path, true).ok().map(Rc::new);
            admin.accept(context);
        });
    }

    fn serve(&mut self, stream: UnixStream, context: &mut Context<Self>) {
        let full = (Arc::strong_count(&self.open) as u64 > self.most).then(|| {
            format!(
                "all {} connections of the admin socket are taken; end one, or raise admin.max_connections",
                self.most
            )
        });
        self.next += 1;
        let (office, closing, open) = (self.office.clone(), self.closing.subscribe(), self.open.clone());
        self.nursery.spawn(context, self.next, &self.thread, move || async move {
            connection::run(stream, full, office, closing).await;
            drop(open);
        });
    }
}

impl Actor for Admin {
    fn started(&mut self, context: &mut Context<Self>) {
        self.accept(context);
    }

    fn stopping(&mut self, done: Responder<()>, _context: &mut Context<Self>) {
        self.closing.send_replace(true);
        done.answer(());
    }
}

impl Handler<ChildExit<u64>> for Admin {
    fn handle(&mut self, ended: ChildExit<u64>, _responder: Responder<()>, _context: &mut Context<Self>) {
        if let Exit::Panicked(panic) = ended.exit {
            tracing::error!(connection = ended.name, message = panic.message, "connection panicked");
        }
    }
}
