//! The listener: accepts connections and deals them out to threads.

use std::io::Write;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use comet_kernel::actor::{Actor, Context, Handler, Work};
use comet_kernel::exit::Exit;
use comet_kernel::meter::Meter;
use comet_kernel::nursery::{ChildExit, Nursery};
use comet_kernel::{Message, Responder, Thread};
use tokio::net::{TcpListener, TcpStream};

use crate::connection;
use crate::gateway::{Common, PATH};

/// How long to wait after the operating system refused to accept, which it does when there are too many open files.
const REFUSED: Duration = Duration::from_millis(100);

/// The actor. Its children are the connections.
#[derive(Debug)]
pub(crate) struct Listener {
    common: Arc<Common>,
    threads: Arc<[Thread]>,
    nursery: Nursery,
    /// Listens; none once the actor is to stop.
    socket: Option<Rc<TcpListener>>,
    /// Connections dealt out so far.
    dealt: usize,
}

impl Listener {
    /// A listener on the configured address.
    ///
    /// # Errors
    ///
    /// The address is in use or not this machine's: names it, and what to do.
    pub(crate) fn new(common: Arc<Common>, threads: Arc<[Thread]>) -> Result<Self, String> {
        let socket = common.socket.listen(&common.settings.listen)?;
        let socket = TcpListener::from_std(socket).map_err(|error| format!("cannot wait for connections: {error}"))?;
        common.stopping.send_replace(false);
        let clock = &common.kernel.clock;
        let exits = Meter::new(ChildExit::<u64>::NAME, clock.clone());
        let nursery = Nursery::new(PATH, Meter::new("gateway::Connection", clock.clone()), exits);
        Ok(Listener { socket: Some(Rc::new(socket)), common, threads, nursery, dealt: 0 })
    }

    /// Waits for the next connection. Stops when the socket is gone.
    fn accept(&self, context: &mut Context<Self>) {
        let Some(socket) = self.socket.clone() else { return };
        let mut stopping = self.common.stopping.subscribe();
        let accepted = async move {
            tokio::select! {
                accepted = socket.accept() => Some(accepted),
                _ = stopping.wait_for(|stopping| *stopping) => None,
            }
        };
        context.then(accepted, |listener, accepted, context| match accepted {
            Some(Ok((stream, peer))) => {
                listener.admit(stream, peer, context);
                listener.accept(context);
            }
            Some(Err(error)) => {
                tracing::warn!(%error, "cannot accept a connection");
                let clock = listener.common.kernel.clock.clone();
                context.after(&clock, REFUSED, |listener, context| listener.accept(context));
            }
            None => {}
        });
    }

    /// Starts a connection, or refuses it if there are too many.
    fn admit(&mut self, stream: TcpStream, peer: SocketAddr, context: &Context<Self>) {
        let mut stream = match stream.into_std() {
            Ok(stream) => stream,
            Err(error) => return tracing::debug!(%peer, %error, "a connection was lost at once"),
        };
        let Some(open) = self.common.tally.enter(self.common.settings.max_connections as usize) else {
            // The socket's buffer is empty, so that this does not wait; a client that is gone does not matter.
            let _client_may_be_gone = stream.write_all(b"-ERR max number of clients reached\r\n");
            return;
        };
        let thread = &self.threads[self.dealt % self.threads.len()];
        self.dealt += 1;
        let common = self.common.clone();
        let id = self.common.tally.next_id();
        self.nursery.spawn(context, id, thread, move || async move {
            connection::run(common, id, stream, peer).await;
            drop(open);
        });
    }
}

impl Actor for Listener {
    fn started(&mut self, context: &mut Context<Self>) {
        self.accept(context);
    }

    /// Listens no more, and is done when every connection has its answers.
    fn stopping(&mut self, done: Responder<()>, context: &mut Context<Self>) {
        self.socket = None;
        self.common.socket.close();
        self.common.stopping.send_replace(true);
        let tally = self.common.tally.clone();
        context.then(async move { tally.emptied().await }, |_, (), _| done.answer(()));
    }
}

impl Handler<ChildExit<u64>> for Listener {
    /// A connection ended. Nobody but its client has to know, unless it failed.
    fn handle(&mut self, message: ChildExit<u64>, responder: Responder<()>, _: &mut Context<Self>) {
        if !matches!(message.exit, Exit::Stopped) {
            tracing::error!(connection = message.name, exit = %message.exit, "a connection failed");
        }
        responder.answer(());
    }
}
