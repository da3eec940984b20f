//! Commands about the network. Routing answers them; a node that is alone has none.

use std::time::Duration;

use comet_kernel::contract::admin::Answer;
use comet_kernel::contract::routing::{ListBuckets, ListPeers, LookUp, ReadNetwork, Replicate, Service};
use comet_kernel::{Handle, Key, Message};

use super::{Office, PATIENCE};

/// How long a look-up may take: many hops over slow links.
const LOOKED_UP: Duration = Duration::from_secs(30);
/// How long a round of the replicator may take before the operator gets an answer. The round goes on.
const REPLICATED: Duration = Duration::from_secs(60);

impl Office {
    pub(super) async fn peers(&self) -> Answer {
        self.routing(PATIENCE, |network| &network.list_peers, ListPeers, Answer::Peers).await
    }

    pub(super) async fn buckets(&self) -> Answer {
        self.routing(PATIENCE, |network| &network.list_buckets, ListBuckets, Answer::Buckets).await
    }

    pub(super) async fn look_up(&self, key: Key) -> Answer {
        self.routing(LOOKED_UP, |network| &network.look_up, LookUp { key }, Answer::Path).await
    }

    pub(super) async fn network(&self) -> Answer {
        self.routing(PATIENCE, |network| &network.read_network, ReadNetwork, Answer::Network).await
    }

    pub(super) async fn replicate(&self) -> Answer {
        self.routing(REPLICATED, |network| &network.replicate, Replicate, |()| Answer::Done).await
    }

    async fn routing<M: Message>(
        &self,
        patience: Duration,
        handle: fn(&Service) -> &Handle<M>,
        message: M,
        answer: fn(M::Reply) -> Answer,
    ) -> Answer {
        match &self.parts.network {
            Some(network) => match self.ask_within(patience, handle(network), message).await {
                Ok(reply) => answer(reply),
                Err(answer) => answer,
            },
            None => Answer::Refused("this node is not part of a network; start it with --p2p".to_owned()),
        }
    }
}
