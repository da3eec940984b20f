//! What a node of a network does before it serves and before it stops.

use std::time::Duration;

use comet_kernel::contract::routing::{Drain, NetworkStatus, ReadNetwork, Service};
use comet_kernel::{Kernel, Settings};

/// How long a node waits for the network before it serves without.
const JOIN: Duration = Duration::from_secs(15);
/// How long between two looks at how far it is.
const LOOK: Duration = Duration::from_millis(50);
/// How long between two words about a drain that takes its time.
const WORD: Duration = Duration::from_secs(1);

/// Waits until the node listens, and if it is to join others, until it has and knows its own copies to be up to date. It
/// does not wait for ever: a network whose every node starts at once has to begin somewhere.
pub(super) async fn join(kernel: &Kernel, settings: &Settings, network: &Service) -> NetworkStatus {
    let clock = &kernel.clock;
    let (begins, deadline) = (settings.network.bootstrap.is_empty(), clock.now() + JOIN);
    loop {
        let status = status(kernel, network).await.unwrap_or_default();
        let joined = begins || (status.settled && status.known > 1);
        if joined && !status.listening.is_empty() {
            return status;
        }
        if clock.now() >= deadline {
            let seconds = JOIN.as_secs();
            if status.known > 1 {
                tracing::info!(seconds, "the node has joined and still compares what it stores; it serves meanwhile");
            } else {
                tracing::warn!(seconds, "no node of network.bootstrap was reached; the node serves alone and tries on");
            }
            return status;
        }
        clock.sleep(LOOK).await;
    }
}

/// Hands the node's objects over to others, as far as `dht.drain_seconds` allow.
pub(super) async fn drain(kernel: &Kernel, settings: &Settings, network: &Service) {
    let clock = &kernel.clock;
    let most = Duration::from_secs(settings.dht.drain_seconds);
    if most.is_zero() {
        return;
    }
    let before = status(kernel, network).await.map_or(0, |status| status.copies_sent);
    tracing::info!(seconds = most.as_secs(), "handing objects over to other nodes");
    // The replicator keeps to the time by itself; one that does not is not waited for.
    let deadline = clock.now() + most + WORD;
    let mut handed = std::pin::pin!(network.drain.call(Drain));
    while clock.now() < deadline {
        tokio::select! {
            handed = &mut handed => return match handed {
                Ok(objects) => tracing::info!(objects, "objects handed over"),
                Err(error) => tracing::warn!(%error, "objects were not handed over; their other copies have to do"),
            },
            () = clock.sleep(WORD) => {}
        }
        if let Some(status) = status(kernel, network).await {
            tracing::info!(copies = status.copies_sent.saturating_sub(before), "still handing objects over");
        }
    }
    tracing::warn!("not every object was handed over in time; the other copies have to do for the rest");
}

async fn status(kernel: &Kernel, network: &Service) -> Option<NetworkStatus> {
    kernel.clock.timeout(WORD, network.read_network.call(ReadNetwork)).await?.ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use comet_kernel::supervisor::{ActorSpec, Spec, Strategy, Tree};
    use comet_kernel::{Actor, Clock, Context, Handler, Responder, Thread};

    /// A network that has been joined at the third look, and never finishes a drain.
    struct Slow {
        looks: usize,
        draining: Vec<Responder<u64>>,
    }

    impl Actor for Slow {}

    impl Handler<ReadNetwork> for Slow {
        fn handle(&mut self, _: ReadNetwork, responder: Responder<NetworkStatus>, _: &mut Context<Self>) {
            self.looks += 1;
            let joined = self.looks >= 3;
            let listening = vec!["/memory/1".to_owned()];
            let known = if joined { 2 } else { 1 };
            responder.answer(NetworkStatus { listening, settled: joined, known, ..NetworkStatus::default() });
        }
    }

    impl Handler<Drain> for Slow {
        fn handle(&mut self, _: Drain, responder: Responder<u64>, _: &mut Context<Self>) {
            self.draining.push(responder);
        }
    }

    async fn slow(kernel: &Kernel) -> (Service, Tree) {
        let service = Service::vacant(&kernel.clock);
        let actor = ActorSpec::new("slow", &Thread::new("slow"), || Ok(Slow { looks: 0, draining: Vec::new() }));
        let actor = actor.serves(&service.read_network).serves(&service.drain);
        let tree = Spec::new("node", Strategy::OneForOne).child(actor).start(kernel).await.unwrap();
        (service, tree)
    }

    #[test]
    fn a_node_that_joins_others_waits_for_them_and_one_that_begins_a_network_does_not() {
        actix::System::new().block_on(async {
            let kernel = Kernel::new(Clock::machine());
            let (service, tree) = slow(&kernel).await;
            let mut settings = Settings::default();
            assert_eq!(join(&kernel, &settings, &service).await.known, 1);
            settings.network.bootstrap.0.push("/memory/2".to_owned());
            assert_eq!(join(&kernel, &settings, &service).await.known, 2);
            tree.stop().await;
        });
    }

    #[test]
    fn a_drain_that_does_not_end_is_not_waited_for() {
        actix::System::new().block_on(async {
            let kernel = Kernel::new(Clock::machine());
            let (service, tree) = slow(&kernel).await;
            let mut settings = Settings::default();
            settings.dht.drain_seconds = 1;
            let began = kernel.clock.now();
            drain(&kernel, &settings, &service).await;
            assert!(kernel.clock.now().since(began) >= Duration::from_secs(1));
            settings.dht.drain_seconds = 0;
            drain(&kernel, &settings, &service).await;
            tree.stop().await;
        });
    }
}
