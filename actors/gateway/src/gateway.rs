//! What the wiring sees of the gateway, and what its connections share.

use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use comet_kernel::contract::{aso, limiter, storage};
use comet_kernel::supervisor::{ActorSpec, Child};
use comet_kernel::{Kernel, Moment, NodeId, Objects, Thread, settings};
use tokio::sync::watch;

use crate::cursors::Cursors;
use crate::listener::Listener;
use crate::tally::Tally;
use crate::users::Users;

/// Where the actor and its connections appear in traces.
pub(crate) const PATH: &str = "gateway";

/// Whom the gateway talks to, and where it runs.
#[derive(Clone, Debug)]
pub struct Parts {
    /// The way to every object, on this node or in the network.
    pub objects: Objects,
    /// The scripts of this node, and the way to clear it.
    pub aso: aso::Service,
    /// The database, for listing and counting keys.
    pub storage: storage::Service,
    /// Who grants requests to clients.
    pub limiter: limiter::Service,
    /// This node.
    pub node: NodeId,
    /// Where connections run, one after the other. At least one.
    pub threads: Vec<Thread>,
}

/// The address that the gateway listens on, known once it has started: port 0 picks a free one. Copies share it.
#[derive(Clone, Debug, Default)]
pub struct Bound(Arc<OnceLock<SocketAddr>>);

impl Bound {
    /// The address, once the gateway has started.
    pub fn address(&self) -> Option<SocketAddr> {
        self.0.get().copied()
    }
}

/// The gateway: an actor on a thread of its own that accepts connections, and runs each as a child of its own on one of
/// the threads it is given. `bound` learns the address.
///
/// It does not start if it cannot listen. A listener that fails is replaced by one on the same socket, so that clients
/// that connect meanwhile wait and are not refused; the connections that are open do not notice. When it is stopped it
/// listens no more, and ends when every connection has its answers.
///
/// # Panics
///
/// If there is no thread for connections, or if the settings have not been checked.
pub fn child(kernel: &Kernel, settings: &settings::Gateway, parts: Parts, bound: &Bound) -> Child {
    assert!(!parts.threads.is_empty(), "connections need a thread to run on");
    let common = Arc::new(Common {
        started: kernel.clock.now(),
        users: Users::new(&settings.users),
        settings: settings.clone(),
        kernel: kernel.clone(),
        objects: parts.objects,
        aso: parts.aso,
        storage: parts.storage,
        limiter: parts.limiter,
        node: parts.node,
        tally: Arc::default(),
        cursors: Cursors::new(kernel.clock.unix()),
        stopping: watch::Sender::new(false),
        socket: Socket { bound: bound.clone(), listener: Mutex::new(None) },
    });
    let threads: Arc<[Thread]> = parts.threads.into();
    ActorSpec::new(PATH, &Thread::new(PATH), move || Listener::new(common.clone(), threads.clone())).into()
}

/// What the listener and all connections share, over all lives of the listener.
#[derive(Debug)]
pub(crate) struct Common {
    pub(crate) kernel: Kernel,
    pub(crate) settings: settings::Gateway,
    pub(crate) objects: Objects,
    pub(crate) aso: aso::Service,
    pub(crate) storage: storage::Service,
    pub(crate) limiter: limiter::Service,
    pub(crate) node: NodeId,
    pub(crate) users: Users,
    pub(crate) tally: Arc<Tally>,
    pub(crate) cursors: Cursors,
    pub(crate) started: Moment,
    /// Whether connections should finish what is under way and end.
    pub(crate) stopping: watch::Sender<bool>,
    pub(crate) socket: Socket,
}

impl Common {
    /// How long a request may take.
    pub(crate) fn request_timeout(&self) -> Duration {
        Duration::from_millis(self.settings.request_timeout_ms)
    }
}

/// The listening socket. It outlives a listener that fails.
#[derive(Debug)]
pub(crate) struct Socket {
    pub(crate) bound: Bound,
    listener: Mutex<Option<TcpListener>>,
}

impl Socket {
    /// The socket, listening on `address` unless it did so before: then on the same one, even if its port was picked.
    pub(crate) fn listen(&self, address: &str) -> Result<TcpListener, String> {
        let mut kept = self.listener.lock().unwrap_or_else(PoisonError::into_inner);
        let listener = match kept.take() {
            Some(listener) => listener,
            None => self.bind(address)?,
        };
        let copy = listener.try_clone().map_err(|error| format!("cannot share the socket of {address}: {error}"))?;
        *kept = Some(listener);
        Ok(copy)
    }

    /// Listens no more.
    pub(crate) fn close(&self) {
        *self.listener.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn bind(&self, address: &str) -> Result<TcpListener, String> {
        let refused = |error: std::io::Error| {
            format!(
                "cannot listen on {address}: {error}; stop whatever uses that address, or choose another one with \
                 --resp ADDR:PORT or gateway.listen (port 0 picks a free one)"
            )
        };
        let listener = match self.bound.address() {
            Some(bound) => TcpListener::bind(bound),
            None => TcpListener::bind(address),
        };
        let listener = listener.map_err(refused)?;
        listener.set_nonblocking(true).map_err(refused)?;
        let actual = listener.local_addr().map_err(refused)?;
        let _the_same_after_a_restart = self.bound.0.set(actual);
        Ok(listener)
    }
}
