//! What copies, stamps and hot loading promise holds as well when each shard has a thread of its own: the same tests, in a
//! world of that shape.

#![allow(clippy::duplicate_mod, reason = "the same tests, once more, in another world")]

use super::{scripted, store};

#[path = "arrivals.rs"]
mod arrivals;
#[path = "loading.rs"]
mod loading;
#[path = "stamps.rs"]
mod stamps;

mod world {
    use std::ops::{Deref, DerefMut};

    use comet_kernel::contract::aso::{Op, Stamp};
    use comet_kernel::settings::Settings;

    use super::super::world;
    pub use super::super::world::*;
    use super::store::Stage;

    /// A node with its shards on threads of their own. An answer is given to the test when everything that followed from the
    /// call has happened, as it has in a world on one thread.
    pub struct World(world::World);

    impl Deref for World {
        type Target = world::World;

        fn deref(&self) -> &world::World {
            &self.0
        }
    }

    impl DerefMut for World {
        fn deref_mut(&mut self) -> &mut world::World {
            &mut self.0
        }
    }

    impl World {
        pub async fn new() -> Self {
            World::on(Stage::default(), |_| {}).await
        }

        pub async fn on(stage: Stage, change: impl FnOnce(&mut Settings)) -> Self {
            World::of(stage, Shape { shards: 1, networked: false, apart: true }, change).await
        }

        pub async fn networked() -> Self {
            World::of(Stage::default(), Shape { shards: 1, networked: true, apart: true }, |_| {}).await
        }

        pub async fn sharded() -> Self {
            World::of(Stage::default(), Shape { shards: 2, networked: true, apart: true }, |_| {}).await
        }

        pub async fn of(stage: Stage, shape: Shape, change: impl FnOnce(&mut Settings)) -> Self {
            let world = world::World::of(stage, Shape { apart: true, ..shape }, change).await;
            world.rest().await;
            World(world)
        }

        pub async fn ask(&self, name: &str, op: Op) -> Answer {
            self.ask_as("somebody", name, op).await
        }

        pub async fn ask_as(&self, who: &str, name: &str, op: Op) -> Answer {
            self.settled(self.0.ask_as(who, name, op).await).await
        }

        pub async fn ask_stamped(&self, name: &str, op: Op, stamp: Stamp) -> Answer {
            self.settled(self.0.ask_stamped(name, op, stamp).await).await
        }

        async fn settled(&self, answer: Answer) -> Answer {
            self.0.rest().await;
            answer
        }
    }
}
