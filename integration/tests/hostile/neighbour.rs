//! A node next to the one under attack, in this process: it hands hostile copies over.

use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;

use comet_integration::corpus::{Observed, Op};
use comet_integration::node::Node;
use comet_kernel::contract::admin::{Answer, Command};
use comet_kernel::contract::aso::Refusal;
use comet_kernel::record::Active;
use comet_kernel::{Clock, Key, NodeId, Record, Value};
use comet_routing::trial;
use tokio::sync::mpsc;

use std::time::Duration;

/// What is wanted of it, and who waits for the outcome.
type Wish = (Op, Key, SyncSender<(Observed, Duration)>);

/// The neighbour. It runs on a thread of its own, and leaves the network when it is dropped.
#[derive(Debug)]
pub struct Neighbour {
    wishes: Option<mpsc::Sender<Wish>>,
    thread: Option<JoinHandle<()>>,
}

impl Neighbour {
    /// Joins the network of a node.
    pub fn of(node: &Node) -> Neighbour {
        let Ok(Answer::Network(status)) = node.ask(Command::Network) else { panic!("the node is in no network") };
        let (through, target) = (node.joins()[0].clone(), NodeId::from_text(&status.id));
        let (wishes, mut wished) = mpsc::channel::<Wish>(1);
        let thread = std::thread::spawn(move || {
            actix::System::new().block_on(async {
                let neighbour = trial::Neighbour::join(&through).await;
                while let Some((op, key, outcome)) = wished.recv().await {
                    let handed = hand_over(&neighbour, &target, op, &key).await;
                    outcome.send(handed).expect("the test waits for it");
                }
                neighbour.leave().await;
            });
        });
        Neighbour { wishes: Some(wishes), thread: Some(thread) }
    }

    /// Hands over a copy of the object as it is now: a newer one, which arrives, or the same version in another state,
    /// which is merged. What came of it, and how long it took.
    pub fn hand_over(&self, op: Op, key: &[u8]) -> (Observed, Duration) {
        let (outcome, handed) = sync_channel(1);
        let key = Key::new(key).expect("names are short");
        let wishes = self.wishes.as_ref().expect("it is there until it is dropped");
        wishes.blocking_send((op, key, outcome)).expect("the neighbour lives");
        handed.recv().expect("the neighbour lives")
    }
}

impl Drop for Neighbour {
    fn drop(&mut self) {
        self.wishes = None;
        if let Some(thread) = self.thread.take() {
            // A test that fails already does not fail once more.
            let _how_it_ended = thread.join();
        }
    }
}

async fn hand_over(by: &trial::Neighbour, to: &NodeId, op: Op, key: &Key) -> (Observed, Duration) {
    let Some(record) = by.copy(to, key).await else { return (Observed::Absent, Duration::ZERO) };
    let copy = match op {
        Op::Merge => with_another_state(record),
        _ => by.renewed(key, &record),
    };
    let clock = Clock::machine();
    let handed = by.hand_over(to, key, copy).await;
    let observed = match handed {
        Ok(_) => Observed::Ok,
        Err(refusal) => Observed::error(&format!("{} {refusal}", first_word(&refusal))),
    };
    (observed, clock.now().elapsed())
}

/// The same version with one more field.
fn with_another_state(record: Record) -> Record {
    let Some(active) = record.active.as_deref() else { return record };
    let Value::Map(mut fields) = active.state.clone() else { panic!("a state is a map: {:?}", active.state) };
    fields.insert("other".into(), Value::Int(1));
    let active = Active { state: Value::Map(fields), ..active.clone() };
    Record { active: Some(Box::new(active)), ..record }
}

/// As clients are told of a refusal.
fn first_word(refusal: &Refusal) -> &'static str {
    match refusal {
        Refusal::Thrown(_) => "REFUSED",
        Refusal::Budget(_) => "BUDGET",
        Refusal::Failed(_) => "FAILED",
        Refusal::Limited { .. } => "LIMITED",
        Refusal::Quarantined => "QUARANTINED",
        Refusal::Unavailable(_) => "UNAVAILABLE",
        _ => "ERR",
    }
}
