//! Storage as its users see it: through messages, over restarts and failures.

mod directory;
mod node;
mod trouble;
mod writes;
