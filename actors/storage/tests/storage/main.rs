//! Storage as its users see it: through messages, over restarts and failures.

mod directory;
mod journals;
mod node;
mod trouble;
mod writes;
