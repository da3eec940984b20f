//! Children that an actor starts while it runs.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use comet_kernel::exit::Exit;
use comet_kernel::meter::Meter;
use comet_kernel::nursery::{ChildExit, Nursery};
use comet_kernel::supervisor::{ActorSpec, Strategy, Tree};
use comet_kernel::{Actor, Context, Door, Handle, Handler, Kernel, Message, Responder, Thread, Work};

use crate::worker::{Stage, eventually, patient, until};

/// What a child is told.
#[derive(Debug)]
enum Task {
    Count,
    Panic,
    Finish,
}

impl Message for Task {
    type Reply = usize;
    const NAME: &'static str = "test::Task";
}

struct Infant(usize);

impl Actor for Infant {}

impl Handler<Task> for Infant {
    fn handle(&mut self, task: Task, responder: Responder<usize>, context: &mut Context<Self>) {
        self.0 += 1;
        match task {
            Task::Count => responder.answer(self.0),
            Task::Panic => panic!("it cried"),
            Task::Finish => context.finish(),
        }
    }
}

/// What the parent is told.
enum Care {
    /// Start a child of this name, and give it so many tasks at once; answers how many of them were refused.
    Start(u32, usize),
    /// Hand this task on.
    Give(u32, Task),
    /// Run a future of this name that panics, or ends.
    Spawn(u32, bool),
}

impl Message for Care {
    type Reply = usize;
    const NAME: &'static str = "test::Care";
}

type Exits = Arc<Mutex<Vec<(u32, Exit)>>>;

struct Parent {
    nursery: Nursery,
    children: HashMap<u32, Door<Task>>,
    exits: Exits,
}

impl Actor for Parent {}

impl Handler<Care> for Parent {
    fn handle(&mut self, care: Care, responder: Responder<usize>, context: &mut Context<Self>) {
        match care {
            Care::Start(name, tasks) => {
                let door = self.nursery.start(&self.nursery.reports_to(context), name, Infant(0), 1_000);
                responder.answer((0..tasks).filter(|_| door.tell(Task::Count).is_err()).count());
                self.children.insert(name, door);
            }
            Care::Give(name, task) => {
                let _child_may_be_gone = self.children[&name].forward(task, responder);
            }
            Care::Spawn(name, panics) => {
                self.nursery.spawn(context, name, &Thread::new("elsewhere"), move || async move {
                    assert!(!panics, "it cried elsewhere");
                });
                responder.answer(0);
            }
        }
    }
}

impl Handler<ChildExit<u32>> for Parent {
    fn handle(&mut self, ChildExit { name, exit }: ChildExit<u32>, _: Responder<()>, _: &mut Context<Self>) {
        self.exits.lock().expect("free").push((name, exit));
    }
}

async fn family() -> (Handle<Care>, Exits, Stage, Tree) {
    let stage = Stage::on_machine_time();
    let (handle, exits) = (Handle::vacant(&stage.kernel.clock), Exits::default());
    let (kernel, shared) = (stage.kernel.clone(), exits.clone());
    let factory = move || Ok(Parent { nursery: nursery(&kernel), children: HashMap::new(), exits: shared.clone() });
    let spec = ActorSpec::new("parent", &Thread::new("family"), factory).serves(&handle);
    let tree = patient("root", Strategy::OneForOne).child(spec).start(&stage.kernel).await.expect("it starts");
    (handle, exits, stage, tree)
}

fn nursery(kernel: &Kernel) -> Nursery {
    let meter = |name| Meter::new(name, kernel.clock.clone());
    Nursery::new("root/parent/child", meter("test::Task"), meter("kernel::ChildExit"))
}

#[actix::test]
async fn a_parent_learns_how_each_child_ended_and_the_others_live_on() {
    let (parent, exits, stage, tree) = family().await;
    for name in 0..3 {
        assert_eq!(parent.call(Care::Start(name, 0)).await, Ok(0));
    }
    assert!(parent.call(Care::Give(0, Task::Panic)).await.is_err());
    assert!(parent.call(Care::Give(1, Task::Finish)).await.is_err(), "it ended without an answer");
    until("both are reported", || exits.lock().expect("free").len() == 2).await;
    let seen = std::mem::take(&mut *exits.lock().expect("free"));
    let of = |name| seen.iter().find(|(child, _)| *child == name).map(|(_, exit)| exit).expect("it ended");
    assert!(of(0).to_string().contains("it cried"), "{}", of(0));
    assert_eq!(of(1), &Exit::Stopped);
    assert_eq!(parent.call(Care::Give(2, Task::Count)).await, Ok(1));
    assert_eq!(stage.listing("root/parent").restarts, 0);
    tree.stop().await;
}

#[actix::test]
async fn a_new_child_has_room_for_all_that_its_mailbox_holds_at_once() {
    let (parent, _exits, _stage, tree) = family().await;
    assert_eq!(parent.call(Care::Start(0, 1_000)).await, Ok(0), "none is refused");
    let counted = eventually("there is room again", || async { parent.call(Care::Give(0, Task::Count)).await.ok() });
    assert_eq!(counted.await, 1_001);
    assert_eq!(parent.call(Care::Start(1, 1_010)).await, Ok(10), "its bound holds from the first message");
    tree.stop().await;
}

#[actix::test]
async fn a_parent_learns_how_a_future_ended_that_runs_elsewhere() {
    let (parent, exits, _stage, tree) = family().await;
    for (name, panics) in [(1, true), (2, false)] {
        parent.call(Care::Spawn(name, panics)).await.expect("the parent lives");
        let exit = eventually("it is reported", || async { exits.lock().expect("free").pop() }).await;
        assert_eq!(exit.0, name);
        match exit.1 {
            Exit::Panicked(panic) => assert!(panics && panic.message.contains("it cried elsewhere"), "{panic:?}"),
            other => assert!(!panics && other == Exit::Stopped, "{other:?}"),
        }
    }
    tree.stop().await;
}
