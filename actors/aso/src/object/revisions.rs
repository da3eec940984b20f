//! Changes of an object that leave its script and state: edits, revisions, and of the end of its life.

use std::sync::Arc;

use comet_kernel::contract::aso::{Edit, EndCondition, Lifetime, Refusal, Reply, Revision};
use comet_kernel::directory::CallResponder;
use comet_kernel::{Caller, Context, UnixMillis, Value};

use super::scripted::refusal;
use super::{Body, Object, Scripted};
use crate::plain;
use crate::sandbox::{Actions, Args, Handler, State};
use crate::terms::{Origin, Terms, tombstone_here};

/// What a handler left of the object, and asked for.
#[derive(Default)]
struct Left {
    state: Option<State>,
    actions: Actions,
}

/// What `onUpdate` made of a new value.
enum Asked {
    /// The value may take the place of the present one.
    Allowed(Left),
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
        let Asked::Allowed(left) = self.ask_update(caller, &value, context)? else {
            let Body::Scripted(scripted) = &self.body else { return Ok(Value::Nil) };
            return Ok(scripted.state.value());
        };
        let Body::Scripted(scripted) = &self.body else { unreachable!("only scripted objects come here") };
        let terms = self.next_terms(scripted);
        self.set(Some(&value), terms, left, context)?;
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
            Some(stamp) => Terms::stamped(stamp, self.replaced()),
            None => self.next_terms(scripted),
        };
        let sooner = ends_sooner(scripted.expires, terms.expires);
        let last = if sooner { self.ask_remove(&origin.caller, context)? } else { Actions::default() };
        let mut left = Left::default();
        if let Some(value) = &revision.value {
            self.may_change(&origin.caller)?;
            left = match self.ask_update(&origin.caller, value, context)? {
                Asked::Allowed(left) => left,
                Asked::Kept => return Ok(false),
            };
        }
        let env = self.local.env.clone();
        if terms.expires.is_some_and(|end| end <= env.unix()) {
            let mark = tombstone_here(terms.version, terms.owner, terms.provenance, &env.node, env.unix());
            self.change(Body::Plain(Arc::new(mark)), context)?;
            self.carry_out(last, context);
            self.forsake_parked();
        } else {
            self.set(revision.value.as_ref(), terms, left, context)?;
        }
        Ok(true)
    }

    /// Those of a next version that this node makes: the same, but for what a node has signed.
    fn next_terms(&self, scripted: &Scripted) -> Terms {
        let (expires, owner) = (scripted.expires, scripted.owner.clone());
        let version = self.local.next_version(Some(scripted.version));
        Terms { version, expires, owner, provenance: None, shadows: false }
    }

    /// Asks the object's `onUpdate` about a new value; what it keeps is committed.
    fn ask_update(&mut self, caller: &Caller, value: &Value, context: &mut Context<Self>) -> Result<Asked, Refusal> {
        let Body::Scripted(scripted) = &self.body else { unreachable!("only scripted objects come here") };
        if !scripted.script.handles(Handler::Update) {
            return Ok(Asked::Allowed(Left::default()));
        }
        let outcome = self.run(Handler::Update, Args::Update { caller, value, script: None }, context)?;
        if outcome.reply == Value::Bool(true) {
            return Ok(Asked::Allowed(Left { state: outcome.state, actions: outcome.actions }));
        }
        self.commit_now(outcome.state, outcome.actions, context)?;
        Ok(Asked::Kept)
    }

    /// Writes a new version with the same script, with what a handler has left of the state, and with another value if
    /// there is one.
    fn set(
        &mut self,
        value: Option<&Value>,
        terms: Terms,
        left: Left,
        context: &mut Context<Self>,
    ) -> Result<(), Refusal> {
        let Left { state, actions } = left;
        let Body::Scripted(scripted) = &self.body else { unreachable!("only scripted objects come here") };
        let mut state = state.unwrap_or_else(|| scripted.state.clone());
        if let Some(value) = value {
            state.set_value(value).map_err(refusal)?;
        }
        self.commit_with(Some(state), actions, context, |scripted| scripted.set_terms(terms))
    }

    /// Changes when the object ends. To end sooner is to be removed: `onRemove` is asked, and a refusal holds.
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
        let mut last = Actions::default();
        if ends_sooner(former, end) {
            match self.ask_remove(caller, context) {
                Ok(actions) => last = actions,
                Err(refusal) => return responder.answer(Err(refusal)),
            }
        }
        if end.is_some_and(|end| end <= now) {
            return self.change_and_answer(Body::Gone, last, responder, reply, context);
        }
        // What a node has signed said something else about the end.
        match self.write_with(context, |scripted| (scripted.expires, scripted.provenance) = (end, None)) {
            Ok(()) => self.answer(responder, reply),
            Err(refusal) => responder.answer(Err(refusal)),
        }
    }
}

fn ends_sooner(former: Option<UnixMillis>, end: Option<UnixMillis>) -> bool {
    end.is_some_and(|end| former.is_none_or(|former| end < former))
}
