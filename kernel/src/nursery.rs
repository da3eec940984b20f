//! Children that an actor starts while it runs: the objects of a shard, the connections of a listener.
//!
//! They live on the thread of their parent or on one it names, and are not started again by anyone: their parent gets a
//! [`ChildExit`] and decides.

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use actix::prelude::AsyncContext;

use crate::actor::{Context, Handler, Host};
use crate::exit::{Exit, Guard};
use crate::handle::{Door, Mail};
use crate::message::Message;
use crate::meter::Meter;
use crate::reply::Responder;
use crate::thread::Thread;

/// Tells a parent that one of its children ended.
#[derive(Debug)]
pub struct ChildExit<N> {
    /// What the parent called it.
    pub name: N,
    /// How it ended.
    pub exit: Exit,
}

impl<N: Send + 'static> Message for ChildExit<N> {
    type Reply = ();
    const NAME: &'static str = "kernel::ChildExit";
}

/// Makes the children of one parent, and counts what goes to them.
#[derive(Clone, Debug)]
pub struct Nursery {
    path: Arc<str>,
    meter: Arc<Meter>,
    exits: Arc<Meter>,
}

impl Nursery {
    /// A nursery whose children appear in traces as `path`; `meter` counts their messages, `exits` their ends.
    pub fn new(path: &str, meter: Arc<Meter>, exits: Arc<Meter>) -> Self {
        Nursery { path: path.into(), meter, exits }
    }

    /// The way in which children report to this parent in its present life.
    pub fn reports_to<P, N>(&self, parent: &Context<P>) -> Reports<N>
    where
        P: Handler<ChildExit<N>>,
        N: Send + 'static,
    {
        let (parent, exits) = (parent.address(), self.exits.clone());
        Reports(Arc::new(move |name, exit| {
            let passage = exits.enter();
            let mail = Mail { message: ChildExit { name, exit }, responder: Responder::nobody(), passage };
            #[expect(clippy::disallowed_methods, reason = "a child ends once; its parent must learn of it")]
            parent.do_send(mail);
        }))
    }

    /// Starts an actor on the thread on which this is called.
    pub fn start<C, M, N>(&self, reports: &Reports<N>, name: N, child: C, mailbox: usize) -> Door<M>
    where
        C: Handler<M>,
        M: Message,
        N: Send + 'static,
    {
        let host = Host::new(child, self.path.clone(), mailbox, reports.guard(name));
        Door::new(host.launch().recipient(), self.meter.clone())
    }

    /// Runs a future, made on the spot, on `thread`.
    pub fn spawn<P, F, N>(
        &self,
        parent: &Context<P>,
        name: N,
        thread: &Thread,
        make: impl FnOnce() -> F + Send + 'static,
    ) where
        P: Handler<ChildExit<N>>,
        F: Future<Output = ()> + 'static,
        N: Send + 'static,
    {
        let mut guard = self.reports_to(parent).guard(name);
        thread.run(move || {
            actix::spawn(async move {
                make().await;
                guard.ends(Exit::Stopped);
            });
        });
    }
}

/// The way in which children report their ends to their parent. Copies share it: an address of its own for each child
/// would take more memory than many a child.
pub struct Reports<N>(Arc<dyn Fn(N, Exit) + Send + Sync>);

impl<N: Send + 'static> Reports<N> {
    fn guard(&self, name: N) -> Guard {
        let report = self.0.clone();
        Guard::new(move |exit| report(name, exit))
    }
}

impl<N> fmt::Debug for Reports<N> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Reports")
    }
}
