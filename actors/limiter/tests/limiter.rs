//! The limiter through its messages, on a clock that the tests move.

use std::sync::Arc;
use std::time::Duration;

use comet_kernel::contract::limiter::{Buckets, Lease, Leased, ReadBuckets, Service, Subject};
use comet_kernel::settings::{Aso, Gateway};
use comet_kernel::supervisor::{Spec, Strategy, Tree};
use comet_kernel::{Clock, Kernel, Key, UnixMillis};

struct World {
    clock: Clock,
    limiter: Service,
    _tree: Tree,
}

impl World {
    async fn new(gateway: Gateway, aso: Aso) -> Self {
        let clock = Clock::manual(UnixMillis(0));
        let kernel = Kernel::new(clock.clone());
        let limiter = Service::vacant(&clock);
        let never = Duration::from_secs(1_000_000);
        let spec = Spec::new("root", Strategy::OneForOne).probe(never, never);
        let tree = spec.child(comet_limiter::child(&kernel, &gateway, &aso, &limiter)).start(&kernel).await;
        World { clock, limiter, _tree: tree.expect("the tree starts") }
    }

    async fn lease(&self, subject: &Subject, tokens: u32) -> Leased {
        self.limiter.lease.call(Lease { subject: subject.clone(), tokens }).await.expect("the limiter lives")
    }

    async fn buckets(&self) -> Buckets {
        self.limiter.read_buckets.call(ReadBuckets).await.expect("the limiter lives")
    }
}

fn granted(tokens: u32) -> Leased {
    Leased::Granted { tokens }
}

fn key() -> Key {
    Key::new(b"object").expect("a short key")
}

fn client() -> Subject {
    Subject::Client([192, 0, 2, 1].into())
}

#[actix::test]
async fn without_limits_requests_and_calls_are_granted_and_nothing_is_held() {
    let world = World::new(Gateway::default(), Aso::default()).await;
    for subject in [client(), Subject::Object(key()), Subject::CallerAtObject("user".into(), key())] {
        assert_eq!(world.lease(&subject, 1_000_000).await, granted(1_000_000));
    }
    assert_eq!(world.buckets().await, Buckets { held: 0, granted: 3, refused: 0 });
}

#[actix::test]
async fn each_kind_of_subject_has_the_rate_of_its_setting() {
    let gateway = Gateway { requests_per_second: 10, ..Gateway::default() };
    let aso = Aso { calls_per_second: 20, caller_calls_per_second: 5, ..Aso::default() };
    let world = World::new(gateway, aso).await;
    let caller = |name: &str| Subject::CallerAtObject(Arc::from(name), key());
    for (subject, rate) in [(client(), 10), (Subject::Object(key()), 20), (caller("a"), 5), (caller("b"), 5)] {
        assert_eq!(world.lease(&subject, 1_000).await, granted(rate), "{subject:?}");
        assert!(matches!(world.lease(&subject, 1).await, Leased::Refused { .. }), "{subject:?}");
    }
    assert_eq!(world.buckets().await, Buckets { held: 4, granted: 4, refused: 4 });
}

#[actix::test]
async fn a_refusal_says_when_to_come_back() {
    let gateway = Gateway { requests_per_second: 4, ..Gateway::default() };
    let world = World::new(gateway, Aso::default()).await;
    assert_eq!(world.lease(&client(), 4).await, granted(4));
    assert_eq!(world.lease(&client(), 1).await, Leased::Refused { retry_after_ms: 250 });
    world.clock.advance(Duration::from_millis(249));
    assert_eq!(world.lease(&client(), 1).await, Leased::Refused { retry_after_ms: 1 });
    world.clock.advance(Duration::from_millis(1));
    assert_eq!(world.lease(&client(), 3).await, granted(1), "one token has come since");
}

#[actix::test]
async fn processor_time_is_averaged_over_ten_seconds() {
    let world = World::new(Gateway::default(), Aso { cpu_share_ms: 100, ..Aso::default() }).await;
    let processor = Subject::Processor(key());
    assert_eq!(world.lease(&processor, u32::MAX).await, granted(1_000_000), "a second of work at once");
    assert!(matches!(world.lease(&processor, 20_000).await, Leased::Refused { .. }));
    world.clock.advance(Duration::from_secs(1));
    assert_eq!(world.lease(&processor, u32::MAX).await, granted(100_000), "100 ms for each second");
    world.clock.advance(Duration::from_secs(60));
    assert_eq!(world.lease(&processor, u32::MAX).await, granted(1_000_000), "and no more than one filling");
}

#[actix::test]
async fn an_object_that_rests_costs_no_memory() {
    let world = World::new(Gateway::default(), Aso::default()).await;
    for number in 0..1_000_u32 {
        let object = Key::new(&number.to_be_bytes()).expect("a short key");
        assert_eq!(world.lease(&Subject::Processor(object), 1_000).await, granted(1_000));
    }
    assert_eq!(world.buckets().await.held, 1_000);
    world.clock.advance(Duration::from_secs(10));
    world.buckets().await;
    world.clock.advance(Duration::from_secs(10));
    assert_eq!(world.buckets().await.held, 0);
}

#[actix::test]
async fn a_lease_of_no_token_is_a_lease_of_one() {
    let gateway = Gateway { requests_per_second: 1, ..Gateway::default() };
    let world = World::new(gateway, Aso::default()).await;
    assert_eq!(world.lease(&client(), 0).await, granted(1));
    assert!(matches!(world.lease(&client(), 0).await, Leased::Refused { .. }));
}

#[actix::test]
async fn an_object_may_ask_the_network_for_two_seconds_worth_at_once() {
    let world = World::new(Gateway::default(), Aso { actions_per_second: 3, ..Aso::default() }).await;
    let subject = Subject::Network(key());
    for _ in 0..6 {
        assert_eq!(world.lease(&subject, 1).await, granted(1));
    }
    assert_eq!(world.lease(&subject, 1).await, Leased::Refused { retry_after_ms: 334 });
    assert_eq!(world.lease(&Subject::Object(key()), 1).await, granted(1), "another bucket");
    world.clock.advance(Duration::from_millis(334));
    assert_eq!(world.lease(&subject, 1).await, granted(1));
}
