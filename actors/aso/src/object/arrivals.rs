//! Copies that come from other nodes to an object that is active here, and copies that leave.

use std::sync::Arc;

use comet_kernel::contract::aso::{Arrived, Refusal, Reply};
use comet_kernel::directory::CallResponder;
use comet_kernel::{Context, Record, Value};

use super::scripted::{refusal, travelled};
use super::{Body, Found, Object, Scripted};
use crate::arrival::{Weighed, replacing, weigh};
use crate::sandbox::{Actions, Args, Handler, State};
use crate::terms::Origin;

impl Object {
    /// A copy of a key whose object has a script here.
    pub(super) fn arrive(
        &mut self,
        origin: Origin,
        record: Arc<Record>,
        responder: CallResponder,
        context: &mut Context<Self>,
    ) {
        let present = self.record();
        let weighed = weigh(&self.key, present.as_deref(), &record, self.local.env.unix());
        match weighed {
            Err(refusal) => responder.answer(Err(refusal)),
            Ok(Weighed::Outdated(version)) => self.answer(responder, Reply::Arrived(Arrived::Outdated(version))),
            Ok(Weighed::Taken) => self.adopt(origin, replacing(record, self.replaced()), responder, context),
            Ok(Weighed::Same) => match self.merge(present.as_deref(), &record, context) {
                Ok(arrived) => self.answer(responder, Reply::Arrived(arrived)),
                Err(refusal) => responder.answer(Err(refusal)),
            },
        }
    }

    /// Lets a copy take the place of what is here. Nobody asks the present object.
    pub(super) fn adopt(
        &mut self,
        origin: Origin,
        record: Arc<Record>,
        responder: CallResponder,
        context: &mut Context<Self>,
    ) {
        let reply = Reply::Arrived(Arrived::Taken);
        let Some(active) = record.active.as_deref() else {
            return self.change_and_answer(Body::Plain(record), Actions::default(), responder, reply, context);
        };
        let choice = travelled(&active.script);
        let Some(found) = Found::in_catalogue(&self.local.env.catalogue, &choice) else {
            return self.fetch(choice, responder, context, move |object, responder, context| {
                object.adopt(origin, record, responder, context);
            });
        };
        let make = || Scripted::adopt(&self.local, self.circumstances(&origin), &record, found);
        match self.local.make(&origin.caller, make) {
            Err(refusal) => responder.answer(Err(refusal)),
            Ok(made) => {
                let _written = self.install(made, Actions::default(), responder, reply, context);
            }
        }
    }

    /// `onMerge`, if the other copy of this version is in another state.
    fn merge(
        &mut self,
        present: Option<&Record>,
        incoming: &Record,
        context: &mut Context<Self>,
    ) -> Result<Arrived, Refusal> {
        let (Body::Scripted(scripted), Some(other)) = (&self.body, incoming.active.as_deref()) else {
            return Ok(Arrived::Same);
        };
        let state = present.and_then(|record| record.active.as_deref()).map(|active| &active.state);
        let same = present.map(|record| &record.value) == Some(&incoming.value) && state == Some(&other.state);
        let ended = incoming.expired(self.local.env.unix());
        if same || ended || scripted.quarantined || !scripted.script.handles(Handler::Merge) {
            return Ok(Arrived::Same);
        }
        let other = State::new(&incoming.value, &other.state).map_err(refusal)?;
        let outcome = self.run(Handler::Merge, Args::Merge { other: &other }, context)?;
        let changes = outcome.state.is_some() || outcome.actions != Actions::default();
        if changes {
            self.commit_now(outcome.state, outcome.actions, context)?;
        }
        Ok(Arrived::Merged)
    }

    /// Removes this copy, which other nodes hold as well, if it is still what they hold and nobody waits for it.
    pub(super) fn drop_copy(&mut self, version: u64, responder: CallResponder, context: &mut Context<Self>) {
        let Body::Scripted(scripted) = &self.body else { unreachable!("only scripted objects come here") };
        if scripted.version != version || self.is_awaited() {
            return self.answer(responder, Reply::Value(Value::Bool(false)));
        }
        self.change_and_answer(Body::Gone, Actions::default(), responder, Reply::Value(Value::Bool(true)), context);
    }
}
