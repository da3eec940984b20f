//! A replicator that notes what it is told, and wants whatever is compared.

use comet_kernel::{Actor, Context, Handler, Key, Responder};

use super::{Shared, lock};
use crate::messages::{Changed, Compare, Mend};
use crate::wire::Answer;

#[derive(Debug)]
pub(crate) struct Replicator(Shared<Vec<Key>>);

impl Replicator {
    pub(crate) fn new(mended: &Shared<Vec<Key>>) -> Self {
        Replicator(mended.clone())
    }
}

impl Actor for Replicator {}

impl Handler<Mend> for Replicator {
    fn handle(&mut self, mend: Mend, responder: Responder<()>, _: &mut Context<Self>) {
        lock(&self.0).push(mend.key);
        responder.answer(());
    }
}

impl Handler<Compare> for Replicator {
    fn handle(&mut self, compare: Compare, responder: Responder<Answer>, _: &mut Context<Self>) {
        let wanted = compare.items.into_iter().map(|item| item.key).collect();
        responder.answer(Answer::Compared { wanted, newer: Vec::new(), declined: Vec::new() });
    }
}

impl Handler<Changed> for Replicator {
    fn handle(&mut self, _: Changed, responder: Responder<()>, _: &mut Context<Self>) {
        responder.answer(());
    }
}
