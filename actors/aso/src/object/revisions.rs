//! Changes of an object that leave its script and state: edits, revisions, and of the end of its life.

use std::sync::Arc;

use comet_kernel::contract::aso::{Edit, EndCondition, Lifetime, Refusal, Reply, Revision};
use comet_kernel::directory::CallResponder;
use comet_kernel::{Caller, Context, Value};

use super::scripted::refusal;
use super::{Body, Object};
use crate::plain;
use crate::sandbox::{Actions, Args, Handler};
use crate::terms::{Origin, Terms, tombstone_here};

/// What `onUpdate` made of a new value.
enum Asked {
    /// The value may take the place of the present one.
    Allowed,
    /// The present one stays, with what the handler made of it.
    Kept,
}

impl Object {
    /// An edit changes the value of an object, unless its `onUpdate` decides otherwise.
    pub(super) fn edit(
        &mut self,
        caller: &Arc<Caller>,
        edit: &Edit,
        responder: CallResponder,
        context: &mut Context<Self>,
    ) {
        match self.edited(caller, edit, context) {
            Ok(value) => self.answer(responder, Reply::Value(value)),
            Err(refusal) => responder.answer(Err(refusal)),
        }
    }

    fn edited(&mut self, caller: &Arc<Caller>, edit: &Edit, context: &mut Context<Self>) -> Result<Value, Refusal> {
        self.may_change(caller)?;
        let Body::Scripted(scripted) = &self.body else { unreachable!("only scripted objects come here") };
        let value = edit.apply(Some(&scripted.state.value()))?;
        if let Asked::Kept = self.ask_update(caller, &value, context)? {
            let Body::Scripted(scripted) = &self.body else { return Ok(Value::Nil) };
            return Ok(scripted.state.value());
        }
        let Body::Scripted(scripted) = &self.body else { unreachable!("only scripted objects come here") };
        let terms = Terms {
            version: self.local.next_version(Some(scripted.version)),
            expires: scripted.expires,
            owner: scripted.owner.clone(),
            provenance: None,
        };
        self.set(Some(&value), terms, context)?;
        Ok(value)
    }

    /// A revision changes one version of an object, and no other, unless its `onUpdate` decides otherwise.
    pub(super) fn revise(
        &mut self,
        origin: &Origin,
        revision: Revision,
        responder: CallResponder,
        context: &mut Context<Self>,
    ) {
        let former = self.former_record();
        match self.revised(origin, revision, context) {
            Ok(true) => self.answer(responder, Reply::Stored { former }),
            Ok(false) => {
                let present = self.former_record();
                self.answer(responder, Reply::Kept { present });
            }
            Err(refusal) => responder.answer(Err(refusal)),
        }
    }

    fn revised(&mut self, origin: &Origin, revision: Revision, context: &mut Context<Self>) -> Result<bool, Refusal> {
        let Body::Scripted(scripted) = &self.body else { unreachable!("only scripted objects come here") };
        if scripted.version != revision.base {
            return Ok(false);
        }
        plain::check_owner(scripted.owner.as_deref(), &origin.caller)?;
        revision.check()?;
        let terms = match origin.stamp.as_deref() {
            Some(stamp) => Terms::stamped(stamp),
            None => Terms {
                version: self.local.next_version(Some(scripted.version)),
                expires: scripted.expires,
                owner: scripted.owner.clone(),
                provenance: None,
            },
        };
        if let Some(value) = &revision.value {
            self.may_change(&origin.caller)?;
            if let Asked::Kept = self.ask_update(&origin.caller, value, context)? {
                return Ok(false);
            }
        }
        let env = self.local.env.clone();
        if terms.expires.is_some_and(|end| end <= env.unix()) {
            let left = tombstone_here(terms.version, terms.owner, terms.provenance, &env.node, env.unix());
            self.change(Body::Plain(Arc::new(left)), context)?;
            self.forsake_parked();
        } else {
            self.set(revision.value.as_ref(), terms, context)?;
        }
        Ok(true)
    }

    /// Asks the object's `onUpdate` about a new value; what it keeps is committed.
    fn ask_update(&mut self, caller: &Caller, value: &Value, context: &mut Context<Self>) -> Result<Asked, Refusal> {
        let Body::Scripted(scripted) = &self.body else { unreachable!("only scripted objects come here") };
        if !scripted.script.handles(Handler::Update) {
            return Ok(Asked::Allowed);
        }
        let outcome = self.run(Handler::Update, Args::Update { caller, value, script: None }, context)?;
        if outcome.reply == Value::Bool(true) {
            return Ok(Asked::Allowed);
        }
        self.commit_now(outcome.state, outcome.actions, context)?;
        Ok(Asked::Kept)
    }

    /// Writes a new version with the same script and state, and another value if there is one.
    fn set(&mut self, value: Option<&Value>, terms: Terms, context: &mut Context<Self>) -> Result<(), Refusal> {
        let Body::Scripted(scripted) = &self.body else { unreachable!("only scripted objects come here") };
        let mut state = scripted.state.clone();
        if let Some(value) = value {
            state.set_value(value).map_err(refusal)?;
        }
        self.write_with(context, |scripted| {
            scripted.state = state;
            scripted.set_terms(terms);
        })
    }

    /// Changes when the object ends.
    pub(super) fn expire(
        &mut self,
        caller: &Caller,
        (lifetime, condition): (Lifetime, EndCondition),
        responder: CallResponder,
        context: &mut Context<Self>,
    ) {
        let env = self.local.env.clone();
        let Body::Scripted(scripted) = &self.body else { unreachable!("only scripted objects come here") };
        if let Err(refusal) = plain::check_owner(scripted.owner.as_deref(), caller) {
            return responder.answer(Err(refusal));
        }
        let (now, former) = (env.unix(), scripted.expires);
        let end = lifetime.end(former, now, env.max_ttl());
        let applied = condition.holds(former, end);
        let reply = Reply::Expired { applied, former };
        if !applied || end == former {
            return self.answer(responder, reply);
        }
        if end.is_some_and(|end| end <= now) {
            return self.change_and_answer(Body::Gone, Actions::default(), responder, reply, context);
        }
        // What a node has signed said something else about the end.
        match self.write_with(context, |scripted| (scripted.expires, scripted.provenance) = (end, None)) {
            Ok(()) => self.answer(responder, reply),
            Err(refusal) => responder.answer(Err(refusal)),
        }
    }
}
