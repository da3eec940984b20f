//! Calls of objects from within the process of their node, with many under way at once.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use anyhow::anyhow;
use comet_kernel::contract::aso::{Call, Op};
use comet_kernel::directory::Asked;
use comet_kernel::{Caller, Clock, Key, Moment, NodeId, Request};

/// Calls under way at once.
const IN_FLIGHT: usize = 64;
/// How long one may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Whoever asks, and the way that the calls take.
pub(crate) struct Asker {
    way: Box<dyn Fn(Call, Moment) -> Asked + Send>,
    clock: Clock,
    caller: Arc<Caller>,
}

impl Asker {
    /// Asks in the name of this node.
    pub(crate) fn new(way: impl Fn(Call, Moment) -> Asked + Send + 'static, clock: &Clock, who: &NodeId) -> Self {
        Asker { way: Box::new(way), clock: clock.clone(), caller: Arc::new(Caller::node(who)) }
    }

    /// Does the same with each of these keys.
    ///
    /// # Errors
    ///
    /// The first refusal.
    pub(crate) async fn ask(&self, op: &Op, keys: impl Iterator<Item = &Key>) -> anyhow::Result<()> {
        let mut under_way = VecDeque::with_capacity(IN_FLIGHT);
        for key in keys {
            if under_way.len() == IN_FLIGHT {
                answered(under_way.pop_front().expect("it is full")).await?;
            }
            let now = self.clock.now();
            let (key, request, caller) = (key.clone(), Request::until(now + PATIENCE), self.caller.clone());
            under_way.push_back((self.way)(Call { key, request, caller, op: op.clone(), stamp: None }, now));
        }
        for asked in under_way {
            answered(asked).await?;
        }
        Ok(())
    }
}

async fn answered(asked: Asked) -> anyhow::Result<()> {
    let outcome = match asked {
        Asked::Done(outcome) => outcome,
        Asked::Later(pending) => pending.await?,
    };
    outcome.map(drop).map_err(|refusal| anyhow!("an object refused: {refusal}"))
}
