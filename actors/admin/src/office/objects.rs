//! Commands about objects. Lists are read from storage page by page, so that they cost the shards nothing; what one
//! object does is asked of the object. What is known of an object is asked wherever it is; handlers are turned off and
//! on in this node's copy.

use std::sync::Arc;

use comet_kernel::contract::admin::{Answer, ObjectPage, ObjectRow};
use comet_kernel::contract::aso::{Call, Op, Refusal, Reply};
use comet_kernel::contract::storage::{ReadStatus, Scan};
use comet_kernel::directory::Asked;
use comet_kernel::{Key, Pattern, Record, Request, UnixMillis, Value};

use super::{Office, PATIENCE, late};
use crate::connection::Outlet;
use crate::wire::WireError;

/// Records of one page. They come with their values, each of up to 1 MiB.
const PAGE: usize = 64;

impl Office {
    /// Lists the objects whose keys match.
    pub(super) async fn objects(
        &self,
        pattern: Option<String>,
        limit: u64,
        outlet: &mut Outlet<'_>,
    ) -> Result<(), WireError> {
        let pattern = pattern.map(|pattern| {
            Pattern::new(pattern.as_bytes()).expect("longer ones were refused when the command came in")
        });
        let wanted = |key: &Key, _: &Record| pattern.as_ref().is_none_or(|pattern| pattern.matches(key.as_bytes()));
        self.list(wanted, limit, outlet).await
    }

    /// Lists the objects whose handlers are off.
    pub(super) async fn quarantine(&self, outlet: &mut Outlet<'_>) -> Result<(), WireError> {
        let wanted = |_: &Key, record: &Record| record.active.as_ref().is_some_and(|active| active.quarantined);
        self.list(wanted, u64::MAX, outlet).await
    }

    async fn list(
        &self,
        wanted: impl Fn(&Key, &Record) -> bool,
        limit: u64,
        outlet: &mut Outlet<'_>,
    ) -> Result<(), WireError> {
        let status = self.ask(&self.parts.storage.read_status, ReadStatus).await;
        let total = status.map_or(0, |status| status.objects);
        let (mut after, mut left, mut scanned) = (None, limit, 0);
        while left > 0 {
            let page = match self.ask(&self.parts.storage.scan, Scan { after, limit: PAGE }).await {
                Ok(Ok(page)) => page,
                Ok(Err(error)) => return outlet.send(Answer::Unavailable(error.to_string())).await,
                Err(answer) => return outlet.send(answer).await,
            };
            let now = self.kernel.clock.unix();
            // As storage counts them: without tombstones.
            scanned += page.items.iter().filter(|(_, record)| record.removed().is_none()).count() as u64;
            let living = page.items.iter().filter(|(key, record)| record.is_live(now) && wanted(key, record));
            let rows: Vec<_> = living.take(left as usize).map(|(key, record)| row(key, record, now)).collect();
            left -= rows.len() as u64;
            outlet.send(Answer::Objects(ObjectPage { rows, scanned, total })).await?;
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        outlet.send(Answer::End).await
    }

    /// One object with its log.
    pub(super) async fn object(&self, key: &Key) -> Answer {
        match self.call(key, Op::Info).await {
            Ok(Reply::Info(info)) => match self.call(key, Op::Log).await {
                Ok(Reply::Log(lines)) => Answer::Object(info, lines),
                Ok(_) => Answer::Object(info, Vec::new()),
                Err(answer) => answer,
            },
            Ok(_) => Answer::Refused(format!("no object {key}; `comet ctl objects` shows the keys")),
            Err(answer) => answer,
        }
    }

    /// Turns the handlers of an object off or on again.
    pub(super) async fn isolate(&self, key: &Key, off: bool) -> Answer {
        match self.call_here(key, Op::Quarantine(off)).await {
            Ok(Reply::Value(Value::Bool(true))) => Answer::Done,
            // Nothing has changed: because it is so already, or because there is nothing to change.
            Ok(_) => match self.call_here(key, Op::Info).await {
                Ok(Reply::Info(info)) if info.hash.is_none() => {
                    Answer::Refused(format!("{key} is a plain value and has no handlers"))
                }
                Ok(Reply::Info(_)) => Answer::Done,
                Ok(_) => Answer::Refused(format!("no object {key} on this node; `comet ctl objects` shows the keys")),
                Err(answer) => answer,
            },
            Err(answer) => answer,
        }
    }

    /// Calls an object wherever it is.
    async fn call(&self, key: &Key, op: Op) -> Result<Reply, Answer> {
        let name = op.name();
        let call = self.operators_call(key, op);
        self.outcome(key, name, self.parts.objects.ask(call, self.kernel.clock.now(), false)).await
    }

    /// Calls this node's copy of an object.
    async fn call_here(&self, key: &Key, op: Op) -> Result<Reply, Answer> {
        let name = op.name();
        let call = self.operators_call(key, op);
        self.outcome(key, name, self.parts.aso.directory.ask(call, self.kernel.clock.now(), false)).await
    }

    fn operators_call(&self, key: &Key, op: Op) -> Call {
        let request = Request::until(self.kernel.clock.now() + PATIENCE);
        Call { key: key.clone(), request, caller: Arc::clone(&self.parts.node), op, stamp: None }
    }

    async fn outcome(&self, key: &Key, name: &str, asked: Asked) -> Result<Reply, Answer> {
        let answer = match asked {
            Asked::Done(answer) => answer,
            Asked::Later(pending) => match self.kernel.clock.timeout(PATIENCE, pending).await {
                Some(Ok(answer)) => answer,
                Some(Err(error)) => return Err(Answer::Unavailable(error.to_string())),
                None => return Err(late(&format!("{name} of {key}"), PATIENCE)),
            },
        };
        answer.map_err(|refusal| match refusal {
            Refusal::Unavailable(_) | Refusal::Limited { .. } | Refusal::TimedOut(_) => {
                Answer::Unavailable(format!("{key}: {refusal}"))
            }
            refusal => Answer::Refused(format!("{key}: {refusal}")),
        })
    }
}

fn row(key: &Key, record: &Record, now: UnixMillis) -> ObjectRow {
    let active = record.active.as_deref();
    let state = active.map_or(0, |active| active.state.encoded_size());
    ObjectRow {
        key: key.clone(),
        script: active.map(|active| active.script.to_string()),
        size: (record.value.encoded_size() + state) as u64,
        ttl_ms: record.expires.map(|end| now.until(end).as_millis() as u64),
        timer_seconds: active.and_then(|active| active.timer).map(|timer| timer.seconds),
        quarantined: active.is_some_and(|active| active.quarantined),
    }
}
