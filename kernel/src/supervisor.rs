//! Supervision: who starts actors, who notices that one failed, and what happens then.
//!
//! Modelled on Erlang/OTP's supervisors. actix has one of its own, but it does not see panics, and it keeps the state of
//! what it restarts. Here an actor that ends, however it ends, is replaced by a fresh one from its factory, and whoever
//! holds a [`crate::Handle`] to it goes on without noticing more than a refusal or an answer that stays away.
//!
//! A supervisor starts its children in order and stops them in reverse order. When a child fails it stops those that its
//! [`Strategy`] names, waits a [`Backoff`], and starts them again, in order. When failures come faster than its
//! [`Intensity`] takes it stops all of them and ends, which its own supervisor sees as the failure of a child. Children
//! that answer no probe in time are failed children; as nothing can take them off their thread, the thread is abandoned.

mod child;
mod policy;
mod run;

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures::future::LocalBoxFuture;
use tokio::sync::{mpsc, oneshot};

pub use self::child::{ActorSpec, Child};
pub use self::policy::{Backoff, Failures, Intensity, Restart, Strategy};

use self::child::{Link, Live, Start};
use self::run::{Signal, Supervisor};
use crate::exit::{Exit, Guard};
use crate::kernel::Kernel;

/// The specification of a supervisor.
#[derive(Debug)]
pub struct Spec {
    pub(self) id: &'static str,
    strategy: Strategy,
    intensity: Intensity,
    backoff: Backoff,
    probe: Probe,
    children: Vec<Child>,
}

/// How a supervisor finds out that a child is stuck.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probe {
    /// How long between a probe and the next.
    pub every: Duration,
    /// How long a probe may go unanswered.
    pub deadline: Duration,
}

impl Spec {
    /// A supervisor that takes five failures in 60 s, waits 5 ms to 5 s before a restart, and probes every second with a
    /// deadline of ten.
    pub fn new(id: &'static str, strategy: Strategy) -> Self {
        Spec {
            id,
            strategy,
            intensity: Intensity { failures: 5, within: Duration::from_secs(60) },
            backoff: Backoff { first: Duration::from_millis(5), longest: Duration::from_secs(5) },
            probe: Probe { every: Duration::from_secs(1), deadline: Duration::from_secs(10) },
            children: Vec::new(),
        }
    }

    /// Adds a child, to be started after those before it.
    pub fn child(mut self, child: impl Into<Child>) -> Self {
        self.children.push(child.into());
        self
    }

    /// How many failures it takes.
    pub fn intensity(mut self, failures: usize, within: Duration) -> Self {
        self.intensity = Intensity { failures, within };
        self
    }

    /// How long it waits before a restart.
    pub fn backoff(mut self, first: Duration, longest: Duration) -> Self {
        self.backoff = Backoff { first, longest };
        self
    }

    /// How it finds out that a child is stuck.
    pub fn probe(mut self, every: Duration, deadline: Duration) -> Self {
        self.probe = Probe { every, deadline };
        self
    }

    /// Starts the tree under this supervisor, and resolves once every child serves. Must be called on a thread with an
    /// actix system.
    ///
    /// # Errors
    ///
    /// The first child that did not start, and why. Those that had started before it have been stopped.
    pub async fn start(self, kernel: &Kernel) -> Result<Tree, String> {
        let (ended, exit) = oneshot::channel();
        let guard = Guard::new(move |exit| {
            let _nobody_may_wait = ended.send(exit);
        });
        let path = self.id.into();
        let signals = launch(Rc::new(self), Link { kernel: kernel.clone(), path, guard }).await?;
        Ok(Tree { signals, exit })
    }
}

/// A tree of supervised actors that runs.
#[derive(Debug)]
pub struct Tree {
    signals: mpsc::Sender<Signal>,
    exit: oneshot::Receiver<Exit>,
}

impl Tree {
    /// Stops every actor, in reverse order of their start, each after it has finished its work.
    pub async fn stop(self) -> Exit {
        // A closed channel means that the tree is ending already.
        let _ending = self.signals.send(Signal::Stop).await;
        self.ended().await
    }

    /// Waits until the tree ends by itself, which it does only when its failures come too fast.
    pub async fn ended(self) -> Exit {
        self.exit.await.unwrap_or(Exit::Lost)
    }

    /// Resolves when the tree has ended by itself; may be dropped and called again.
    pub async fn failed(&mut self) -> Exit {
        (&mut self.exit).await.unwrap_or(Exit::Lost)
    }
}

async fn launch(spec: Rc<Spec>, link: Link) -> Result<mpsc::Sender<Signal>, String> {
    let Link { kernel, path, mut guard } = link;
    let mut supervisor = Supervisor::new(spec, kernel, path);
    let signals = supervisor.signals();
    if let Err(reason) = supervisor.start_all().await {
        guard.disarm();
        return Err(reason);
    }
    actix::spawn(async move {
        let exit = supervisor.run().await;
        guard.ends(exit);
    });
    Ok(signals)
}

/// A supervisor as the child of another.
fn nested(spec: Spec) -> impl Start {
    Nested(Rc::new(spec))
}

struct Nested(Rc<Spec>);

impl Start for Nested {
    fn start(&self, link: Link) -> LocalBoxFuture<'_, Result<Box<dyn Live>, String>> {
        let spec = self.0.clone();
        Box::pin(async move { Ok(Box::new(launch(spec, link).await?) as Box<dyn Live>) })
    }

    fn vacate(&self) {
        self.0.children.iter().for_each(|child| child.start.vacate());
    }

    fn supervises(&self) -> bool {
        true
    }
}

impl Live for mpsc::Sender<Signal> {
    fn stop(&self) {
        let _ending = self.try_send(Signal::Stop);
    }

    fn suspend(&self, held: bool) {
        let _ending = self.try_send(Signal::Suspend(held));
    }
}

fn join(path: &str, id: &str) -> Arc<str> {
    format!("{path}/{id}").into()
}
