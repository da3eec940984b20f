//! Lanes over pipes in memory, on a clock that the tests move.

mod asking;
mod greeting;
mod keeping;
mod serving;
mod whole;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use comet_kernel::reply::pair;
use comet_kernel::settings::Network;
use comet_kernel::supervisor::{ActorSpec, Spec, Strategy, Tree};
use comet_kernel::{
    Actor, Caller, Clock, Context, Handle, Handler, Kernel, Key, NodeId, Pending, RequestId, Responder, Thread,
    UnixMillis, Value, limits,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio_util::compat::{Compat, TokioAsyncReadCompatExt};

use super::{Budget, Lane, LaneError, Terms, serve};
use crate::messages::{SendError, Serve};
use crate::wire::codec;
use crate::wire::{Answer, Ask, Asker, Framed, Hello};

/// How many turns of the executor a test waits for what must happen.
const TURNS: usize = 100_000;

type Reply = Pending<Result<Answer, SendError>>;

/// What the router holds back until the test answers it.
type Held = Arc<Mutex<Vec<(Serve, Responder<Answer>)>>>;

/// A router that answers a get with its payload, and holds back whatever has the key `hold`.
struct Router {
    held: Held,
}

impl Actor for Router {}

impl Handler<Serve> for Router {
    fn handle(&mut self, serve: Serve, responder: Responder<Answer>, _: &mut Context<Self>) {
        match serve.ask {
            Ask::Get { key, payload, .. } if key != hold() => responder.answer(Answer::Value(payload)),
            _ => self.held.lock().unwrap_or_else(PoisonError::into_inner).push((serve, responder)),
        }
    }
}

/// A node with nothing behind its lanes but that router.
struct World {
    clock: Clock,
    terms: Terms,
    router: Handle<Serve>,
    held: Held,
    _tree: Tree,
}

impl World {
    async fn new() -> Self {
        World::with(Clock::manual(UnixMillis(0)), &Network::default()).await
    }

    async fn with(clock: Clock, network: &Network) -> Self {
        let kernel = Kernel::new(clock.clone());
        let (router, held) = (Handle::vacant(&clock), Held::default());
        let holding = held.clone();
        let actor = ActorSpec::new("router", &Thread::current(), move || Ok(Router { held: holding.clone() }));
        let never = Duration::from_secs(1_000_000);
        let spec = Spec::new("root", Strategy::OneForOne).probe(never, never);
        let tree = spec.child(actor.serves(&router)).start(&kernel).await.expect("the tree starts");
        World {
            terms: Terms::new(&clock, network, &Budget::new(limits::LANES_BYTES)),
            clock,
            router,
            held,
            _tree: tree,
        }
    }

    /// A lane to a peer that the test plays.
    async fn lane(&self) -> (Lane, Peer) {
        let (ours, mut peer) = pipe(1 << 20);
        let greeting = async {
            let hello: Hello = peer.hear().await;
            peer.say(&hello).await;
        };
        let (lane, ()) = tokio::join!(Lane::open(ours, &self.terms), greeting);
        (lane.expect("the peer greeted"), peer)
    }

    /// A peer that the test plays, on a lane that this node serves.
    async fn served(&self) -> (Peer, tokio::task::JoinHandle<Result<(), LaneError>>) {
        let (ours, mut peer) = pipe(1 << 16);
        let serving = tokio::task::spawn_local(serve(ours, caller(), self.router.clone(), self.terms.clone()));
        peer.say(&hello(1)).await;
        assert_eq!(peer.hear::<Hello>().await.refusal, None);
        (peer, serving)
    }

    fn ask(&self, lane: &Lane, ask: &Ask, time: Duration) -> Reply {
        let (responder, pending) = pair(RequestId::fresh());
        lane.send(ask, self.clock.now() + time, responder);
        pending
    }

    fn held(&self) -> usize {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

/// The far end of a pipe, in the hands of the test.
struct Peer {
    stream: DuplexStream,
    buffer: BytesMut,
}

impl Peer {
    async fn say<T: Serialize>(&mut self, message: &T) {
        let mut bytes = BytesMut::new();
        codec::encode(message, &mut bytes).expect("it is short enough");
        self.stream.write_all(&bytes).await.expect("the other end is there");
    }

    async fn greet(&mut self, hello: Hello) {
        self.say(&hello).await;
    }

    async fn answer(&mut self, id: u64, body: Answer) {
        self.say(&Framed { id, left_ms: 0, body }).await;
    }

    async fn ask(&mut self, id: u64, body: Ask) {
        self.say(&Framed { id, left_ms: 1_000, body }).await;
    }

    async fn hear<T: DeserializeOwned>(&mut self) -> T {
        loop {
            if let Some(body) = codec::body(&self.buffer, limits::PEER_FRAME_BYTES).expect("it is short enough") {
                let (message, size) = (codec::decode(body).expect("it is well-formed"), body.len());
                self.buffer.advance(codec::HEAD + size);
                return message;
            }
            let number = self.stream.read_buf(&mut self.buffer).await.expect("the other end is there");
            assert_ne!(number, 0, "the other end says something");
        }
    }

    /// Waits until the other end hangs up.
    async fn hung_up(mut self) {
        while let Ok(1..) = self.stream.read_buf(&mut self.buffer).await {}
    }
}

/// A pipe that holds so many bytes each way.
fn pipe(bytes: usize) -> (Compat<DuplexStream>, Peer) {
    let (ours, theirs) = duplex(bytes);
    (ours.compat(), Peer { stream: theirs, buffer: BytesMut::new() })
}

fn hello(version: u32) -> Hello {
    Hello { protocol: "comet".to_owned(), version, refusal: None }
}

fn caller() -> Arc<Caller> {
    Arc::new(Caller::node(&NodeId::from_public_key(&[7; 32])))
}

fn hold() -> Key {
    Key::new(b"hold").expect("a short key")
}

fn get(payload: Value) -> Ask {
    Ask::Get { key: Key::new(b"echo").expect("a short key"), payload, asker: Asker::default() }
}

fn number(number: usize) -> Value {
    Value::Int(number as i64)
}

/// Lets everything run until `condition` holds.
async fn until(condition: impl Fn() -> bool) {
    for _ in 0..TURNS {
        if condition() {
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!("it did not come to pass");
}

/// Lets everything run that can.
async fn settle() {
    for _ in 0..1_000 {
        tokio::task::yield_now().await;
    }
}

const SECOND: Duration = Duration::from_secs(1);
