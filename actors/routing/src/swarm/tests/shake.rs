//! What tests do to a swarm from inside.

use comet_kernel::{Context, Handler, Message, Responder};
use libp2p::PeerId;

use crate::swarm::Swarm;

/// Something that goes wrong.
#[derive(Clone, Debug)]
pub enum Shake {
    /// The actor fails.
    Panic,
    /// The connections to these peers break.
    Disconnect(Vec<PeerId>),
}

impl Message for Shake {
    type Reply = ();
    const NAME: &'static str = "tests::Shake";
}

impl Handler<Shake> for Swarm {
    fn handle(&mut self, shake: Shake, responder: Responder<()>, _: &mut Context<Self>) {
        match shake {
            Shake::Panic => panic!("a test wants it"),
            Shake::Disconnect(peers) => self.engine.touch(|swarm| {
                for peer in peers {
                    let _it_may_be_gone = swarm.disconnect_peer_id(peer);
                }
            }),
        }
        responder.answer(());
    }
}
