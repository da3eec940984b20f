//! What every part of one node shares: its clock, its registry of actors, its events.

use crate::clock::Clock;
use crate::events::Events;
use crate::registry::Registry;

/// What every part of one node shares. Copies share it. Several may live in one process, which is how tests do it.
#[derive(Clone, Debug)]
pub struct Kernel {
    /// The only door to time.
    pub clock: Clock,
    /// Who is there.
    pub registry: Registry,
    /// What happens.
    pub events: Events,
}

impl Kernel {
    /// A kernel on this clock. Installs the panic hook that supervision needs.
    ///
    /// # Panics
    ///
    /// If the binary was built with `panic = "abort"`.
    pub fn new(clock: Clock) -> Self {
        crate::exit::install_panic_hook();
        Kernel { registry: Registry::new(clock.clone()), events: Events::new(clock.clone()), clock }
    }
}
