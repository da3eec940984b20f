//! What tests do to a swarm from inside.

use comet_kernel::{Context, Handler, Message, Responder};
use libp2p::PeerId;
use libp2p::core::ConnectedPoint;
use libp2p::swarm::ConnectionId;

use crate::swarm::Swarm;
use crate::swarm::address::Address;

/// Something that goes wrong.
#[derive(Clone, Debug)]
pub enum Shake {
    /// The actor fails.
    Panic,
    /// The connections to these peers break.
    Disconnect(Vec<PeerId>),
    /// So many strangers connect, each as somebody else, ask for nothing, and hang up unless they `stay`.
    Visit { strangers: usize, stay: bool },
}

impl Message for Shake {
    /// Whether there is room for connections that serve nothing but to know who is there.
    type Reply = bool;
    const NAME: &'static str = "tests::Shake";
}

impl Handler<Shake> for Swarm {
    fn handle(&mut self, shake: Shake, responder: Responder<bool>, _: &mut Context<Self>) {
        match shake {
            Shake::Panic => panic!("a test wants it"),
            Shake::Disconnect(peers) => self.engine.touch(|swarm| {
                for peer in peers {
                    let _it_may_be_gone = swarm.disconnect_peer_id(peer);
                }
            }),
            Shake::Visit { strangers, stay } => (0..strangers).for_each(|number| self.visit(number, stay)),
        }
        responder.answer(self.has_room());
    }
}

impl Swarm {
    fn visit(&mut self, number: usize, stay: bool) {
        let (stranger, connection) = (PeerId::random(), ConnectionId::new_unchecked(1_000_000 + number));
        let address = |port| Address::Tcp([198, 51, 100, 1].into(), port).multiaddress();
        let endpoint = ConnectedPoint::Listener { local_addr: address(1), send_back_addr: address(2) };
        self.connected(stranger, connection, &endpoint);
        if !stay {
            self.disconnected(stranger, connection, false);
        }
    }
}
