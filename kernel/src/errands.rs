//! Errands: the futures that an actor has under way beside its mailbox.
//!
//! actix has a list for such futures, but polls each of them whenever one of them wakes, and none of them while messages
//! wait. A shard has hundreds under way, and a busy actor's mailbox is seldom empty. So the kernel keeps them itself: only
//! those that woke are polled, when the mailbox is empty and whenever the actor has handled a turn's worth of messages.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context as Task, Poll};

use actix::fut::ActorFuture;
use actix::prelude::AsyncContext;
use futures::future::LocalBoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};

use crate::actor::{Actor, Context, Host};

/// What an actor does with the output of a future.
type Finish<A> = Box<dyn FnOnce(&mut A, &mut Context<A>)>;

/// The futures that one actor has under way.
pub(crate) struct Errands<A: Actor> {
    /// None while nothing is under way: most actors of a node are idle, and an empty set costs memory.
    running: Option<FuturesUnordered<LocalBoxFuture<'static, Finish<A>>>>,
    driven: bool,
}

impl<A: Actor> Errands<A> {
    pub(crate) fn none() -> Self {
        Errands { running: None, driven: false }
    }

    /// Polls those that woke, and gives what they bring to the actor, unless that makes it wait for something first.
    fn poll(&mut self, actor: &mut A, context: &mut Context<A>, task: &mut Task<'_>) {
        let Some(running) = &mut self.running else { return };
        while !context.waiting() {
            let Poll::Ready(Some(finish)) = running.poll_next_unpin(task) else { break };
            finish(actor, context);
        }
        if running.is_empty() {
            self.running = None;
        }
    }
}

/// Starts an errand, before the next message is handled.
pub(crate) fn start<A, F, O>(
    context: &mut Context<A>,
    future: F,
    finish: impl FnOnce(&mut A, O, &mut Context<A>) + 'static,
) where
    A: Actor,
    F: Future<Output = O> + 'static,
    O: 'static,
{
    let errand: LocalBoxFuture<'static, Finish<A>> = Box::pin(async move {
        let output = future.await;
        Box::new(move |actor: &mut A, context: &mut Context<A>| finish(actor, output, context)) as Finish<A>
    });
    context.wait(Start(Some(errand)));
}

/// Lets whatever else runs on the thread have its turn before the next message is handled.
pub(crate) fn take_turns<A: Actor>(context: &mut Context<A>) {
    context.wait(Turn { taken: false });
}

struct Start<A: Actor>(Option<LocalBoxFuture<'static, Finish<A>>>);

impl<A: Actor> ActorFuture<Host<A>> for Start<A> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, host: &mut Host<A>, context: &mut Context<A>, _: &mut Task<'_>) -> Poll<()> {
        host.errands.running.get_or_insert_default().extend(self.0.take());
        if !std::mem::replace(&mut host.errands.driven, true) {
            context.spawn(Drive);
        }
        Poll::Ready(())
    }
}

/// Polls the errands when the mailbox is empty, for as long as there are any: an actor that nobody can reach and that has
/// nothing under way ends.
struct Drive;

impl<A: Actor> ActorFuture<Host<A>> for Drive {
    type Output = ();

    fn poll(self: Pin<&mut Self>, host: &mut Host<A>, context: &mut Context<A>, task: &mut Task<'_>) -> Poll<()> {
        host.errands.poll(&mut host.actor, context, task);
        host.errands.driven = host.errands.running.is_some();
        if host.errands.driven { Poll::Pending } else { Poll::Ready(()) }
    }
}

struct Turn {
    taken: bool,
}

impl<A: Actor> ActorFuture<Host<A>> for Turn {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, host: &mut Host<A>, context: &mut Context<A>, task: &mut Task<'_>) -> Poll<()> {
        if self.taken {
            return Poll::Ready(());
        }
        self.taken = true;
        host.errands.poll(&mut host.actor, context, task);
        task.waker().wake_by_ref();
        Poll::Pending
    }
}
